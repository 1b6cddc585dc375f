#!/usr/bin/env python3
"""A foreign peer of the QUIC listener: aioquic, with the frames of client.py.

It speaks `gastank/1` in datagrams and on streams, HTTP/3, and WebTransport with two sessions and plain requests on one
connection. It prints one line of JSON, and ends with 1 and a `problem` in it on anything that the protocol does not allow.
"""

import argparse
import asyncio
import hashlib
import json
import re
import ssl
import sys
import urllib.parse

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, DatagramReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, StreamDataReceived, StreamReset

from client import BEAT, STOP, Session, Unexpected, unpadded

PATIENCE = 3.0
QUIET = 0.3
CLOSE_CAPSULE = bytes.fromhex("684304") + bytes(4)


def expect(holds, what):
    if not holds:
        raise Unexpected(what)


class Inbox:
    """What has come, until somebody asks for it."""

    def __init__(self):
        self.items = asyncio.Queue()

    async def next(self, what):
        try:
            return await asyncio.wait_for(self.items.get(), PATIENCE)
        except asyncio.TimeoutError:
            raise Unexpected(f"{what}: nothing came") from None

    async def silence(self, what):
        await asyncio.sleep(QUIET)
        expect(self.items.empty(), f"{what}: an answer came")


class Frames(QuicConnectionProtocol):
    """`gastank/1`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.datagrams, self.stream = Inbox(), Inbox()

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived):
            self.datagrams.items.put_nowait(event.data)
        elif isinstance(event, StreamDataReceived):
            data = event.data
            while data:
                self.stream.items.put_nowait(data[:48])
                data = data[48:]

    def send(self, frame):
        self._quic.send_datagram_frame(frame)
        self.transmit()

    def write(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()


class Http(QuicConnectionProtocol):
    """HTTP/3 and WebTransport."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = H3Connection(self._quic, enable_webtransport=True)
        self.streams, self.datagrams = {}, {}

    def quic_event_received(self, event):
        if isinstance(event, StreamReset):
            self.inbox(event.stream_id).items.put_nowait("reset")
        for event in self.h3.handle_event(event):
            if isinstance(event, HeadersReceived):
                self.inbox(event.stream_id).items.put_nowait(dict(event.headers))
                if event.stream_ended:
                    self.inbox(event.stream_id).items.put_nowait(None)
            elif isinstance(event, DataReceived):
                if event.data:
                    self.inbox(event.stream_id).items.put_nowait(event.data)
                if event.stream_ended:
                    self.inbox(event.stream_id).items.put_nowait(None)
            elif isinstance(event, DatagramReceived):
                self.datagrams.setdefault(event.stream_id, Inbox()).items.put_nowait(event.data)

    def inbox(self, stream):
        return self.streams.setdefault(stream, Inbox())

    def send(self, session, frame):
        self.datagrams.setdefault(session, Inbox())
        self.h3.send_datagram(session, frame)
        self.transmit()

    async def request(self, method, path, headers=(), body=b""):
        """The status and the body of an answer."""
        stream = self._quic.get_next_available_stream_id()
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path), *headers]
        self.h3.send_headers(stream, head, end_stream=not body)
        if body:
            self.h3.send_data(stream, body, end_stream=True)
        self.transmit()
        answered = await self.inbox(stream).next(f"{method} {path}")
        expect(isinstance(answered, dict), f"{method} {path}: {answered} instead of a head")
        text = b""
        while (data := await self.inbox(stream).next(f"{method} {path}")) not in (None, "reset"):
            text += data
        return int(answered[b":status"]), text

    async def open_session(self, path=b"/v1/webtransport", origin=b"chrome-extension://aaaabbbbccccddddeeeeffffgggghhhh"):
        """The status, and the number of the session."""
        stream = self._quic.get_next_available_stream_id()
        head = [(b":method", b"CONNECT"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path),
                (b":protocol", b"webtransport"), (b"sec-webtransport-http3-draft02", b"1")]
        self.h3.send_headers(stream, head + ([(b"origin", origin)] if origin else []))
        self.transmit()
        return int((await self.inbox(stream).next("a session"))[b":status"]), stream


def acked(session, frame, what, verdict="valid"):
    ack = session.verify(frame)
    expect(ack is not None, f"{what}: the ack does not verify")
    expect(ack["verdict"] == verdict, f"{what}: {ack['verdict']}, expected {verdict}")
    return ack


async def speak_frames(connect_to, session, outcome):
    async with connect_to(["gastank/1"], Frames) as peer:
        for _ in range(3):
            peer.send(session.sign(BEAT))
            acked(session, await peer.datagrams.next("a beat in a datagram"), "a beat in a datagram")
        forged = bytearray(session.sign(BEAT))
        forged[40] ^= 1
        for bad in [bytes(forged), b"", forged[:47], bytes(forged) + b"x", bytes(1000)]:
            peer.send(bytes(bad))
        await peer.datagrams.silence("bad frames")
        stream = peer._quic.get_next_available_stream_id()
        first, second = session.sign(BEAT), session.sign(BEAT)
        peer.write(stream, first + second[:10])
        acked(session, await peer.stream.next("a beat on a stream"), "a beat on a stream")
        peer.write(stream, second[10:] + bytes(forged) + session.sign(BEAT), end=True)
        for _ in range(2):
            acked(session, await peer.stream.next("beats on a stream"), "beats on a stream")
        one_way = peer._quic.get_next_available_stream_id(is_unidirectional=True)
        peer.write(one_way, session.sign(BEAT), end=True)
        acked(session, await peer.datagrams.next("a beat on a stream one way"), "a beat on a stream one way")
    outcome["gastank/1"] = True


async def speak_http(connect_to, session, outcome):
    binary = [(b"content-type", b"application/octet-stream")]
    async with connect_to(["h3"], Http) as peer:
        for _ in range(3):
            status, ack = await peer.request(b"POST", b"/v1/heartbeat", binary, session.sign(BEAT))
            expect(status == 200, f"a beat by HTTP/3: {status}")
            acked(session, ack, "a beat by HTTP/3")
        for headers, body, wanted in [
            (binary, bytes(48), 400), (binary, bytes(2000), 413), ([(b"content-type", b"text/html")], bytes(48), 415),
        ]:
            status, problem = await peer.request(b"POST", b"/v1/heartbeat", headers, body)
            expect(status == wanted and json.loads(problem)["status"] == wanted, f"a bad beat: {status}, not {wanted}")
        status, keys = await peer.request(b"GET", b"/.well-known/jwks.json")
        expect(status == 200 and json.loads(keys)["keys"], "the keys by HTTP/3")
        status, _ = await peer.request(b"GET", b"/nowhere")
        expect(status == 404, f"nowhere: {status}")
        many = await asyncio.gather(*[peer.request(b"GET", b"/v1/account") for _ in range(20)])
        expect({status for status, _ in many} == {401}, f"twenty at once: {many}")
        status, _ = await peer.request(b"POST", b"/v1/activate", [], bytes(70_000))
        expect(status in (401, 413), f"a long body: {status}")
    outcome["h3"] = True


async def speak_webtransport(connect_to, sessions, outcome):
    binary = [(b"content-type", b"application/octet-stream")]
    async with connect_to(["h3"], Http) as peer:
        status, _ = await peer.open_session(origin=b"https://evil.example")
        expect(status == 403, f"a page that may not: {status}")
        status, _ = await peer.open_session(path=b"/elsewhere")
        expect(status == 404, f"a path without sessions: {status}")
        opened = [await peer.open_session(), await peer.open_session(origin=None)]
        expect([status for status, _ in opened] == [200, 200], f"two sessions: {opened}")
        for _ in range(3):
            for (_, number), session in zip(opened, sessions):
                peer.send(number, session.sign(BEAT))
                acked(session, await peer.datagrams[number].next("a beat in a session"), "a beat in a session")
        # A session carries whatever frames come, and plain requests go on beside it.
        peer.send(opened[0][1], sessions[1].sign(BEAT))
        acked(sessions[1], await peer.datagrams[opened[0][1]].next("another's beat"), "another's beat")
        status, ack = await peer.request(b"POST", b"/v1/heartbeat", binary, sessions[0].sign(BEAT))
        expect(status == 200, f"a request beside sessions: {status}")
        acked(sessions[0], ack, "a request beside sessions")
        # Datagrams of no session, and of one that is no session, are met with silence.
        peer.send(opened[1][1] + 400, sessions[0].sign(BEAT))
        peer._quic.send_datagram_frame(b"\x40")
        peer._quic.send_datagram_frame(b"")
        # A stream within a session is refused and costs the session nothing.
        for one_way in [True, False]:
            stream = peer.h3.create_webtransport_stream(opened[0][1], is_unidirectional=one_way)
            peer._quic.send_stream_data(stream, bytes(1000))
        peer.transmit()
        await asyncio.sleep(QUIET)
        peer.send(opened[0][1], sessions[0].sign(BEAT))
        acked(sessions[0], await peer.datagrams[opened[0][1]].next("after streams"), "after streams")
        # Closed by its capsule, a session is over; the other one is not.
        peer.h3.send_data(opened[0][1], CLOSE_CAPSULE, end_stream=True)
        peer.transmit()
        expect(await peer.inbox(opened[0][1]).next("the end of a session") is None, "the session did not end cleanly")
        peer.send(opened[0][1], sessions[0].sign(BEAT))
        await peer.datagrams[opened[0][1]].silence("a session that is closed")
        peer.send(opened[1][1], sessions[1].sign(STOP))
        acked(sessions[1], await peer.datagrams[opened[1][1]].next("a stop"), "a stop", "invalid")
    outcome["webtransport"] = True


async def run(args, outcome):
    sessions = [Session(args.http.rstrip("/"), key, "http") for key in args.key]
    quic, url, hashes = sessions[0].told["quic"], sessions[0].told["webtransport"], sessions[0].told["cert_hashes"]
    pem = open(args.ca).read()
    own = ssl.PEM_cert_to_DER_cert(re.search("-----BEGIN CERTIFICATE.*?END CERTIFICATE-----", pem, re.S)[0])
    expect(hashlib.sha256(own).digest() == unpadded(hashes[0]), "the hash told is not the certificate's")
    address = urllib.parse.urlsplit(f"//{quic}")
    expect(url == f"https://{quic}/v1/webtransport", f"webtransport is told as {url}")

    def connect_to(protocols, peer):
        configuration = QuicConfiguration(alpn_protocols=protocols, is_client=True, max_datagram_frame_size=65536,
                                          server_name="localhost")
        configuration.load_verify_locations(cadata=pem[:pem.index("-----BEGIN PRIVATE")].encode())
        return connect(address.hostname, address.port, configuration=configuration, create_protocol=peer)

    await speak_frames(connect_to, sessions[0], outcome)
    await speak_http(connect_to, sessions[0], outcome)
    await speak_webtransport(connect_to, sessions, outcome)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", required=True, help="URL of the service")
    parser.add_argument("--key", required=True, nargs=2, help="two account keys, gtk_...")
    parser.add_argument("--ca", required=True, help="file with the certificate to trust")
    args = parser.parse_args()
    outcome = {"ok": False}
    try:
        asyncio.run(asyncio.wait_for(run(args, outcome), 60))
        outcome["ok"] = True
    except Exception as error:  # whatever it is, it is told
        outcome["problem"] = f"{type(error).__name__}: {error}"
    print(json.dumps(outcome))
    sys.exit(0 if outcome["ok"] else 1)


if __name__ == "__main__":
    main()

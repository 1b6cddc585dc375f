#!/usr/bin/env python3
"""A gastank client in the standard library of Python 3, written from docs/protocol.md alone.

It activates, beats for a while, verifies every ack, renews when asked to (or once at the end, with --renew), stops, and
prints one line of JSON. It ends with 1 and a `problem` in that line on anything that the protocol does not allow.
"""

import argparse
import base64
import hashlib
import hmac
import json
import random
import secrets
import socket
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

BEAT, STOP, RENEW, ACK = 1, 2, 3, 129
FLAG_RENEW = 1
HEARTBEAT_BODY = struct.Struct("<BBHI16sQ")
ACK_BODY = struct.Struct("<BBBBIQQIHH")
VERDICTS = ["valid", "invalid", "unknown"]
END_REASONS = [None, "superseded", "exhausted", "timed_out", "deactivated", "revoked", "logged_out",
               "account_deleted", "expired"]
MOST_BYTES = 64 * 1024


class Unexpected(Exception):
    """Something that the protocol does not allow."""


class Silence(Exception):
    """No answer, or none that can be believed: the network's or the service's trouble, never the session's end."""


class Refused(Exception):
    """An HTTP error with its problem document."""

    def __init__(self, status, problem, retry_after):
        super().__init__(f"{status} {problem.get('code')}")
        self.status, self.problem, self.retry_after = status, problem, retry_after


def local_ms():
    return time.monotonic() * 1000.0


def unpadded(text):
    """Decodes base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def post(url, body, content_type, bearer=None, timeout=5.0, name=None):
    request = urllib.request.Request(url, data=body, method="POST", headers={"Content-Type": content_type})
    if name is not None:
        request.add_header("Idempotency-Key", name)
    if bearer is not None:
        request.add_header("Authorization", f"Bearer {bearer}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        try:
            problem = json.loads(error.read(MOST_BYTES))
        except ValueError:
            problem = {}
        retry_after = error.headers.get("Retry-After", "")
        raise Refused(error.code, problem if isinstance(problem, dict) else {},
                      float(retry_after) if retry_after.isdigit() else 1.0) from None
    except OSError as error:
        raise Silence(str(error)) from None


def call(url, body, content_type, bearer, name=None):
    """An act over HTTP. On 503 it waits and asks again, a few times."""
    for attempt in range(5):
        try:
            answer = json.loads(post(url, body, content_type, bearer, name=name))
            if not isinstance(answer, dict):
                raise Unexpected(f"{url} answered with something else than an object")
            return answer
        except Refused as refused:
            if refused.status != 503 or attempt == 4:
                raise
            time.sleep(refused.retry_after)
        except ValueError:
            raise Unexpected(f"{url} answered with something else than JSON") from None


class Session:
    def __init__(self, base, account_key, transport):
        self.base = base
        self.transport = transport
        left = local_ms()
        # Asked again, it is the same activation by this name.
        answer = call(base + "/v1/activate", b"{}", "application/json", account_key, secrets.token_urlsafe(16))
        came = local_ms()
        try:
            self.token = answer["token"]
            self.id = unpadded(answer["session_id"])
            self.id_text = answer["session_id"]
            self.key = unpadded(answer["heartbeat_key"])
            self.offset = answer["meter_ms"] - (left + came) / 2
            self.remaining_s = answer["remaining_s"]
            self.superseded_another = answer["superseded"]
            heartbeat = self.told = answer["heartbeat"]
            self.interval_s = heartbeat["interval_ms"] / 1000
            self.timeout_s = heartbeat["timeout_ms"] / 1000
            self.url = urllib.parse.urljoin(base + "/v1/activate", heartbeat["http"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unexpected(f"activate: {error!r} in the answer") from None
        if len(self.id) != 16 or len(self.key) != 32 or "=" in answer["session_id"] + answer["heartbeat_key"]:
            raise Unexpected("activate: the session id or the key is not what it should be")
        if answer["token_type"] != "Bearer" or answer["expires_in_s"] < 0 or not self.token:
            raise Unexpected("activate: the token is not what it should be")
        self.seq = 0
        self.waiting = {}  # seq -> (clock that was sent, local time when it left)
        self.best_round_trip_ms = None
        self.socket = None
        if transport == "udp":
            host, _, port = (heartbeat.get("udp") or "").rpartition(":")
            if not port.isdigit():
                raise Unexpected("activate: the service offers no UDP")
            host = host.strip("[]") or urllib.parse.urlsplit(base).hostname
            family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
            self.socket = socket.socket(family, kind)
            self.socket.connect(address)

    def sign(self, kind):
        self.seq = (self.seq + 1) & 0xFFFFFFFF
        now = local_ms()
        clock = max(0, round(now + self.offset))
        body = HEARTBEAT_BODY.pack(1, kind, 0, self.seq, self.id, clock)
        self.waiting[self.seq] = (clock, now)
        return body + hmac.new(self.key, body, hashlib.sha256).digest()[:16]

    def verify(self, frame):
        """The fields of an ack, or None if it is not one that answers a frame of ours."""
        if len(frame) != 48 or frame[0] != 1 or frame[1] != ACK:
            return None
        if not hmac.compare_digest(hmac.new(self.key, frame[:32], hashlib.sha256).digest()[:16], frame[32:]):
            return None
        _, _, verdict, reason, seq, meter, echo, remaining, next_beat, flags = ACK_BODY.unpack(frame[:32])
        if verdict > 2 or reason > 8 or (verdict == 1) != (reason != 0):
            return None
        if seq not in self.waiting or self.waiting[seq][0] != echo:
            return None
        _, left = self.waiting.pop(seq)
        came = local_ms()
        self.offset = meter - (left + came) / 2
        self.best_round_trip_ms = min(came - left, self.best_round_trip_ms or came - left)
        if verdict != 2:
            self.remaining_s = remaining
        return {"seq": seq, "verdict": VERDICTS[verdict], "end_reason": END_REASONS[reason], "next_s": next_beat / 10,
                "flags": 0 if verdict == 2 else flags, "remaining_s": remaining}

    def exchange(self, kind):
        """Sends one frame and returns its verified ack. Raises Silence, which never means that the session is over."""
        patience = min(2.0, self.interval_s)
        frame = self.sign(kind)
        try:
            return {"udp": self.over_udp, "http": self.over_http, "json": self.over_json}[self.transport](frame, patience)
        except Refused as refused:
            if refused.status >= 500:
                raise Silence(str(refused)) from None
            raise Unexpected(f"heartbeat: {refused}") from None
        finally:
            while len(self.waiting) > 16:
                self.waiting.pop(next(iter(self.waiting)))

    def over_udp(self, frame, patience):
        try:
            self.socket.send(frame)
            until = time.monotonic() + patience
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                ack = self.verify(self.socket.recv(2048))
                if ack is not None and ack["seq"] == self.seq:  # a late one of an earlier frame told us the time
                    return ack
        except OSError as error:
            raise Silence(str(error)) from None
        raise Silence("no ack came")

    def over_http(self, frame, patience):
        ack = self.verify(post(self.url, frame, "application/octet-stream", timeout=patience))
        if ack is None:
            raise Unexpected("heartbeat: 200 with an ack that does not verify")
        return ack

    def over_json(self, frame, patience):
        _, kind, state, seq, _, clock = HEARTBEAT_BODY.unpack(frame[:32])
        text = json.dumps({"version": 1, "kind": kind, "state": state, "seq": seq, "session_id": self.id_text,
                           "clock_ms": clock, "tag": frame[32:].hex()})
        answer = post(self.url, text.encode(), "application/json", timeout=patience)
        try:
            a = json.loads(answer)
            body = ACK_BODY.pack(a["version"], a["kind"], VERDICTS.index(a["verdict"]), END_REASONS.index(a["end_reason"]),
                                 a["seq"], a["meter_ms"], a["echo_ms"], a["remaining_s"], a["next_beat_100ms"], a["flags"])
            ack = self.verify(body + bytes.fromhex(a["tag"]))
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise Unexpected(f"heartbeat: {error!r} in the JSON ack") from None
        if ack is None:
            raise Unexpected("heartbeat: 200 with a JSON ack that does not verify")
        return ack

    def renew(self):
        """Replaces the token. Returns the end reason if the session is over, else None."""
        try:
            try:
                answer = call(self.base + "/v1/renew", self.sign(RENEW), "application/octet-stream", self.token)
            except Refused as refused:
                if refused.status != 409 or refused.problem.get("code") != "stale_renewal":
                    raise
                # Our estimate of meter time was behind an earlier frame's: once more, with the service's.
                self.offset = refused.problem["meter_ms"] - local_ms()
                answer = call(self.base + "/v1/renew", self.sign(RENEW), "application/octet-stream", self.token)
        except Refused as refused:
            if refused.status == 409 and refused.problem.get("code") == "session_ended":
                if refused.problem.get("reason") not in END_REASONS[1:]:
                    raise Unexpected("renew: session_ended without a reason") from None
                return refused.problem["reason"]
            raise
        finally:
            self.waiting.pop(self.seq, None)
        if not answer.get("token") or not isinstance(answer.get("expires_in_s"), int):
            raise Unexpected("renew: no token in the answer")
        if answer["token"] == self.token:
            raise Unexpected("renew: the token is the old one")
        self.token, self.remaining_s = answer["token"], answer["remaining_s"]
        return None


def run(args, outcome):
    session = Session(args.http.rstrip("/"), args.key, args.transport)
    outcome.update(session=session.id_text, superseded_another=session.superseded_another)
    until, silences = time.monotonic() + args.seconds, 0
    while True:
        try:
            ack = session.exchange(BEAT)
        except Silence:
            outcome["silences"] += 1
            silences += 1
            if silences * session.interval_s > session.timeout_s and silences > 5:
                raise
            wait = min(2.0 ** silences, session.interval_s) * random.uniform(0.75, 1.0)
        else:
            silences = 0
            outcome["acks"] += 1
            outcome["verdicts"][ack["verdict"]] += 1
            if ack["verdict"] == "invalid":
                outcome["end_reason"] = ack["end_reason"]
                break
            if ack["verdict"] == "valid" and ack["next_s"] > session.interval_s + 0.1:
                raise Unexpected("the service asks for a beat later than its interval")
            if ack["flags"] & FLAG_RENEW:
                outcome["end_reason"] = session.renew()
                outcome["renewals"] += 1
                if outcome["end_reason"]:
                    break
            wait = ack["next_s"] or 1.0
        left = until - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(wait, left))
    outcome.update(remaining_s=session.remaining_s, round_trip_ms=session.best_round_trip_ms)
    if outcome["end_reason"] is None:
        if args.renew:
            outcome["end_reason"] = session.renew()
            outcome["renewals"] += 1
            if outcome["end_reason"] is None and session.exchange(BEAT)["verdict"] != "valid":
                raise Unexpected("after a renewal the session is not valid")
        stop(session, outcome)
    if outcome["end_reason"] != args.expect:
        raise Unexpected(f"the session ended as {outcome['end_reason']}, expected {args.expect}")


def stop(session, outcome):
    for attempt in range(3):
        try:
            ack = session.exchange(STOP)
        except Silence:
            outcome["silences"] += 1
            time.sleep(1.0)
            continue
        if ack["verdict"] != "invalid":
            raise Unexpected(f"a stop was answered with {ack['verdict']}")
        outcome.update(end_reason=ack["end_reason"], remaining_s=ack["remaining_s"])
        return
    raise Unexpected("three stops without an ack")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", required=True, help="URL of the service")
    parser.add_argument("--key", required=True, help="account key, gtk_...")
    parser.add_argument("--seconds", type=float, required=True, help="how long to beat")
    parser.add_argument("--renew", action="store_true", help="renew once at the end, asked to or not")
    parser.add_argument("--transport", choices=["udp", "http", "json"], default="udp")
    parser.add_argument("--expect", choices=END_REASONS[1:], default="deactivated", help="how the session should end")
    args = parser.parse_args()
    outcome = {"ok": False, "transport": args.transport, "acks": 0, "silences": 0, "renewals": 0, "end_reason": None,
               "verdicts": dict.fromkeys(VERDICTS, 0)}
    try:
        run(args, outcome)
        outcome["ok"] = True
    except (Unexpected, Silence, Refused) as error:
        outcome["problem"] = f"{type(error).__name__}: {error}"
    print(json.dumps(outcome))
    sys.exit(0 if outcome["ok"] else 1)


if __name__ == "__main__":
    main()

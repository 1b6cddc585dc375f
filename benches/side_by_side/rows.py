"""The table: what of ours is held against what, under which load, and how far it may be from it."""

import base64
import hashlib
import hmac
import json
import struct
import urllib.request
from statistics import median

import loads
from results import Result, ratio

# Beats a second: what the load generator and both servers can do on two processors without loss.
UDP_RATE = 50_000
# What FreeRADIUS can do as well.
RADIUS_RATE = 10_000


class Row:
    """Ours and its anchor under the same load, in turns."""

    def __init__(self, name, what, goal, ours, anchor, against):
        self.name = name
        self.what = what
        self.goal = goal
        self.ours = ours
        self.anchor = anchor
        self.against = against

    def measure(self, lab, rounds, seconds, tell):
        ours, anchor = self.ours(lab), self.against(lab)
        pairs = []
        # The first round warms both up and does not count.
        for number in range(rounds + 1):
            # Who comes first changes, so that what grows during a run hits both.
            first, second = (ours, anchor) if number % 2 else (anchor, ours)
            samples = {first: first(seconds), second: second(seconds)}
            if number:
                pairs.append((samples[ours], samples[anchor]))
                tell(f"{samples[ours].us:.2f} / {samples[anchor].us:.2f}")
        return ratio(self.name, self.what, self.goal, self.anchor, pairs)


class Figure:
    """Something that is measured of ours alone: the median of rounds."""

    def __init__(self, name, what, goal, unit, sample):
        self.name = name
        self.what = what
        self.goal = goal
        self.unit = unit
        self.sample = sample

    def measure(self, lab, rounds, seconds, tell):
        sample = self.sample(lab)
        values = []
        for _ in range(rounds):
            values.append(sample(seconds))
            tell(f"{values[-1]:.2f} {self.unit}")
        return Result(self.name, self.what, self.goal, value=median(values), unit=self.unit)


def rows():
    loop = "recvmmsg, HMAC, HMAC, sendmmsg"
    return [
        Row("udp_beat", "UDP beat, 100 k sessions", 1.25, udp(100_000), loop, udp_floor(100_000)),
        Row("udp_radius", "UDP beat", 0.5, udp(100_000, RADIUS_RATE), "FreeRADIUS accounting, no modules", radius),
        Row("udp_million", "UDP beat, 1 M sessions", 1.3, udp(1_000_000), "1 k sessions", udp(1_000)),
        Row("http1_beat", "HTTP/1.1 beat", 1.0, http1_beat, "nginx, return 200", nginx_return),
        Row("introspection", "introspection, HTTP/1.1", 1.0, introspection, "Redis GET", redis_get),
        Row("status_list", "status list, 100 k tokens", 1.5, status_list, "nginx, the same bytes", nginx_file),
    ]


def udp(sessions, rate=UDP_RATE):
    def start(lab):
        tank = lab.tank(sessions)
        return lambda seconds: loads.beats(lab, tank, "udp", lab.crowd(sessions), rate, seconds)

    return start


def udp_floor(sessions, rate=UDP_RATE):
    def start(lab):
        floor = lab.floor("udp")
        return lambda seconds: loads.floor_beats(lab, floor, "udp", lab.crowd(sessions), rate, seconds)

    return start


def radius(lab):
    server = lab.freeradius()
    return lambda seconds: loads.accounting(lab, server, RADIUS_RATE, seconds)


def http1_beat(lab):
    """The same frame over and over: replays are harmless, and each is verified and acked like the first."""
    tank = lab.tank(1_000)
    request = lab.directory() / "request"
    request.write_bytes(post("/v1/heartbeat", "application/octet-stream", a_frame(tank)))
    return lambda seconds: loads.exchanges(lab, tank, tank.addr, request, "HTTP/1.1 200", seconds)


def nginx_return(lab):
    """48 bytes for 48 bytes."""
    server = lab.nginx(f'return 200 "{"x" * 48}";')
    request = server.directory / "request"
    request.write_bytes(post("/v1/heartbeat", "application/octet-stream", b"x" * 48))
    return lambda seconds: loads.exchanges(lab, server, server.addr, request, "HTTP/1.1 200", seconds)


def introspection(lab):
    """About a good token, by an edge that proves who it is."""
    tank = lab.tank()
    edge = tank.cli("edge", "add", "bench")
    known = base64.b64encode(f"{edge['client_id']}:{edge['client_secret']}".encode()).decode()
    body = f"token={tank.activate()}".encode()
    request = lab.directory() / "request"
    form = "application/x-www-form-urlencoded"
    request.write_bytes(post("/oauth/introspect", form, body, f"authorization: Basic {known}\r\n"))
    return lambda seconds: loads.exchanges(lab, tank, tank.addr, request, "HTTP/1.1 200", seconds)


def redis_get(lab):
    """A value as long as our answer under a key as long as a token's hash."""
    server = lab.redis()
    key, value = "k" * 43, "x" * 330
    directory = lab.directory()
    put, get = directory / "put", directory / "get"
    put.write_bytes(command("SET", key, value))
    get.write_bytes(command("GET", key))
    loads.exchanges(lab, server, server.addr, put, "+OK", 0.1, connections=1)
    return lambda seconds: loads.exchanges(lab, server, server.addr, get, "$330", seconds)


def status_list(lab):
    tank = lab.tank(100_000)
    request = lab.directory() / "request"
    request.write_bytes(get(a_list(tank)))
    return lambda seconds: loads.exchanges(lab, tank, tank.addr, request, "HTTP/1.1 200", seconds)


def nginx_file(lab):
    """The bytes that our own service has just answered."""
    server = lab.nginx("types { } default_type application/statuslist+jwt;")
    tank = next(tank for tank in lab.servers if hasattr(tank, "data"))
    (server.directory / "list").write_bytes(fetch(f"http://{tank.addr}{a_list(tank)}"))
    request = server.directory / "request"
    request.write_bytes(get("/list"))
    return lambda seconds: loads.exchanges(lab, server, server.addr, request, "HTTP/1.1 200", seconds)


def a_list(tank):
    """The path of the largest list there is."""
    lists = json.loads(fetch(f"http://{tank.addr}/oauth/status"))["status_lists"]
    paths = ["/" + uri.split("/", 3)[3] for uri in lists]
    return max(paths, key=lambda path: len(fetch(f"http://{tank.addr}{path}")))


def a_frame(tank):
    """A signed frame of one of its sessions."""
    with open(tank.sessions_file) as sessions:
        session = json.loads(sessions.readline())
    raw = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    body = struct.pack("<BBHI16sQ", 1, 1, 0, 1, raw(session["session_id"]), 0)
    return body + hmac.digest(raw(session["heartbeat_key"]), body, hashlib.sha256)[:16]


def get(path):
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def post(path, kind, body, more=""):
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{more}content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def command(*words):
    """As Redis takes commands."""
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


def fetch(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        return answer.read()

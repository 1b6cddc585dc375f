"""The table: what of ours is held against what, under which load, and how far it may be from it."""

import time

import loads
import peers
from lab import Failed
from results import figure, ratio

# Operations a second: what the load generator and both servers of a row can do on two processors without loss.
UDP_RATE = 50_000
RADIUS_RATE = 10_000
# How the rate is looked for that half is taken of: in such steps, up to so many, until the 99th percentile is later than this.
STEP = 20_000
UDP_MOST = 400_000
PROMPT_MS = 20
QUIC_RATE = 10_000
CQL_RATE = 10_000
# What our own threads rest at most, so that one wake-up takes several beats.
REST = ("--rest-us", "300")
CONNECTIONS = 1_000


class Row:
    """Ours and its anchor under the same load, in turns. `ours`, `against`: from a lab to what takes one sample."""

    def __init__(self, name, what, goal, ours, anchor, against, unit="µs"):
        self.name, self.what, self.goal, self.unit = name, what, goal, unit
        self.ours, self.anchor, self.against = ours, anchor, against

    def measure(self, lab, rounds, seconds, tell):
        ours, theirs = self.ours(lab), self.against(lab)
        pairs = []
        # The first round warms both up and does not count.
        for number in range(rounds + 1):
            # Who comes first changes, so that what grows during a run hits both.
            if number % 2:
                pair = ours(seconds), theirs(seconds)
            else:
                pair = tuple(reversed((theirs(seconds), ours(seconds))))
            if number:
                pairs.append(pair)
                tell(f"{pair[0].cost:.2f} / {pair[1].cost:.2f} {self.unit}")
        return ratio(self.name, self.what, self.goal, self.anchor, pairs, self.unit)


class Figure:
    """Something of ours alone. `sample`: from a lab to what takes a value, a note and what was lost. `once`: it takes long, and
    repeats well."""

    def __init__(self, name, what, goal, unit, sample, once=False):
        self.name, self.what, self.goal, self.unit = name, what, goal, unit
        self.sample, self.once = sample, once

    def measure(self, lab, rounds, seconds, tell):
        sample = self.sample(lab)
        values, notes, lost = zip(*(sample(seconds) for _ in range(1 if self.once else rounds)))
        for value, note in zip(values, notes):
            tell(f"{value:.2f} {self.unit} {note}")
        return figure(self.name, self.what, self.goal, self.unit, values, notes[-1], sum(lost))


class Micro:
    """What a benchmark of the library itself prints: it takes turns and medians on its own."""

    def __init__(self, name, what, goal, unit, bench, line, ours, anchor=None, its=None):
        self.name, self.what, self.goal, self.unit = name, what, goal, unit
        self.bench, self.line, self.column = bench, line, ours
        self.anchor, self.its = anchor, its

    def measure(self, lab, _rounds, _seconds, tell):
        printed = lab.bench(self.bench)
        line = next((line for line in printed.splitlines() if line.startswith(self.line)), None)
        if line is None:
            raise Failed(f"the benchmark {self.bench} says nothing of {self.line}")
        figures = [float(word) for word in line.removeprefix(self.line).split()]
        tell(line)
        if self.its is None:
            return figure(self.name, self.what, self.goal, self.unit, [figures[self.column]])
        pair = loads.Sample(figures[self.column], 1), loads.Sample(figures[self.its], 1)
        return ratio(self.name, self.what, self.goal, self.anchor, [pair], self.unit)


def rows():
    loop = "recvmmsg, HMAC, HMAC, sendmmsg"
    deaf = "recvmmsg, HMAC"
    quinn = "bare quinn, 1 k connections, 10 k a second"
    return [
        Row("udp_beat", "UDP beat, 100 k sessions", 1.25, beats(100_000), loop, floor_beats(100_000)),
        Row("udp_rested", "the same", None, beats(100_000), loop + ", and rests", floor_beats(100_000, flags=REST)),
        Row("udp_radius", "the same, 10 k a second", 0.5, beats(100_000, RADIUS_RATE), "FreeRADIUS accounting", radius),
        Row("udp_forged", "UDP, forged frame of a session", 1.1, forged(True), deaf, floor_forged(True)),
        Row("udp_stranger", "UDP, forged frame of no session", 1.1, forged(False), deaf, floor_forged(False)),
        Row("udp_million", "UDP beat, 1 M sessions", 1.3, beats(1_000_000), "1 k sessions", beats(1_000)),
        Figure("udp_rss", "memory of a session, 1 M sessions", 256, "B", memory_of_a_session, once=True),
        Figure("udp_latency", "UDP ack at half of what it can do, p99, none lost", 2, "ms", latency),
        Figure("burst", "one beat of each of 20 k UDP and 2 k QUIC clients at once, lost", 0, "beats", burst, once=True),
        Row("quic_beat", "QUIC datagram beat", 1.15, quic_beats("quic"), quinn, quic_floor("quic")),
        Row("webtransport_beat", "WebTransport beat", 1.3, quic_beats("webtransport"), quinn, quic_floor("quic")),
        Row("http3_beat", "HTTP/3 beat", 1.2, quic_beats("http3"), "bare h3", quic_floor("http3")),
        Row("quic_rss", "memory of a QUIC connection", 1.1, memory_of_ours, quinn, memory_of_bare, "B"),
        Row("http1_beat", "HTTP/1.1 beat", 1.0, http1_beat, "nginx, return 200", nginx_return),
        Row("introspection", "introspection, HTTP/1.1", 1.0, introspection, "Redis GET", redis_get),
        Micro("token", "token issued, ES256", 1.3, "µs", "tokens", "ES256 token", 0, "its signature alone", 1),
        Micro(
            "status_build",
            "status list built and signed, 1 M tokens",
            50,
            "ms",
            "status_list",
            "1 M tokens issued, 1 % ended, all decoys",
            1,
        ),
        Row("cql_beat", "UDP beat, CQL store, 10 k a second", 1.1, cql_beats(10_000), "SQLite store", beats(10_000, CQL_RATE)),
        Figure("cql_start", "start with 200 k open sessions, CQL store", 5, "s", cql_start),
        Row("status_list", "status list, 100 k tokens", 1.5, status_list, "nginx, the same bytes", nginx_file),
    ]


def beats(sessions, rate=UDP_RATE, transport="udp", connections=4, **tank):
    def start(lab):
        ours, crowd = lab.tank(sessions, **tank), lab.crowd(sessions)
        more = ["--connections", lab.crowd(connections)]
        return lambda seconds: loads.beats(lab, ours, transport, crowd, rate, seconds, *more)

    return start


def floor_beats(sessions, rate=UDP_RATE, transport="udp", connections=4, flags=()):
    def start(lab):
        floor, crowd = lab.floor(transport, *flags), lab.crowd(sessions)
        more = ["--connections", lab.crowd(connections)]
        return lambda seconds: loads.floor_beats(lab, floor, transport, crowd, rate, seconds, *more)

    return start


def quic_beats(transport):
    return beats(CONNECTIONS, QUIC_RATE, transport, CONNECTIONS)


def quic_floor(transport):
    return floor_beats(CONNECTIONS, QUIC_RATE, transport, CONNECTIONS)


def memory_of_ours(lab):
    """What the process grows by for a connection that is nearly idle, of a service that has just been started."""

    def sample(seconds):
        tank = lab.tank(CONNECTIONS)
        return grown(lab, tank, lambda: quiet(loads.beats, lab, tank, seconds))

    return sample


def memory_of_bare(lab):
    def sample(seconds):
        floor = lab.floor("quic")
        return grown(lab, floor, lambda: quiet(loads.floor_beats, lab, floor, seconds))

    return sample


def quiet(load, lab, server, seconds):
    """As many connections as sessions, and each beats once or twice."""
    crowd = lab.crowd(CONNECTIONS)
    return load(lab, server, "quic", crowd, crowd, max(seconds, 2), "--connections", crowd)


def grown(lab, server, load):
    before = server.rss()
    taken = load()
    lab.end(server)
    taken.cost = (taken.rss - before) / lab.crowd(CONNECTIONS)
    return taken


def cql_beats(sessions):
    def start(lab):
        ours, crowd = lab.tank_on(lab.cql(), sessions)(), lab.crowd(sessions)
        more = ["--connections", lab.crowd(4)]
        return lambda seconds: loads.beats(lab, ours, "udp", crowd, CQL_RATE, seconds, *more)

    return start


def cql_start(lab):
    """From the start of the program until it serves, on the same machine as the CQL server, which has put its files in order."""
    cql = lab.cql()
    again = lab.tank_on(cql, 200_000)
    lab.settle(cql)

    def sample(_seconds):
        began = time.monotonic()
        tank = again()
        took = time.monotonic() - began
        lab.end(tank)
        return took, "", 0

    return sample


def radius(lab):
    server = lab.freeradius()
    return lambda seconds: loads.accounting(lab, server, RADIUS_RATE, seconds)


def forged(of_sessions):
    def start(lab):
        tank = lab.tank(100_000)
        file = tank.sessions_file if of_sessions else None
        return lambda seconds: loads.forgeries(lab, tank, tank.addresses["udp"], UDP_RATE, seconds, file)

    return start


def floor_forged(of_sessions):
    def start(lab):
        floor = lab.floor("udp", "--no-send")
        file = lab.filled(100_000) / "sessions.jsonl" if of_sessions else None
        return lambda seconds: loads.forgeries(lab, floor, floor.addr, UDP_RATE, seconds, file)

    return start


def memory_of_a_session(lab):
    """What a service with a million sessions has resident beyond one with none, after some have beaten."""

    def sample(seconds):
        empty, full = lab.tank(), lab.tank(1_000_000)
        loads.beats(lab, full, "udp", lab.crowd(1_000_000), UDP_RATE, seconds)
        each = (full.rss() - empty.rss()) / lab.crowd(1_000_000)
        note = f"{full.rss() >> 20} MiB in all"
        lab.end(empty)
        lab.end(full)
        return each, note, 0

    return sample


def latency(lab):
    """At half of the highest rate that is answered whole and in time, with the load generator on the same machine."""
    tank, sessions = lab.tank(100_000), lab.crowd(100_000)
    most = STEP
    while most < UDP_MOST:
        taken = loads.beats(lab, tank, "udp", sessions, most + STEP, 1)
        if taken.lost or taken.late or taken.p99_ms > PROMPT_MS:
            break
        most += STEP
    half = most // 2

    def sample(seconds):
        taken = loads.beats(lab, tank, "udp", sessions, half, seconds)
        return taken.p99_ms, f"{half} a second, {taken.lost} of {taken.operations + taken.lost} lost", taken.lost

    return sample


def burst(lab):
    tank = lab.tank()

    def sample(_seconds):
        taken = loads.scenario(lab, tank, "burst")
        return taken.lost, f"of {taken.operations + taken.lost}", taken.lost

    return sample


def http1_beat(lab):
    """The same frame over and over: replays are harmless, and each is verified and acked like the first."""
    tank = lab.tank(1_000)
    request = lab.file(peers.post("/v1/heartbeat", "application/octet-stream", peers.frame(tank.sessions_file)))
    return lambda seconds: loads.exchanges(lab, tank, request, "HTTP/1.1 200", seconds)


def nginx_return(lab):
    """48 bytes for 48 bytes."""
    server = lab.nginx(f'return 200 "{"x" * 48}";')
    request = lab.file(peers.post("/v1/heartbeat", "application/octet-stream", b"x" * 48))
    return lambda seconds: loads.exchanges(lab, server, request, "HTTP/1.1 200", seconds)


def introspection(lab):
    """About a good token, by an edge that proves who it is."""
    tank = lab.tank()
    edge = tank.cli("edge", "add", "bench")
    request = lab.file(peers.introspection(edge["client_id"], edge["client_secret"], tank.activate()))
    return lambda seconds: loads.exchanges(lab, tank, request, "HTTP/1.1 200", seconds)


def redis_get(lab):
    """A value as long as our answer under a key as long as a token's hash."""
    server = lab.redis()
    put = lab.file(peers.redis("SET", "k" * 43, "x" * 330))
    loads.exchanges(lab, server, put, "+OK", 0.1, connections=1)
    request = lab.file(peers.redis("GET", "k" * 43))
    return lambda seconds: loads.exchanges(lab, server, request, "$330", seconds)


def status_list(lab):
    tank = lab.tank(100_000)
    request = lab.file(peers.get(peers.largest_list(tank.addr)))
    return lambda seconds: loads.exchanges(lab, tank, request, "HTTP/1.1 200", seconds)


def nginx_file(lab):
    """The bytes that our own service answers."""
    tank = lab.tank(100_000)
    server = lab.nginx("types { } default_type application/statuslist+jwt;")
    (server.directory / "list").write_bytes(peers.fetch(tank.addr, peers.largest_list(tank.addr)))
    request = lab.file(peers.get("/list"))
    return lambda seconds: loads.exchanges(lab, server, request, "HTTP/1.1 200", seconds)

"""The loads: each asks one server for some seconds, and says what an operation took of the server's processor time."""

import json
from dataclasses import dataclass

from lab import Failed, Missing, run


@dataclass
class Sample:
    """What a round showed of one side."""

    # Microseconds of the server's processor time for an operation.
    cost: float
    operations: int
    lost: int = 0
    # Answers that came after they had been given up.
    late: int = 0
    # Of the server when the load was over, in bytes.
    rss: int = 0
    # How long answers took from when they were due, at the 99th percentile.
    p99_ms: float = 0.0


def beats(lab, tank, transport, sessions, rate, seconds, *more):
    """Heartbeats of open sessions, at a rate that does not depend on the answers; every ack is verified."""
    whom = [*address(tank), "--sessions-file", tank.sessions_file, "--believe"]
    return generated(lab, tank, [*whom, *more], transport, sessions, rate, seconds)


def scenario(lab, tank, name):
    """A scenario of the load generator's own, with sessions that it opens."""
    if lab.quick:
        raise Missing("it takes its time")
    report = json.loads(run([lab.built / "loadtest", "run", name, *address(tank), "--abandon", "--json", "-"], accept=(0, 1)))
    total = report["total"]
    return Sample(report["server"]["cpu_s"] * 1e6 / total["answered"], total["answered"], total["lost"] + total["unsent"])


def address(tank):
    whom = ["--http", f"http://{tank.addresses['http']}", "--admin-url", f"http://{tank.addresses['admin']}"]
    return [*whom, "--admin-token-file", tank.data / "admin.token"]


def floor_beats(lab, floor, transport, sessions, rate, seconds, *more):
    """The same heartbeats, to a server that knows no sessions."""
    return generated(lab, floor, ["floor", "--addr", floor.addr, *more], transport, sessions, rate, seconds)


def generated(lab, server, whom, transport, sessions, rate, seconds):
    plan = ["--transport", transport, "--sessions", sessions, "--rate", rate, "--duration", f"{round(seconds * 1000)}ms"]
    # What was lost is for the row to judge.
    plan += ["--accept-loss", "1", "--pid", server.pid, "--json", "-"]
    # It ends with 1 for a criterion that is not met, and without a report for anything else.
    printed = run([lab.built / "loadtest", *whom, *plan], accept=(0, 1))
    if not printed:
        raise Failed("loadtest gave up")
    report = json.loads(printed)
    beats, process = report["operations"][0], report["server"]
    done = beats["on_time"] + beats["late"]
    if not done or beats["bad"]:
        raise Failed(f"loadtest: {done} good answers, bad ones: {beats['bad_by_kind']}")
    lost = beats["lost"] + beats["unsent"]
    cost, p99_ms = process["cpu_s"] * 1e6 / done, beats["latency_us"]["p99"] / 1000
    return Sample(cost, done, lost, beats["late"], process["last_rss"], p99_ms)


def exchanges(lab, server, request, expect, seconds, connections=16):
    """Requests on connections that stay open, one at a time on each."""
    command = [lab.built / "floors", "exchange", "--addr", server.addr, "--request", request, "--expect", expect]
    return priced(server, [*command, "--connections", connections, "--duration", seconds])


def accounting(lab, server, rate, seconds):
    """RADIUS accounting requests at a rate; every answer's authenticator is verified."""
    return priced(server, [lab.built / "floors", "radius", "--addr", server.addr, "--rate", rate, "--duration", seconds])


def forgeries(lab, server, addr, rate, seconds, sessions_file=None):
    """Frames whose tags are wrong. An operation is one that reached the server: nobody answers them."""
    command = [lab.built / "floors", "forge", "--addr", addr, "--rate", rate, "--duration", seconds]
    return priced(server, command + (["--sessions-file", sessions_file] if sessions_file else []))


def priced(server, command):
    before = server.cpu_s()
    report = json.loads(run(command))
    spent = server.cpu_s() - before
    if not report["operations"]:
        raise Failed(f"{command[1]}: no answers")
    return Sample(spent * 1e6 / report["operations"], report["operations"], report.get("lost", 0), rss=server.rss())

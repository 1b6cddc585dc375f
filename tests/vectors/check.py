#!/usr/bin/env python3
"""Checks heartbeat.json with an implementation that shares nothing with the Rust one.

HMAC is built here from SHA-256 alone (RFC 2104), the layout is written once more with `struct`. A mistake that the
Rust writer and the Rust reader share shows as a difference. Usage: check.py [heartbeat.json]
"""

import hashlib
import json
import pathlib
import struct
import sys

HEARTBEAT = struct.Struct("<BBHI16sQ")  # version, kind, state, seq, session id, clock
ACK = struct.Struct("<BBBBIQQIHH")  # version, kind, verdict, end reason, seq, now, echo, remaining, next beat, flags
VERDICTS = ["valid", "invalid", "unknown"]
END_REASONS = [None, "superseded", "exhausted", "timed_out", "deactivated", "revoked", "logged_out",
               "account_deleted", "expired"]
SECTIONS = {"keys": 21, "heartbeats": 30, "acks": 38, "bad_heartbeats": 60, "bad_acks": 70}  # the fewest there may be


class Refused(Exception):
    """A frame was refused; the argument is the check that did it."""


def hmac_sha256(key, message):
    if len(key) > 64:
        key = hashlib.sha256(key).digest()
    key = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).digest()


def sealed(body, key):
    assert len(body) == 32, len(body)
    return body + hmac_sha256(key, body)[:16]


def opened(frame, key, kinds):
    if len(frame) != 48:
        raise Refused("length")
    if frame[0] != 1:
        raise Refused("version")
    if frame[1] not in kinds:
        raise Refused("kind")
    if sealed(frame[:32], key) != frame:
        raise Refused("tag")
    return frame[:32]


def read_heartbeat(frame, key):
    _, kind, state, seq, session, clock = HEARTBEAT.unpack(opened(frame, key, (1, 2, 3)))
    return {"kind": kind, "state": state, "seq": seq, "session_id": session.hex(), "clock_ms": str(clock)}


def read_ack(frame, key):
    _, _, verdict, reason, seq, now, echo, remaining, next_beat, flags = ACK.unpack(opened(frame, key, (129,)))
    if verdict > 2 or reason > 8 or (verdict == 1) != (reason != 0):
        raise Refused("value")
    return {"verdict": VERDICTS[verdict], "end_reason": END_REASONS[reason], "seq": seq, "meter_ms": str(now),
            "echo_ms": str(echo), "remaining_s": remaining, "next_beat_100ms": next_beat, "flags": flags}


def write_heartbeat(case, key):
    return sealed(HEARTBEAT.pack(1, case["kind"], case["state"], case["seq"], bytes.fromhex(case["session_id"]),
                                 int(case["clock_ms"])), key)


def write_ack(case, key):
    return sealed(ACK.pack(1, 129, VERDICTS.index(case["verdict"]), END_REASONS.index(case["end_reason"]), case["seq"],
                           int(case["meter_ms"]), int(case["echo_ms"]), case["remaining_s"], case["next_beat_100ms"],
                           case["flags"]), key)


def check_key(case):
    label = b"gastank/heartbeat/v1"
    key = hmac_sha256(bytes.fromhex(case["cluster_secret"]), label + bytes.fromhex(case["session_id"]))
    return expect("session key", key.hex(), case["session_key"])


def check_good(write, read):
    def check(case):
        key, frame = bytes.fromhex(case["session_key"]), bytes.fromhex(case["frame"])
        expect("frame", write(case, key).hex(), case["frame"])
        fields = {name: value for name, value in case.items() if name not in ("name", "session_key", "frame")}
        expect("fields", read(frame, key), fields)
    return check


def check_bad(read):
    def check(case):
        try:
            fields = read(bytes.fromhex(case["frame"]), bytes.fromhex(case["session_key"]))
        except Refused as refused:
            expect("refused for", str(refused), case["refused_for"])
        else:
            raise AssertionError(f"accepted as {fields}, should be refused for {case['refused_for']}")
    return check


CHECKS = {
    "keys": check_key,
    "heartbeats": check_good(write_heartbeat, read_heartbeat),
    "acks": check_good(write_ack, read_ack),
    "bad_heartbeats": check_bad(read_heartbeat),
    "bad_acks": check_bad(read_ack),
}


def expect(what, ours, theirs):
    if ours != theirs:
        raise AssertionError(f"{what}: computed {ours}, the file says {theirs}")


def main():
    # RFC 4231, test case 2: the HMAC above is HMAC.
    expect("RFC 4231", hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex(),
           "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("heartbeat.json"))
    vectors = json.loads(path.read_text(encoding="utf-8"))
    failures = 0
    for section, fewest in SECTIONS.items():
        cases = vectors.get(section, [])
        if len(cases) < fewest:
            failures += 1
            print(f"FAIL {section}: {len(cases)} cases, at least {fewest} expected", file=sys.stderr)
        for case in cases:
            try:
                CHECKS[section](case)
            except (AssertionError, Refused, KeyError, ValueError, struct.error) as error:
                failures += 1
                print(f"FAIL {section}, {case.get('name')}: {error!r}", file=sys.stderr)
    for section, values, field in (("heartbeats", [1, 2, 3], "kind"), ("acks", VERDICTS, "verdict"),
                                   ("acks", END_REASONS, "end_reason")):
        missing = [value for value in values if value not in [case.get(field) for case in vectors.get(section, [])]]
        if missing:
            failures += 1
            print(f"FAIL {section}: no case with {field} {missing}", file=sys.stderr)
    if failures:
        sys.exit(f"{path.name}: {failures} failures")
    print(f"{path.name}: " + ", ".join(f"{len(vectors[section])} {section}" for section in SECTIONS) + ": all agree")


if __name__ == "__main__":
    main()

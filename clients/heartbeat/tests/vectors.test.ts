// The vectors that every implementation replays. What they have for services, reading heartbeats and building acks, is not in this library.

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { fromBase64Url, importSessionKey, readAck, signFrame } from "../src/index.ts";
import { hex, unhex } from "./hex.ts";

interface HeartbeatVector {
  name: string;
  session_key: string;
  kind: 1 | 2 | 3;
  state: number;
  seq: number;
  session_id: string;
  clock_ms: string;
  frame: string;
}

interface AckVector {
  name: string;
  session_key: string;
  verdict: string;
  end_reason: string | null;
  seq: number;
  meter_ms: string;
  echo_ms: string;
  remaining_s: number;
  next_beat_100ms: number;
  flags: number;
  frame: string;
}

const vectors = JSON.parse(readFileSync(new URL("../../../tests/vectors/heartbeat.json", import.meta.url), "utf8")) as {
  heartbeats: HeartbeatVector[];
  acks: AckVector[];
  bad_acks: { name: string; session_key: string; frame: string; refused_for: string }[];
};

test("there are vectors of each kind", () => {
  expect([vectors.heartbeats.length, vectors.acks.length, vectors.bad_acks.length].every((count) => count > 20)).toBe(true);
});

test.each(vectors.heartbeats)("builds the heartbeat: $name", async (vector) => {
  const key = await importSessionKey(unhex(vector.session_key));
  const { kind, state, seq } = vector;
  const frame = await signFrame(key, unhex(vector.session_id), { kind, state, seq, clockMs: BigInt(vector.clock_ms) });
  expect(hex(frame)).toBe(vector.frame);
});

test.each(vectors.acks)("reads the ack: $name", async (vector) => {
  const ack = await readAck(await importSessionKey(unhex(vector.session_key)), unhex(vector.frame));
  expect(ack).toEqual({
    verdict: vector.verdict,
    endReason: vector.end_reason ?? undefined,
    seq: vector.seq,
    meterMs: BigInt(vector.meter_ms),
    echoMs: BigInt(vector.echo_ms),
    remainingS: vector.remaining_s,
    nextBeat100ms: vector.next_beat_100ms,
    renew: (vector.flags & 1) !== 0,
    lowCredit: (vector.flags & 2) !== 0,
  });
});

// A service of this version never sends them; from a later one they are ends with a reason that this client does not know.
const ofLaterVersions = (name: string): boolean => /^verdict 1 with reason (9|255)$/.test(name);

test.each(vectors.bad_acks.filter(({ name }) => !ofLaterVersions(name)))("refuses as an ack: $name", async (vector) => {
  const key = await importSessionKey(unhex(vector.session_key));
  expect(await readAck(key, unhex(vector.frame))).toBe(vector.refused_for);
});

test.each(vectors.bad_acks.filter(({ name }) => ofLaterVersions(name)))("reads as an end: $name", async (vector) => {
  const key = await importSessionKey(unhex(vector.session_key));
  expect(await readAck(key, unhex(vector.frame))).toMatchObject({ verdict: "invalid", endReason: "revoked" });
});

test("base64url is decoded without padding, and nothing else is", () => {
  expect(hex(fromBase64Url("AAECAwQFBgcICQoLDA0ODw")!)).toBe("000102030405060708090a0b0c0d0e0f");
  expect(hex(fromBase64Url("-_8")!)).toBe("fbff");
  for (const bad of ["AAEC=", "AA+C", "AA/C", "A", "AAAA A", "ä"]) expect(fromBase64Url(bad), bad).toBeUndefined();
});

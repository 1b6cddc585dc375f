/**
 * The protocol's rules for clients, told from the outside: it sees what goes into a client and what comes out, and says which rule is broken. It
 * keeps no state machine; each rule is checked against the whole history. Written from docs/protocol.md alone.
 */

import { expect } from "vitest";

import type { Ack, SessionCommand, SessionEvent } from "../src/index.ts";

const PATIENCE_MS = 2_000;

interface Sent {
  readonly at: number;
  readonly kind: number;
  readonly seq: number;
  readonly clock: number;
  readonly carrier: number;
}

/** What decided when the next frame is due: an ack with its time, or a silence. */
type Cause = { readonly from: number; readonly least: number; readonly most: number };

export class Model {
  /** Of the session that is open; empty otherwise. */
  #sent: Sent[] = [];
  #allSeqs: number[] = [];
  #answered = new Set<number>();
  #open = false;
  #token: string | undefined;
  #meterAt: { local: number; meter: number; error: number } | undefined;
  #due: Cause | undefined;
  #silencesInARow = 0;
  #carrier = 0;
  #flagged = false;
  #renewing: number | undefined;
  #early: number | undefined;
  #mended = false;
  #stopping = false;
  #cancelled = false;
  #names: string[] = [];
  #asked = 0;
  #phase = "off";

  constructor(
    private readonly intervalMs: number,
    /** Meter time at the service, or `undefined` while the clocks have been told apart since the last ack. */
    private readonly truth: () => number | undefined,
  ) {}

  /** Before the event is handled. */
  input(event: SessionEvent, at: number): void {
    this.#notice(at);
    if (event.type === "activate" && this.#phase === "off") this.#asked += 1;
    if (event.type === "activate" && this.#phase === "stopping") this.#asked += 1;
    if (event.type === "stop" && this.#open) this.#stopping = true;
    if (event.type === "stop" || event.type === "activate") this.#cancelled = event.type === "stop";
    if (event.type === "activated" && this.#phase === "activating" && event.name === this.#names.at(-1)) {
      this.#begin(event.answer.token);
      this.#meterAt = { local: at, meter: event.answer.meterMs, error: at - event.sentAt };
      this.#due = { from: at, least: 0, most: 0 };
    }
    if (event.type === "beat") this.#early = at;
    if (event.type === "ack") this.#acked(event.ack, at);
    if (event.type === "silence" && event.seq === this.#sent.at(-1)?.seq && !this.#heardSinceLast) this.#silent(Math.min(at, this.#patienceEnds()));
    if (event.type === "renewed" && event.seq === this.#renewing) {
      this.#token = event.token;
      this.#renewing = undefined;
      this.#flagged = false;
    }
    if (event.type === "renewal_failed" && event.seq === this.#renewing) {
      this.#renewing = undefined;
      if (event.failure.code === "session_ended") this.#close();
    }
  }

  /** After it was handled. */
  output(commands: readonly SessionCommand[], at: number, seen: { token: string | undefined; phase: string }): void {
    for (const command of commands) {
      if (command.do === "activate") {
        if (!this.#names.includes(command.name)) this.#names.push(command.name);
        expect(this.#open, "an activation beside an open session").toBe(false);
        continue;
      }
      expect(this.#open, "a frame without a session").toBe(true);
      const { kind, seq, clockMs } = command.frame;
      expect(seq, "seq counts on by one").toBe(this.#allSeqs.length + 1);
      this.#allSeqs.push(seq);
      this.#clockIsRight(Number(clockMs));
      if (command.do === "renew") {
        expect(kind).toBe(3);
        expect(this.#flagged, "a renewal that no ack has asked for").toBe(true);
        expect(this.#renewing, "two renewals at once").toBeUndefined();
        expect(command.token, "renewed with the token in use").toBe(this.#token);
        this.#renewing = seq;
        continue;
      }
      expect(kind).toBe(this.#stopping ? 2 : 1);
      this.#timeIsRight(at, command.carrier);
      this.#sent.push({ at, kind, seq, clock: Number(clockMs), carrier: command.carrier });
    }
    expect(this.#names.length, "more activations than the person asked for").toBeLessThanOrEqual(this.#asked);
    if (this.#phase === "stopping" && seen.phase !== "stopping" && this.#open) {
      const stops = this.#sent.filter(({ kind }) => kind === 2);
      expect(stops.length, "given up before three stops").toBe(3);
      expect(stops[2]!.at - stops[0]!.at, "stops are a second apart").toBeGreaterThanOrEqual(2_000);
      this.#close();
    }
    this.#phase = seen.phase;
    expect(seen.token, "the token to show").toBe(this.#open ? this.#token : undefined);
    expect(["on", "stopping"].includes(seen.phase), `phase ${seen.phase}`).toBe(this.#open);
  }

  get #heardSinceLast(): boolean {
    const last = this.#sent.at(-1);
    return last === undefined || this.#due !== undefined;
  }

  /** Nothing came, and no carrier told of it: silence. */
  #notice(at: number): void {
    const last = this.#sent.at(-1);
    if (!this.#open || !last || this.#due || at <= this.#patienceEnds()) return;
    if (!this.#stopping || last.kind === 2) this.#silent(this.#patienceEnds());
  }

  #patienceEnds(): number {
    const last = this.#sent.at(-1)!;
    return last.at + (last.kind === 2 ? 1_000 : Math.min(PATIENCE_MS, this.intervalMs));
  }

  #begin(token: string): void {
    this.#sent = [];
    this.#allSeqs = [];
    this.#answered.clear();
    this.#open = true;
    this.#stopping = this.#cancelled;
    this.#token = token;
    this.#silencesInARow = 0;
    this.#carrier = 0;
    this.#flagged = false;
    this.#renewing = undefined;
    this.#mended = false;
    this.#early = undefined;
  }

  #close(): void {
    this.#open = false;
    this.#token = undefined;
    this.#renewing = undefined;
    this.#due = undefined;
  }

  /** Of the 16 latest frames, the ones later than the last that was answered wait. */
  #acked(ack: Ack, at: number): void {
    if (!this.#open) return;
    const last = Math.max(0, ...this.#answered);
    const sent = this.#sent.slice(-16).find(({ seq, clock }) => seq === ack.seq && BigInt(clock) === ack.echoMs && seq > last);
    if (!sent) return;
    this.#answered.add(sent.seq);
    if (ack.verdict === "invalid") return this.#close();
    const meter = Number(ack.meterMs);
    const expected = this.#meterAt!.meter + (sent.at - this.#meterAt!.local);
    this.#meterAt = { local: at, meter, error: Math.max(at - sent.at, 0) };
    this.#silencesInARow = 0;
    if (ack.verdict === "unknown") this.#carrier += 1;
    if (ack.verdict === "valid" && ack.renew && this.#renewing === undefined) this.#flagged = true;
    if (this.#stopping) return;
    const next = ack.nextBeat100ms === 0 ? 1_000 : ack.nextBeat100ms * 100;
    // Behind by about half an interval or more: it may, or must, send another at once; not twice in a row.
    const behind = meter - expected > this.intervalMs / 2 - (at - sent.at) && !this.#mended;
    this.#mended = behind;
    this.#due = { from: at, least: behind ? 0 : next, most: next };
  }

  #silent(at: number): void {
    this.#silencesInARow += 1;
    if (this.#silencesInARow % 3 === 0 || this.#stopping) this.#carrier += 1;
    const wait = Math.min(2_000 * 2 ** (this.#silencesInARow - 1), this.intervalMs);
    this.#due = { from: at, least: wait * 0.75, most: wait };
  }

  #clockIsRight(clock: number): void {
    const truth = this.truth();
    if (truth === undefined) return;
    // An answer tells the time to half its round trip, and both sides round.
    expect(Math.abs(clock - truth), "the estimate of meter time").toBeLessThanOrEqual(this.#meterAt!.error / 2 + 2);
  }

  #timeIsRight(at: number, carrier: number): void {
    const last = this.#sent.at(-1);
    const early = this.#early === at && last !== undefined && at - last.at >= 1_000;
    this.#notice(early ? at : Infinity);
    expect(carrier, "the carrier").toBe(this.#carrier);
    if (!early && !this.#stopping) {
      const { from, least, most } = this.#due!;
      expect(at - from, "too early").toBeGreaterThanOrEqual(least - 0.001);
      expect(at - from, "too late").toBeLessThanOrEqual(most + 0.001);
    }
    this.#due = undefined;
  }
}

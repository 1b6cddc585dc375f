/**
 * A service, a network and a person in virtual time, for property tests of `Session`. The service keeps the protocol's rules and knows the truth;
 * the network loses, repeats, delays and forges. Nothing here is taken from the code under test.
 */

import type { Ack, Activation, Failure, SessionCommand, SessionEvent } from "../src/index.ts";

export const INTERVAL_MS = 30_000;
export const TIMEOUT_MS = 90_000;

export interface Weather {
  readonly seed: number;
  /** Of a hundred frames, as many get lost; and acks. */
  readonly loss: number;
  /** Of a hundred acks, as many come twice. */
  readonly repeat: number;
  readonly mostDelayMs: number;
  /** Of a hundred acks, as many ask for a renewal. */
  readonly renew: number;
  /** Of a hundred, as many are `unknown`. */
  readonly unknown: number;
}

export interface Deed {
  readonly afterMs: number;
  readonly what: "activate" | "stop" | "beat" | "outage" | "back" | "supersede" | "forge" | "credit" | "wake";
}

/** Numbers that a seed gives, always the same. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  fraction(): number {
    // xorshift32
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.#state >>>= 0;
    return this.#state / 2 ** 32;
  }

  hits(percent: number): boolean {
    return this.fraction() * 100 < percent;
  }

  upTo(most: number): number {
    return Math.floor(this.fraction() * (most + 1));
  }
}

interface ServiceSession {
  id: string;
  startedMs: number;
  lastSeenMs: number;
  fuelMs: number;
  token: string;
  ended: Ack["endReason"];
}

/** The service. Its meter stands still during an outage. */
export class Service {
  session: ServiceSession | undefined;
  readonly names = new Map<string, string>();
  #meterMs = 1_000_000;
  #lastMs = 0;
  #up = true;
  #issued = 0;
  #tankMs: number;

  constructor(tankMs: number) {
    this.#tankMs = tankMs;
  }

  get up(): boolean {
    return this.#up;
  }

  meterAt(nowMs: number): number {
    if (this.#up) this.#meterMs += nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.#settle();
    return Math.floor(this.#meterMs);
  }

  switch(up: boolean, nowMs: number): void {
    this.meterAt(nowMs);
    this.#up = up;
  }

  credit(ms: number, nowMs: number): void {
    this.meterAt(nowMs);
    this.#tankMs += ms;
    if (this.session && !this.session.ended) this.session.fuelMs += ms;
  }

  end(reason: NonNullable<Ack["endReason"]>, nowMs: number): void {
    this.meterAt(nowMs);
    if (this.session) this.session.ended ??= reason;
  }

  activate(name: string, nowMs: number): Activation | Failure {
    const meterMs = this.meterAt(nowMs);
    if (!this.#up) return { status: 0, code: "no_answer" };
    const known = this.names.get(name);
    if (known !== undefined && (known !== this.session?.id || this.session.ended)) {
      return { status: 409, code: "session_ended", ...(this.session?.ended && { reason: this.session.ended }) };
    }
    if (known === undefined) {
      if (this.#tankMs < 1_000) return { status: 402, code: "tank_empty" };
      const id = `session ${this.names.size}`;
      this.names.set(name, id);
      this.session = { id, startedMs: meterMs, lastSeenMs: meterMs, fuelMs: this.#tankMs, token: this.#draw(), ended: undefined };
    }
    const session = this.session!;
    return {
      token: session.token,
      expiresInS: 60,
      sessionId: session.id,
      heartbeatKey: "a key",
      meterMs,
      remainingS: this.#remainingS(session, meterMs),
      superseded: false,
      heartbeat: { intervalMs: INTERVAL_MS, timeoutMs: TIMEOUT_MS, http: "https://service.test/v1/heartbeat", certHashes: [] },
    };
  }

  /** What it answers to a frame of this session. */
  beat(id: string, command: SessionCommand & { do: "send" }, dice: Dice, weather: Weather, nowMs: number): Ack | undefined {
    const meterMs = this.meterAt(nowMs);
    if (!this.#up) return undefined;
    const { kind, seq, clockMs } = command.frame;
    const about = { seq, meterMs: BigInt(meterMs), echoMs: BigInt(clockMs), lowCredit: false, renew: false };
    const session = this.session;
    if (session?.id !== id) return { ...about, verdict: "invalid", endReason: "superseded", remainingS: 0, nextBeat100ms: 0 };
    session.lastSeenMs = Math.max(session.lastSeenMs, Math.min(Number(clockMs), meterMs));
    if (kind === 2) session.ended ??= "deactivated";
    if (session.ended) return { ...about, verdict: "invalid", endReason: session.ended, remainingS: 0, nextBeat100ms: 0 };
    const nextBeat100ms = dice.hits(5) ? 0 : 200 + dice.upTo(100);
    const remainingS = this.#remainingS(session, meterMs);
    if (dice.hits(weather.unknown)) return { ...about, verdict: "unknown", endReason: undefined, remainingS: 7, nextBeat100ms };
    const renew = dice.hits(weather.renew);
    return { ...about, verdict: "valid", endReason: undefined, remainingS, nextBeat100ms, renew, lowCredit: remainingS < 300 };
  }

  renew(token: string, nowMs: number): { token: string; remainingS: number } | Failure {
    const meterMs = this.meterAt(nowMs);
    if (!this.#up) return { status: 503, code: "warming_up", retryAfterS: 3 };
    const session = this.session;
    if (!session || session.ended) return { status: 409, code: "session_ended", reason: session?.ended ?? "superseded" };
    if (!this.takes(token)) return { status: 401, code: "bad_credentials" };
    this.#before = token;
    session.token = this.#draw();
    return { token: session.token, remainingS: this.#remainingS(session, meterMs) };
  }

  /** Whether a renewal is taken with this token: the current one, or the one that the last renewal was asked with. */
  takes(token: string): boolean {
    return token === this.session?.token || token === this.#before;
  }

  #before: string | undefined;

  #draw(): string {
    return `token ${(this.#issued += 1)}`;
  }

  #remainingS(session: ServiceSession, meterMs: number): number {
    return Math.floor(Math.max(0, session.startedMs + session.fuelMs - meterMs) / 1_000);
  }

  #settle(): void {
    const session = this.session;
    if (!session || session.ended) return;
    const [silent, dry] = [session.lastSeenMs + TIMEOUT_MS, session.startedMs + session.fuelMs];
    if (this.#meterMs > Math.min(silent, dry)) session.ended = dry <= silent ? "exhausted" : "timed_out";
  }
}

export type Arrival = { readonly at: number; readonly event: SessionEvent } | { readonly at: number; readonly deliver: () => void };

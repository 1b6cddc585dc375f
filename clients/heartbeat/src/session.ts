/**
 * The life of a session as a state machine: events go in, commands come out. It reads no clock, draws no random number, signs nothing and sends
 * nothing; `HeartbeatClient` does that for it. Acks must be verified before they come here; whether they answer a frame of ours is decided here.
 *
 * All times are milliseconds of one local clock, which may be any as long as it seldom jumps. After a jump the estimate of meter time is wrong
 * until the next ack, which only makes one beat count as an older sign of life.
 */

import { type Ack, type EndReason, endReasonOf } from "./ack.ts";
import type { Activation, Failure } from "./api.ts";
import { type Frame, FrameKind } from "./frame.ts";

const PATIENCE_MS = 2_000;
const FIRST_WAIT_MS = 2_000;
const SILENCES_UNTIL_CHANGE = 3;
const STOP_TRIES = 3;
const STOP_APART_MS = 1_000;
const ACTIVATION_TRIES = 5;
/** Between two beats that were asked for by `beat`. */
const EARLY_BEATS_APART_MS = 1_000;
/** Frames whose acks are waited for. */
const MOST_PENDING = 16;
const MOST_RETRY_AFTER_MS = 3_600_000;
/** The service's "as much as fits, or more". */
const REMAINING_SATURATED = 0xffff_ffff;

export type SessionEvent =
  /** The person asks for a session. Nothing else may cause this event. */
  | { readonly type: "activate"; readonly audience?: string | undefined }
  | { readonly type: "activated"; readonly name: string; readonly answer: Activation; readonly sentAt: number }
  | { readonly type: "activation_failed"; readonly name: string; readonly failure: Failure }
  /** The person closes the tap. */
  | { readonly type: "stop" }
  /** The time `wakeAt` has come, or may have. */
  | { readonly type: "wake" }
  /** Beat now: the machine woke up, the network changed, the edge refused the token. */
  | { readonly type: "beat" }
  /** What the next frames say of the client. */
  | { readonly type: "state"; readonly bits: number }
  /** An ack whose tag is good. */
  | { readonly type: "ack"; readonly ack: Ack }
  /** No ack can come any more for this frame: the carrier failed. */
  | { readonly type: "silence"; readonly seq: number }
  | { readonly type: "renewed"; readonly seq: number; readonly token: string; readonly remainingS: number }
  | { readonly type: "renewal_failed"; readonly seq: number; readonly failure: Failure };

export type SessionCommand =
  | { readonly do: "activate"; readonly name: string; readonly audience: string | undefined }
  /** Sign this frame and send it. `carrier` counts on with each change; it is up to the caller how many there are. */
  | { readonly do: "send"; readonly frame: Frame; readonly carrier: number }
  | { readonly do: "renew"; readonly frame: Frame; readonly token: string };

export interface Randomness {
  /** A number from 0 to 1, without 1. */
  fraction(): number;
  /** The name of an activation: 1 to 128 visible ASCII characters that were never drawn before. */
  name(): string;
}

export type Phase = "off" | "activating" | "on" | "stopping";
/**
 * What the last ack said. `lost`: there was none for `timeout_ms`, so the session may be over. Neither `unknown` nor `lost` means that the token
 * is no longer good.
 */
export type Contact = "valid" | "unknown" | "lost";

export interface Status {
  readonly phase: Phase;
  readonly contact: Contact;
  /** Frames without an ack since the last one that had one. */
  readonly silences: number;
  /** Milliseconds left in the tank, by the last ack and the time since; `Infinity` where there is more than can be said. */
  readonly remainingMs: number | undefined;
  readonly lowCredit: boolean;
  /** Whether the activation ended another session of the account. */
  readonly superseded: boolean;
  /** Why the last session ended. */
  readonly endReason: EndReason | undefined;
  /** Why the last activation was refused or given up. */
  readonly failure: Failure | undefined;
}

interface Pending {
  readonly seq: number;
  readonly clock: number;
  readonly sentAt: number;
}

interface State {
  v: 1;
  phase: Phase;
  bits: number;
  carrier: number;
  endReason?: EndReason | undefined;
  failure?: Failure | undefined;
  activation?: { name: string; audience: string | undefined; tries: number; at: number | undefined; cancelled: boolean } | undefined;
  /** The person asked for a new session while the old one was being stopped. */
  again?: { audience: string | undefined } | undefined;
  session?: Open | undefined;
}

interface Open {
  /** As the service answered, with the current token. */
  answer: Activation;
  seq: number;
  offset: number;
  /** The round trip that `offset` comes from. */
  roundTrip: number;
  pending: Pending[];
  /** When the next frame is due; `undefined` while the ack of the last is waited for. */
  nextAt: number | undefined;
  /** Until when it is waited for. */
  ackBy: number | undefined;
  lastSentAt: number;
  lastAckAt: number;
  lastVerdict: "valid" | "unknown";
  remainingS: number;
  remainingAt: number;
  lowCredit: boolean;
  silences: number;
  stops: number;
  /** The seq of a frame that was sent because an ack had mended the clock by a lot: its ack asks for no further one. */
  mending: number | undefined;
  renewal: { seq: number | undefined; tries: number; at: number | undefined } | undefined;
}

/** What `snapshot` gives and `restore` takes: JSON. It holds the token and the key, so keep it where secrets may be. */
export type Snapshot = { readonly v: 1 };

export class Session {
  readonly #random: Randomness;
  #s: State = { v: 1, phase: "off", bits: 0, carrier: 0 };
  #now = -Infinity;
  #commands: SessionCommand[] = [];

  constructor(random: Randomness) {
    this.#random = random;
  }

  /**
   * Goes on where a snapshot was taken, in the same process or another. What was under way then counts as lost: an activation or a renewal is asked
   * for again, under its name or with its token. Anything that is not a snapshot of this version gives a session that is off.
   */
  static restore(random: Randomness, snapshot: unknown, now: number): Session {
    const session = new Session(random);
    if ((snapshot as Snapshot | undefined)?.v !== 1) return session;
    const state = structuredClone(snapshot) as State;
    if (state.activation) state.activation.at = now;
    if (state.session) comeBack(state.session, now);
    session.#s = state;
    session.#now = now;
    return session;
  }

  snapshot(): Snapshot {
    return structuredClone(this.#s);
  }

  /** The session's token while there is one to show. */
  get token(): string | undefined {
    return this.#s.session?.answer.token;
  }

  /** What the service answered to the activation. */
  get activation(): Activation | undefined {
    return this.#s.session?.answer;
  }

  /** When to call `handle` with `wake` at the latest. */
  get wakeAt(): number | undefined {
    const { activation, session } = this.#s;
    const times = [activation?.at, session?.nextAt, session?.ackBy, session?.renewal?.at];
    // Only so that somebody looks at the status, which changes then.
    if (session && this.#lostAt(session) > this.#now) times.push(this.#lostAt(session));
    const known = times.filter((at) => at !== undefined);
    return known.length ? Math.min(...known) : undefined;
  }

  status(now: number): Status {
    const { phase, endReason, failure, session } = this.#s;
    return {
      phase,
      contact: session && now >= this.#lostAt(session) ? "lost" : (session?.lastVerdict ?? "valid"),
      silences: session?.silences ?? 0,
      remainingMs: session && remainingMs(session, now),
      lowCredit: session?.lowCredit ?? false,
      superseded: session?.answer.superseded ?? false,
      endReason,
      failure,
    };
  }

  /** Takes an event at a time of the local clock, and tells what to do. */
  handle(event: SessionEvent, now: number): SessionCommand[] {
    this.#now = now;
    this.#take(event, now);
    this.#work(now);
    const commands = this.#commands;
    this.#commands = [];
    return commands;
  }

  #take(event: SessionEvent, now: number): void {
    const { activation, session } = this.#s;
    switch (event.type) {
      case "activate":
        return this.#activate(event.audience, now);
      case "activated":
        if (activation?.name === event.name) this.#open(event.answer, event.sentAt, now);
        return;
      case "activation_failed":
        if (activation?.name === event.name) this.#notActivated(event.failure, now);
        return;
      case "stop":
        return this.#stop(now);
      case "state":
        this.#s.bits = event.bits & 0xff7f;
        return;
      case "wake":
        return;
      case "beat":
        return this.#beatEarly(now);
      case "ack":
        if (session) this.#acked(session, event.ack, now);
        return;
      case "silence":
        if (session?.pending.at(-1)?.seq === event.seq && session.ackBy !== undefined) this.#silent(session, Math.min(now, session.ackBy));
        return;
      case "renewed":
        if (session?.renewal && session.renewal.seq === event.seq) {
          session.renewal = undefined;
          session.answer = { ...session.answer, token: event.token };
          session.remainingS = event.remainingS;
          session.remainingAt = now;
        }
        return;
      case "renewal_failed":
        if (session?.renewal && session.renewal.seq === event.seq) this.#notRenewed(session, event.failure, now);
        return;
    }
  }

  /** Does what is due. */
  #work(now: number): void {
    const { activation, session } = this.#s;
    if (activation?.at !== undefined && activation.at <= now) {
      activation.at = undefined;
      activation.tries += 1;
      this.#commands.push({ do: "activate", name: activation.name, audience: activation.audience });
    }
    if (!session) return;
    if (session.ackBy !== undefined && session.ackBy <= now) this.#silent(session, session.ackBy);
    if (this.#s.session !== session) return;
    if (session.nextAt !== undefined && session.nextAt <= now) {
      this.#send(session, this.#s.phase === "stopping" ? FrameKind.Stop : FrameKind.Beat, now);
    }
    const { renewal } = session;
    if (this.#s.phase === "on" && renewal?.at !== undefined && renewal.at <= now) {
      renewal.at = undefined;
      renewal.tries += 1;
      renewal.seq = nextSeq(session);
      const frame = this.#frame(FrameKind.Renew, renewal.seq, clockOf(session, now));
      this.#commands.push({ do: "renew", frame, token: session.answer.token });
    }
  }

  #activate(audience: string | undefined, now: number): void {
    if (this.#s.phase === "stopping") this.#s.again = { audience };
    if (this.#s.activation) this.#s.activation.cancelled = false;
    if (this.#s.phase !== "off") return;
    const activation = { name: this.#random.name(), audience, tries: 0, at: now, cancelled: false };
    this.#s = { v: 1, phase: "activating", bits: this.#s.bits, carrier: 0, activation };
  }

  #open(answer: Activation, sentAt: number, now: number): void {
    const cancelled = this.#s.activation?.cancelled;
    this.#s.activation = undefined;
    this.#s.phase = "on";
    this.#s.session = {
      answer,
      seq: 0,
      offset: answer.meterMs - (sentAt + now) / 2,
      roundTrip: now - sentAt,
      pending: [],
      nextAt: now,
      ackBy: undefined,
      lastSentAt: now,
      lastAckAt: now,
      lastVerdict: "valid",
      remainingS: answer.remainingS,
      remainingAt: now,
      lowCredit: false,
      silences: 0,
      stops: 0,
      mending: undefined,
      renewal: undefined,
    };
    if (cancelled) this.#stop(now);
  }

  #notActivated(failure: Failure, now: number): void {
    const activation = this.#s.activation!;
    const again = isPassing(failure) && activation.tries < ACTIVATION_TRIES && !activation.cancelled;
    if (again) {
      activation.at = now + this.#waitAfter(activation.tries, Infinity, failure);
    } else if (failure.code === "session_ended") {
      this.#end(endReasonOf(failure.reason));
    } else {
      this.#end(undefined);
      this.#s.failure = activation.cancelled ? undefined : failure;
    }
  }

  #stop(now: number): void {
    const { phase, activation, session } = this.#s;
    if (phase === "stopping") this.#s.again = undefined;
    if (phase === "activating" && activation) {
      // Its request may be under way: the session that it opens is closed at once.
      activation.cancelled = true;
      if (activation.at !== undefined) this.#end(undefined);
    }
    if (phase !== "on" || !session) return;
    this.#s.phase = "stopping";
    session.ackBy = undefined;
    session.nextAt = now;
  }

  #beatEarly(now: number): void {
    const { phase, session } = this.#s;
    if (phase !== "on" || !session || now - session.lastSentAt < EARLY_BEATS_APART_MS) return;
    session.ackBy = undefined;
    session.nextAt = now;
  }

  #send(session: Open, kind: FrameKind, now: number): void {
    const seq = nextSeq(session);
    const clock = clockOf(session, now);
    session.pending.push({ seq, clock, sentAt: now });
    if (session.pending.length > MOST_PENDING) session.pending.shift();
    if (session.mending === -1) session.mending = seq;
    if (kind === FrameKind.Stop) session.stops += 1;
    session.lastSentAt = now;
    session.nextAt = undefined;
    session.ackBy = now + (kind === FrameKind.Stop ? STOP_APART_MS : Math.min(PATIENCE_MS, intervalOf(session)));
    this.#commands.push({ do: "send", frame: this.#frame(kind, seq, clock), carrier: this.#s.carrier });
  }

  #silent(session: Open, at: number): void {
    session.ackBy = undefined;
    session.silences += 1;
    if (this.#s.phase === "stopping") {
      this.#s.carrier += 1;
      if (session.stops >= STOP_TRIES) return this.#end("deactivated");
      session.nextAt = session.lastSentAt + STOP_APART_MS;
      return;
    }
    if (session.silences % SILENCES_UNTIL_CHANGE === 0) this.#s.carrier += 1;
    session.nextAt = at + this.#waitAfter(session.silences, intervalOf(session));
  }

  #acked(session: Open, ack: Ack, now: number): void {
    const at = session.pending.findIndex(({ seq, clock }) => seq === ack.seq && BigInt(clock) === ack.echoMs);
    const frame = session.pending[at];
    // Nobody waits for it: it was replayed, or belongs to another session.
    if (!frame) return;
    // An ack of an earlier frame would say what was true before this one.
    session.pending.splice(0, at + 1);
    if (ack.verdict === "invalid") return this.#end(ack.endReason!);

    const behind = this.#mendClock(session, ack, frame, now);
    session.lastAckAt = now;
    session.lastVerdict = ack.verdict;
    session.silences = 0;
    if (ack.verdict === "valid") {
      session.remainingS = ack.remainingS;
      session.remainingAt = now;
      session.lowCredit = ack.lowCredit;
    }
    if (ack.verdict === "unknown") this.#s.carrier += 1;
    if (this.#s.phase === "stopping") return;
    session.ackBy = undefined;
    session.nextAt = now + (ack.nextBeat100ms || 10) * 100;
    if (behind > intervalOf(session) / 2 && session.mending !== frame.seq) {
      session.mending = -1;
      session.nextAt = now;
    }
    if (ack.verdict === "valid" && ack.renew) session.renewal ??= { seq: undefined, tries: 0, at: now };
  }

  /** Takes the time from an ack. Returns by how much the estimate was behind. */
  #mendClock(session: Open, ack: Ack, frame: Pending, now: number): number {
    const offset = Number(ack.meterMs) - (frame.sentAt + now) / 2;
    const roundTrip = Math.max(0, now - frame.sentAt);
    const moved = offset - session.offset;
    // An offset is wrong by half a round trip at most. Where both can be true, the shorter round trip knows better, if the other one is recent.
    const consistent = Math.abs(moved) <= (roundTrip + session.roundTrip) / 2;
    const recent = now - session.lastAckAt < PATIENCE_MS;
    if (consistent && recent && roundTrip > session.roundTrip) return 0;
    session.offset = offset;
    session.roundTrip = roundTrip;
    return moved;
  }

  #notRenewed(session: Open, failure: Failure, now: number): void {
    const renewal = session.renewal!;
    renewal.seq = undefined;
    if (failure.code === "session_ended") return this.#end(endReasonOf(failure.reason));
    if (failure.code === "stale_renewal" && failure.meterMs !== undefined) {
      session.offset = failure.meterMs - now;
      session.roundTrip = Number.MAX_VALUE;
      renewal.at = renewal.tries === 1 ? now : now + this.#waitAfter(renewal.tries, intervalOf(session));
    } else if (isPassing(failure)) {
      renewal.at = now + this.#waitAfter(renewal.tries, intervalOf(session), failure);
    } else {
      // Repeating it as it is would help nobody. The next ack asks again.
      session.renewal = undefined;
    }
  }

  #end(reason: EndReason | undefined): void {
    const { bits, again } = this.#s;
    this.#s = { v: 1, phase: "off", bits, carrier: 0, endReason: reason };
    if (again) this.#activate(again.audience, this.#now);
  }

  /** 2, 4, 8 s and so on, each less up to a quarter; or as long as the service says. */
  #waitAfter(tries: number, most: number, failure?: Failure): number {
    const wait = Math.min(FIRST_WAIT_MS * 2 ** Math.min(tries - 1, 20), most) * (1 - this.#random.fraction() / 4);
    return Math.max(wait, Math.min((failure?.retryAfterS ?? 0) * 1_000, MOST_RETRY_AFTER_MS));
  }

  #frame(kind: FrameKind, seq: number, clockMs: number): Frame {
    return { kind, state: this.#s.bits, seq, clockMs };
  }

  #lostAt(session: Open): number {
    return session.lastAckAt + session.answer.heartbeat.timeoutMs;
  }
}

/** Whether the same request may succeed later. */
function isPassing({ status }: Failure): boolean {
  return status === 0 || status === 408 || status === 429 || status >= 500;
}

/** After a restart the clock may have been set back: nothing may be due later than it could have been, or the session would time out. */
function comeBack(session: Open, now: number): void {
  if (session.renewal) session.renewal = { ...session.renewal, seq: undefined, at: now };
  if (session.nextAt !== undefined) session.nextAt = Math.min(session.nextAt, now + intervalOf(session));
  if (session.ackBy !== undefined) session.ackBy = Math.min(session.ackBy, now + PATIENCE_MS);
  session.lastAckAt = Math.min(session.lastAckAt, now);
  session.lastSentAt = Math.min(session.lastSentAt, now);
  session.remainingAt = Math.min(session.remainingAt, now);
}

function nextSeq(session: Open): number {
  session.seq = (session.seq + 1) >>> 0;
  return session.seq;
}

function clockOf(session: Open, now: number): number {
  return Math.min(Math.max(0, Math.round(now + session.offset)), Number.MAX_SAFE_INTEGER);
}

function intervalOf(session: Open): number {
  return session.answer.heartbeat.intervalMs;
}

function remainingMs(session: Open, now: number): number {
  if (session.remainingS >= REMAINING_SATURATED) return Infinity;
  return Math.max(0, Math.round(session.remainingS * 1_000 - Math.max(0, now - session.remainingAt)));
}

/** A session that runs by itself: clock, timers, signing and carriers around `Session`. */

import { readAck } from "./ack.ts";
import { Api, type Failure } from "./api.ts";
import type { Carrier } from "./carriers/carrier.ts";
import { httpCarrier } from "./carriers/http.ts";
import { webTransportCarrier } from "./carriers/webtransport.ts";
import { type Bytes, type Frame, type SessionKey, fromBase64Url, importSessionKey, signFrame } from "./frame.ts";
import { type Randomness, Session, type SessionCommand, type SessionEvent, type Snapshot, type Status } from "./session.ts";

export type CarrierName = "http" | "webtransport";

export interface HeartbeatClientOptions {
  /** Where the service is: HTTPS, or HTTP on the machine itself. */
  readonly service: string;
  /** The account key or identity token to activate with; asked for at each activation. */
  readonly credential: () => string | Promise<string>;
  /** In the order of preference. Those that the service or the platform does not have are left out. Default: `["http", "webtransport"]`. */
  readonly carriers?: readonly CarrierName[];
  /** Told after every event. `token` is what to show to the edge now, if anything. */
  readonly onStatus?: (status: Status, token: string | undefined) => void;
  /** Told after every event what to `restore` from, in case this program is stopped at any time. It holds secrets. */
  readonly onSnapshot?: (snapshot: Snapshot) => void;
  /** What a former client told `onSnapshot`. Anything else is ignored. */
  readonly restore?: unknown;
  readonly fetch?: typeof fetch;
  /** Milliseconds of a clock that never goes backwards. One that begins anew in each process must not be used with `restore`. */
  readonly clock?: () => number;
  readonly random?: Randomness;
}

export class HeartbeatClient {
  readonly #options: HeartbeatClientOptions;
  readonly #api: Api;
  readonly #clock: () => number;
  readonly #session: Session;
  #signer: { id: string; sessionId: Bytes; key: Promise<SessionKey> } | undefined;
  #carriers: Carrier[] = [];
  #carriersOf: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** Throws when the service's URL is none that secrets may be sent to. */
  constructor(options: HeartbeatClientOptions) {
    this.#options = options;
    this.#api = new Api(options);
    this.#clock = options.clock ?? platformClock;
    this.#session = Session.restore(options.random ?? platformRandomness, options.restore, this.#clock());
    this.#handle({ type: "wake" });
  }

  get status(): Status {
    return this.#session.status(this.#clock());
  }

  /** What to show to the edge, while there is a session. */
  get token(): string | undefined {
    return this.#session.token;
  }

  /** Opens a session. Call it when a person asks, and never otherwise: it ends the session of the person's other device. */
  activate(audience?: string): void {
    this.#handle({ type: "activate", audience });
  }

  /** Closes the session. */
  stop(): void {
    this.#handle({ type: "stop" });
  }

  /** Beats at once: after a suspend, when the network has changed, when the edge has refused the token. */
  beat(): void {
    this.#handle({ type: "beat" });
  }

  /** Does what is due. Timers do so by themselves; where they are not reliable, something else should call this. */
  wake(): void {
    this.#handle({ type: "wake" });
  }

  /** What heartbeats say of the client from now on: see `stateBits`. */
  setState(bits: number): void {
    this.#handle({ type: "state", bits });
  }

  /** When something is due next, by the client's clock. */
  get wakeAt(): number | undefined {
    return this.#session.wakeAt;
  }

  /** Lets go of timers and connections. The session goes on at the service until it times out. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#closeCarriers();
  }

  #handle(event: SessionEvent, now = this.#clock()): void {
    if (this.#closed) return;
    const commands = this.#session.handle(event, now);
    // First: what was asked for must be known to whoever goes on after this program.
    this.#options.onSnapshot?.(this.#session.snapshot());
    for (const command of commands) void this.#do(command, now);
    if (!this.#session.activation) this.#forget();
    this.#options.onStatus?.(this.#session.status(now), this.#session.token);
    this.#schedule();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const at = this.#session.wakeAt;
    if (at === undefined || this.#closed) return;
    const wait = Math.min(Math.max(0, Math.ceil(at - this.#clock())), 0x7fff_ffff);
    this.#timer = setTimeout(() => this.#handle({ type: "wake" }), wait);
  }

  async #do(command: SessionCommand, now: number): Promise<void> {
    switch (command.do) {
      case "activate":
        return this.#activate(command.name, command.audience, now);
      case "send":
        return this.#send(command.frame, command.carrier);
      case "renew":
        return this.#renew(command.frame, command.token);
    }
  }

  async #activate(name: string, audience: string | undefined, sentAt: number): Promise<void> {
    let failure: Failure = { status: 401, code: "no_credential" };
    try {
      const credential = await this.#options.credential();
      const outcome = await this.#api.activate(credential, name, audience);
      if ("ok" in outcome) return this.#handle({ type: "activated", name, answer: outcome.ok, sentAt });
      failure = outcome.failure;
    } catch {
      // There is no credential.
    }
    this.#handle({ type: "activation_failed", name, failure });
  }

  async #send(frame: Frame, carrier: number): Promise<void> {
    try {
      const carriers = this.#open();
      const bytes = await this.#sign(frame);
      await carriers[carrier % carriers.length]!.send(bytes);
    } catch {
      this.#handle({ type: "silence", seq: frame.seq });
    }
  }

  async #renew(frame: Frame, token: string): Promise<void> {
    const { seq } = frame;
    const bytes = await this.#sign(frame).catch(() => undefined);
    // The session has ended meanwhile.
    if (!bytes) return;
    const outcome = await this.#api.renew(token, bytes);
    if ("ok" in outcome) this.#handle({ type: "renewed", seq, ...outcome.ok });
    else this.#handle({ type: "renewal_failed", seq, failure: outcome.failure });
  }

  async #sign(frame: Frame): Promise<Bytes> {
    const { sessionId, key } = this.#signerOf();
    return signFrame(await key, sessionId, frame);
  }

  #signerOf(): { sessionId: Bytes; key: Promise<SessionKey> } {
    const { sessionId: id, heartbeatKey } = this.#session.activation!;
    if (this.#signer?.id !== id) {
      this.#signer = { id, sessionId: fromBase64Url(id)!, key: importSessionKey(fromBase64Url(heartbeatKey)!) };
    }
    return this.#signer;
  }

  async #received(bytes: Bytes): Promise<void> {
    const now = this.#clock();
    if (!this.#session.activation) return;
    const ack = await readAck(await this.#signerOf().key, bytes);
    if (typeof ack === "object") this.#handle({ type: "ack", ack }, now);
  }

  #open(): Carrier[] {
    const { sessionId, heartbeat } = this.#session.activation!;
    if (this.#carriersOf === sessionId) return this.#carriers;
    this.#closeCarriers();
    const receive = (bytes: Bytes): void => void this.#received(bytes);
    const made = (this.#options.carriers ?? ["http", "webtransport"]).flatMap((name) => {
      if (name === "http") return [httpCarrier(heartbeat.http, receive, this.#options.fetch)];
      if (!heartbeat.webtransport || typeof WebTransport === "undefined") return [];
      return [webTransportCarrier({ url: heartbeat.webtransport, certHashes: heartbeat.certHashes }, receive)];
    });
    this.#carriers = made.length ? made : [httpCarrier(heartbeat.http, receive, this.#options.fetch)];
    this.#carriersOf = sessionId;
    return this.#carriers;
  }

  #forget(): void {
    this.#signer = undefined;
    this.#closeCarriers();
  }

  #closeCarriers(): void {
    for (const carrier of this.#carriers) carrier.close();
    this.#carriers = [];
    this.#carriersOf = undefined;
  }
}

/** Runs on without jumps within a process, and from one process to the next by the wall clock. */
function platformClock(): number {
  return performance.timeOrigin + performance.now();
}

const platformRandomness: Randomness = {
  fraction: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
  name: () => crypto.randomUUID(),
};

// Heartbeats over WebTransport datagrams, with nothing but what browsers have. Written from docs/protocol.md alone.

const FRAME = 48;
const BODY = 32;
const BEAT = 1;
const STOP = 2;
const ACK = 129;
const PATIENCE_MS = 300;
const TRIES = 20;

/** A connection that carries the beats of any number of sessions. */
export class Carrier {
  #transport;
  #writer;
  #waiting = new Map();
  #strangers = 0;

  static async open({ url, hashes }) {
    const options = {
      serverCertificateHashes: hashes.map((hash) => ({ algorithm: "sha-256", value: bytes(hash) })),
    };
    const carrier = new Carrier();
    carrier.#transport = new WebTransport(url, options);
    await carrier.#transport.ready;
    carrier.#writer = writable(carrier.#transport.datagrams).getWriter();
    carrier.#read();
    return carrier;
  }

  /** Sends a frame until its ack is here. Acks name no session: `seq` is told apart over all that the carrier has. */
  async exchange(frame, seq) {
    for (let tries = 1; tries <= TRIES; tries++) {
      const answer = new Promise((resolve) => this.#waiting.set(seq, resolve));
      await this.#writer.write(frame);
      const ack = await Promise.race([answer, pause(PATIENCE_MS)]);
      if (ack) return { ack, tries };
    }
    throw new Error(`no ack for beat ${seq} after ${TRIES} tries`);
  }

  /** Sends bytes that nobody may answer. */
  async shout(frame) {
    await this.#writer.write(frame);
  }

  /** Datagrams that answered nothing we asked. */
  get strangers() {
    return this.#strangers;
  }

  async close(code, reason) {
    this.#transport.close({ closeCode: code, reason });
    await this.#transport.closed;
  }

  async #read() {
    const reader = this.#transport.datagrams.readable.getReader();
    for (;;) {
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done) return;
      const seq = value.length === FRAME ? view(value).getUint32(4, true) : undefined;
      const waiting = this.#waiting.get(seq);
      if (!waiting) this.#strangers += 1;
      this.#waiting.delete(seq);
      waiting?.(value);
    }
  }
}

/** A session as `POST /v1/activate` answered it. */
export class Session {
  static async of({ session_id, heartbeat_key, meter_ms }) {
    const session = new Session();
    session.id = bytes(session_id);
    session.meterMs = meter_ms;
    session.since = performance.now();
    session.key = await crypto.subtle.importKey("raw", bytes(heartbeat_key), { name: "HMAC", hash: "SHA-256" }, false, [
      "sign",
    ]);
    return session;
  }

  /** One beat, and what its ack says. Throws at an ack that is not what it must be. */
  async beat(carrier, seq, kind = BEAT) {
    const clock = this.meterMs + Math.round(performance.now() - this.since);
    const { ack, tries } = await carrier.exchange(await this.frame(kind, seq, clock), seq);
    const read = view(ack);
    const tag = await this.tag(ack.slice(0, BODY));
    must(ack[0] === 1 && ack[1] === ACK, "version and kind of an ack");
    must(equal(tag, ack.slice(BODY)), "the ack's tag");
    must(Number(read.getBigUint64(16, true)) === clock, "the clock echoed");
    return {
      verdict: ["valid", "invalid", "unknown"][ack[2]],
      reason: ack[3],
      meterMs: Number(read.getBigUint64(8, true)),
      remainingS: read.getUint32(24, true),
      nextBeatMs: read.getUint16(28, true) * 100,
      tries,
    };
  }

  stop(carrier, seq) {
    return this.beat(carrier, seq, STOP);
  }

  async frame(kind, seq, clock) {
    const frame = new Uint8Array(FRAME);
    const write = view(frame);
    write.setUint8(0, 1);
    write.setUint8(1, kind);
    write.setUint32(4, seq, true);
    frame.set(this.id, 8);
    write.setBigUint64(24, BigInt(clock), true);
    frame.set(await this.tag(frame.slice(0, BODY)), BODY);
    return frame;
  }

  async tag(body) {
    return new Uint8Array(await crypto.subtle.sign("HMAC", this.key, body)).slice(0, FRAME - BODY);
  }
}

/** Some sessions over one carrier: beats, forged and odd frames between them, a stop at the end of the first. */
export async function run({ url, hashes, activations, beats }) {
  const carrier = await Carrier.open({ url, hashes });
  const sessions = await Promise.all(activations.map(Session.of));
  let seq = 0;
  const acks = [];
  for (let round = 0; round < beats; round++) {
    for (const [index, session] of sessions.entries()) acks.push({ index, ...(await session.beat(carrier, ++seq)) });
    const forged = await sessions[0].frame(BEAT, ++seq, sessions[0].meterMs);
    forged[FRAME - 1] ^= 1;
    for (const nonsense of [forged, forged.slice(0, 40), new Uint8Array(900)]) await carrier.shout(nonsense);
  }
  const stopped = await sessions[0].stop(carrier, ++seq);
  const after = await sessions[0].beat(carrier, ++seq);
  const { strangers } = carrier;
  await carrier.close(7, "done");
  return { acks, stopped, after, strangers };
}

/** What becomes of a connection that should not be let in. */
export async function refused({ url, hashes }) {
  try {
    const carrier = await Carrier.open({ url, hashes });
    await carrier.close(0, "");
    return false;
  } catch {
    return true;
  }
}

/** Opens carriers until one is refused, or all are open; closes them. */
export async function many({ url, hashes, count }) {
  const opened = await Promise.allSettled(Array.from({ length: count }, () => Carrier.open({ url, hashes })));
  const carriers = opened.flatMap(({ status, value }) => (status === "fulfilled" ? [value] : []));
  await Promise.all(carriers.map((carrier) => carrier.close(0, "")));
  return carriers.length;
}

// The standard has replaced `writable` by a function; browsers are under way.
function writable(datagrams) {
  return datagrams.writable ?? datagrams.createWritable();
}

function view(array) {
  return new DataView(array.buffer, array.byteOffset, array.byteLength);
}

function bytes(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function equal(a, b) {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

function must(holds, what) {
  if (!holds) throw new Error(`${what} is wrong`);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

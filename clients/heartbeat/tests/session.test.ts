// Rules that a session must keep, one by one.

import { expect, test } from "vitest";

import { type Ack, type Activation, type Failure, Session, type SessionCommand } from "../src/index.ts";

const ANSWER: Activation = {
  token: "token 1",
  expiresInS: 600,
  sessionId: "AAECAwQFBgcICQoLDA0ODw",
  heartbeatKey: "a key",
  meterMs: 500_000,
  remainingS: 600,
  superseded: false,
  heartbeat: { intervalMs: 30_000, timeoutMs: 90_000, http: "https://tank.test/v1/heartbeat", certHashes: [] },
};

/** A session and what it has asked for. */
class Bench {
  now = 1_000;
  commands: SessionCommand[] = [];
  names = 0;
  readonly random = { fraction: () => 0, name: () => `name ${(this.names += 1)}` };
  session = new Session(this.random);

  put(event: Parameters<Session["handle"]>[0]): SessionCommand[] {
    this.commands = this.session.handle(event, this.now);
    return this.commands;
  }

  /** Lets time pass until it wants to be woken. */
  next(): SessionCommand[] {
    this.now = this.session.wakeAt!;
    return this.put({ type: "wake" });
  }

  opened(): this {
    this.put({ type: "activate" });
    this.put({ type: "activated", name: "name 1", answer: ANSWER, sentAt: this.now });
    return this;
  }

  get frame(): { seq: number; clockMs: number | bigint } {
    const sent = this.commands.find((command) => command.do !== "activate");
    if (!sent) throw new Error("no frame");
    return sent.frame;
  }

  ack(fields: Partial<Ack> = {}, of = this.frame): SessionCommand[] {
    const meterMs = BigInt(of.clockMs);
    const rest = { endReason: undefined, meterMs, remainingS: 500, nextBeat100ms: 297, renew: false, lowCredit: false };
    return this.put({ type: "ack", ack: { verdict: "valid", seq: of.seq, echoMs: BigInt(of.clockMs), ...rest, ...fields } });
  }

  get status() {
    return this.session.status(this.now);
  }
}

const refused = (status: number, code: string, more: Partial<Failure> = {}): Failure => ({ status, code, ...more });

test("the first beat leaves at once, the next when the ack says", () => {
  const bench = new Bench().opened();
  expect(bench.frame).toMatchObject({ seq: 1, clockMs: 500_000 });
  bench.now += 50;
  expect(bench.ack()).toEqual([]);
  expect(bench.session.wakeAt! - bench.now).toBe(29_700);
  expect(bench.next()).toMatchObject([{ do: "send", frame: { kind: 1, seq: 2 }, carrier: 0 }]);
});

test.each(["superseded", "exhausted", "timed_out", "deactivated", "revoked", "logged_out", "account_deleted", "expired"] as const)(
  "%s ends the session, and nothing is ever sent or activated again",
  (endReason) => {
    const bench = new Bench().opened();
    bench.ack({ verdict: "invalid", endReason });
    expect(bench.status).toMatchObject({ phase: "off", endReason });
    expect(bench.session.token).toBeUndefined();
    expect(bench.session.wakeAt).toBeUndefined();
    bench.now += 3_600_000;
    for (const type of ["wake", "beat", "stop"] as const) expect(bench.put({ type })).toEqual([]);
    expect(JSON.stringify(bench.session.snapshot())).not.toContain("token 1");
  },
);

test("an unknown verdict ends nothing: the token stays, and another carrier is tried", () => {
  const bench = new Bench().opened();
  bench.ack({ verdict: "unknown", remainingS: 0, renew: true, lowCredit: true });
  expect(bench.status).toMatchObject({ phase: "on", contact: "unknown", remainingMs: 600_000, lowCredit: false });
  expect(bench.session.token).toBe("token 1");
  expect(bench.next()).toMatchObject([{ do: "send", carrier: 1 }]);
});

test("silence never ends a session; after the timeout it is told", () => {
  const bench = new Bench().opened();
  while (bench.now < 3_600_000) bench.next();
  expect(bench.status).toMatchObject({ phase: "on", contact: "lost" });
  expect(bench.session.token).toBe("token 1");
  const last = bench.commands;
  if (!last.length) bench.next();
  bench.ack();
  expect(bench.status).toMatchObject({ phase: "on", contact: "valid", silences: 0 });
});

test("silences double the wait up to the interval, and every third changes the carrier", () => {
  const bench = new Bench().opened();
  const sent: { at: number; carrier: number }[] = [{ at: bench.now, carrier: 0 }];
  while (sent.length < 8) {
    for (const command of bench.next()) if (command.do === "send") sent.push({ at: bench.now, carrier: command.carrier });
  }
  const gaps = sent.slice(1).map(({ at }, index) => at - sent[index]!.at);
  expect(gaps).toEqual([4_000, 6_000, 10_000, 18_000, 32_000, 32_000, 32_000]);
  expect(sent.map(({ carrier }) => carrier)).toEqual([0, 0, 0, 1, 1, 1, 2, 2]);
});

test("a carrier that fails at once is a silence without the two seconds", () => {
  const bench = new Bench().opened();
  bench.put({ type: "silence", seq: 1 });
  expect(bench.session.wakeAt! - bench.now).toBe(2_000);
  bench.put({ type: "silence", seq: 1 });
  expect(bench.status.silences).toBe(1);
});

test("acks that nobody waits for are dropped: replayed, of another seq or clock, or older than the last", () => {
  const bench = new Bench().opened();
  const [first] = [bench.frame];
  bench.ack({ verdict: "invalid", endReason: "revoked", seq: 9 });
  bench.ack({ verdict: "invalid", endReason: "revoked", echoMs: 1n }, first);
  expect(bench.status.phase).toBe("on");
  bench.ack({}, first);
  bench.ack({ verdict: "invalid", endReason: "revoked" }, first);
  bench.next();
  const second = bench.frame;
  bench.put({ type: "wake" });
  bench.now += 1_500;
  bench.put({ type: "beat" });
  bench.ack();
  bench.ack({ verdict: "invalid", endReason: "revoked" }, second);
  expect(bench.status.phase).toBe("on");
});

test("after a suspend the first ack mends the clock, and one more beat follows at once, but not a third", () => {
  const bench = new Bench().opened();
  bench.ack();
  bench.next();
  const away = 80_000n;
  bench.ack({ meterMs: BigInt(bench.frame.clockMs) + away });
  const [again] = bench.commands;
  expect(again).toMatchObject({ do: "send", frame: { seq: 3, clockMs: 500_000 + 29_700 + 80_000 } });
  bench.ack({ meterMs: BigInt(bench.frame.clockMs) + away });
  expect(bench.commands).toEqual([]);
});

test("a restart with a clock that was set back beats within the interval", () => {
  const bench = new Bench().opened();
  bench.now = 10_000_000;
  bench.ack();
  const snapshot = JSON.parse(JSON.stringify(bench.session.snapshot())) as unknown;
  bench.now -= 3_600_000;
  bench.session = Session.restore(bench.random, snapshot, bench.now);
  expect(bench.session.token).toBe("token 1");
  expect(bench.session.wakeAt! - bench.now).toBeLessThanOrEqual(30_000);
  expect(bench.status.contact).toBe("valid");
});

test.each([undefined, null, 7, {}, { v: 2 }, "x"])("what is no snapshot is a session that is off: %j", (snapshot) => {
  const bench = new Bench();
  expect(Session.restore(bench.random, snapshot, 0).status(0).phase).toBe("off");
});

test("an activation without an answer is asked for again under its name, five times at most", () => {
  const bench = new Bench();
  const names = [bench.put({ type: "activate" })];
  for (let tries = 1; tries < 5; tries++) {
    bench.put({ type: "activation_failed", name: "name 1", failure: refused(0, "no_answer") });
    names.push(bench.next());
  }
  expect(names.flat()).toEqual(Array(5).fill({ do: "activate", name: "name 1", audience: undefined }));
  bench.put({ type: "activation_failed", name: "name 1", failure: refused(0, "no_answer") });
  expect(bench.status).toMatchObject({ phase: "off", failure: { code: "no_answer" } });
  expect(bench.session.wakeAt).toBeUndefined();
});

test("a refused activation is over at once", () => {
  const bench = new Bench();
  bench.put({ type: "activate" });
  bench.put({ type: "activation_failed", name: "name 1", failure: refused(402, "tank_empty") });
  expect(bench.status).toMatchObject({ phase: "off", failure: { status: 402, code: "tank_empty" } });
});

test("a service that says when to come back is obeyed", () => {
  const bench = new Bench();
  bench.put({ type: "activate" });
  bench.put({ type: "activation_failed", name: "name 1", failure: refused(503, "warming_up", { retryAfterS: 17 }) });
  expect(bench.session.wakeAt! - bench.now).toBe(17_000);
});

test("two presses of the button are one activation", () => {
  const bench = new Bench();
  bench.put({ type: "activate" });
  expect(bench.put({ type: "activate" })).toEqual([]);
  bench.put({ type: "activated", name: "name 1", answer: ANSWER, sentAt: bench.now });
  expect(bench.put({ type: "activate" })).toEqual([]);
  expect(bench.names).toBe(1);
});

test("off while the activation is under way: the session is closed as soon as it is known", () => {
  const bench = new Bench();
  bench.put({ type: "activate" });
  bench.put({ type: "stop" });
  const commands = bench.put({ type: "activated", name: "name 1", answer: ANSWER, sentAt: bench.now });
  expect(commands).toMatchObject([{ do: "send", frame: { kind: 2 } }]);
});

test("a stop is sent three times, a second apart, and forgets the secrets in the end", () => {
  const bench = new Bench().opened();
  bench.put({ type: "stop" });
  const at = [bench.now];
  while (bench.status.phase === "stopping") if (bench.next().length) at.push(bench.now);
  expect(at.map((time) => time - at[0]!)).toEqual([0, 1_000, 2_000]);
  expect(bench.status).toMatchObject({ phase: "off", endReason: "deactivated" });
});

test("on again while the stop is under way opens another session after it", () => {
  const bench = new Bench().opened();
  bench.put({ type: "stop" });
  const stop = bench.frame;
  bench.put({ type: "activate" });
  bench.ack({ verdict: "invalid", endReason: "deactivated" }, stop);
  expect(bench.commands).toMatchObject([{ do: "activate", name: "name 2" }]);
});

test("a renewal replaces the token; one whose answer is lost is asked for again with the old token and a new frame", () => {
  const bench = new Bench().opened();
  expect(bench.ack({ renew: true })).toMatchObject([{ do: "renew", token: "token 1", frame: { kind: 3, seq: 2 } }]);
  bench.put({ type: "renewal_failed", seq: 2, failure: refused(0, "no_answer") });
  expect(bench.next()).toMatchObject([{ do: "renew", token: "token 1", frame: { kind: 3, seq: 3 } }]);
  bench.put({ type: "renewed", seq: 2, token: "late", remainingS: 1 });
  expect(bench.session.token).toBe("token 1");
  bench.put({ type: "renewed", seq: 3, token: "token 2", remainingS: 400 });
  expect(bench.session.token).toBe("token 2");
  expect(bench.status.remainingMs).toBe(400_000);
});

test("a stale renewal takes the service's time and renews again", () => {
  const bench = new Bench().opened();
  bench.ack({ renew: true });
  bench.put({ type: "renewal_failed", seq: 2, failure: refused(409, "stale_renewal", { meterMs: 900_000 }) });
  expect(bench.commands).toMatchObject([{ do: "renew", frame: { seq: 3, clockMs: 900_000 } }]);
});

test.each([
  ["session_ended", "exhausted", "exhausted"],
  ["session_ended", "moved_to_mars", "revoked"],
  ["session_ended", undefined, "revoked"],
] as const)("a renewal refused with %s and %s ends the session", (code, reason, endReason) => {
  const bench = new Bench().opened();
  bench.ack({ renew: true });
  bench.put({ type: "renewal_failed", seq: 2, failure: refused(409, code, reason ? { reason } : {}) });
  expect(bench.status).toMatchObject({ phase: "off", endReason });
});

test("a renewal refused for another cause changes nothing, and the next ack may ask again", () => {
  const bench = new Bench().opened();
  bench.ack({ renew: true });
  bench.put({ type: "renewal_failed", seq: 2, failure: refused(401, "bad_credentials") });
  expect(bench.session.token).toBe("token 1");
  const commands = bench.next();
  expect(commands).toMatchObject([{ do: "send" }]);
  expect(bench.ack({ renew: true })).toMatchObject([{ do: "renew" }]);
});

test("early beats are a second apart at least", () => {
  const bench = new Bench().opened();
  bench.ack();
  expect(bench.put({ type: "beat" })).toEqual([]);
  bench.now += 1_000;
  expect(bench.put({ type: "beat" })).toMatchObject([{ do: "send" }]);
  expect(bench.put({ type: "beat" })).toEqual([]);
});

test("the state goes along with each frame, and its reserved bit stays 0", () => {
  const bench = new Bench();
  bench.put({ type: "state", bits: 0xffff });
  bench.opened();
  expect(bench.commands).toMatchObject([{ frame: { state: 0xff7f } }]);
});

test("the tank drains between acks, and never below nothing", () => {
  const bench = new Bench().opened();
  const first = bench.frame;
  bench.ack({ remainingS: 10 });
  bench.now += 4_000;
  expect(bench.status.remainingMs).toBe(6_000);
  bench.now += 60_000;
  expect(bench.status.remainingMs).toBe(0);
  bench.ack({ remainingS: 0xffff_ffff }, first);
  expect(bench.status.remainingMs).toBe(0);
  bench.ack({ remainingS: 0xffff_ffff });
  expect(bench.status.remainingMs).toBe(Infinity);
});

test("an ack that asks for a renewal while one is under way starts no second", () => {
  const bench = new Bench().opened();
  bench.ack({ renew: true });
  bench.now += 1_000;
  bench.put({ type: "beat" });
  expect(bench.ack({ renew: true })).toEqual([]);
  bench.put({ type: "renewed", seq: 2, token: "token 2", remainingS: 400 });
  expect(bench.session.token).toBe("token 2");
});

test("seq wraps to 0", () => {
  const bench = new Bench().opened();
  bench.ack();
  const snapshot = bench.session.snapshot() as { v: 1; session?: { seq: number } };
  snapshot.session!.seq = 0xffff_ffff;
  bench.session = Session.restore(bench.random, snapshot, bench.now);
  expect(bench.next()).toMatchObject([{ frame: { seq: 0 } }]);
  bench.ack();
  expect(bench.status.silences).toBe(0);
  expect(bench.session.wakeAt! - bench.now).toBe(29_700);
});

import fc from "fast-check";
import { expect, test } from "vitest";

import { type Ack, Session, type SessionCommand, type SessionEvent } from "../src/index.ts";
import { Model } from "./model.ts";
import { type Arrival, type Deed, Dice, INTERVAL_MS, Service, type Weather } from "./world.ts";

const RUN_MS = 20 * 60_000;
const RUNS = 150;

const weather = fc.record({
  seed: fc.integer({ min: 1, max: 0x7fff_ffff }),
  loss: fc.constantFrom(0, 0, 10, 50),
  repeat: fc.constantFrom(0, 20),
  mostDelayMs: fc.constantFrom(0, 50, 900, 3_000),
  renew: fc.constantFrom(0, 30),
  unknown: fc.constantFrom(0, 20),
});

const deeds = (...what: Deed["what"][]): fc.Arbitrary<Deed[]> =>
  fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 120_000 }), what: fc.constantFrom(...what) }), { maxLength: 20 });

/** Runs a client in the world, beside the model. Returns what it ends as. */
function run(world: Weather, todo: readonly Deed[], tankMs: number, restart: boolean): { client: Session; service: Service; acks: number } {
  const dice = new Dice(world.seed);
  const service = new Service(tankMs);
  const random = { fraction: () => dice.fraction(), name: () => `activation ${(names += 1)}` };
  let names = 0;
  let client = new Session(random);
  let smooth = true;
  const model = new Model(INTERVAL_MS, () => (smooth ? service.meterAt(now) : undefined));
  let now = 0;
  let session = "";
  let lastAck: Ack | undefined;
  let acks = 0;
  const arrivals: Arrival[] = [];
  const later = (event: SessionEvent, delay = dice.upTo(world.mostDelayMs)): void => void arrivals.push({ at: now + delay, event });
  const at = (delay: number, deliver: () => void): void => void arrivals.push({ at: now + delay, deliver });
  const trip = (): number => dice.upTo(world.mostDelayMs / 2);

  const put = (event: SessionEvent): void => {
    model.input(event, now);
    const commands = client.handle(event, now);
    if (event.type === "activated" && client.token === event.answer.token) session = event.answer.sessionId;
    model.output(commands, now, { token: client.token, phase: client.status(now).phase });
    // The program may be stopped between any two events, unless something is under way that only it waits for.
    if (restart && !commands.length && client.status(now).phase === "on" && !arrivals.some(isAnswerToAct)) {
      client = Session.restore(random, JSON.parse(JSON.stringify(client.snapshot())), now);
    }
    for (const command of commands) carryOut(command);
  };

  const carryOut = (command: SessionCommand): void => {
    const sentAt = now;
    const lost = dice.hits(world.loss);
    if (command.do === "activate") {
      at(trip(), () => {
        const answer = lost ? { status: 0, code: "no_answer" } : service.activate(command.name, now);
        if ("token" in answer) later({ type: "activated", name: command.name, answer, sentAt });
        else later({ type: "activation_failed", name: command.name, failure: answer });
      });
    } else if (command.do === "renew") {
      at(trip(), () => {
        const answer = service.renew(command.token, now);
        const { seq } = command.frame;
        // The answer gets lost after the service has acted.
        if (lost) later({ type: "renewal_failed", seq, failure: { status: 0, code: "no_answer" } });
        else if ("token" in answer) later({ type: "renewed", seq, token: answer.token, remainingS: answer.remainingS });
        else later({ type: "renewal_failed", seq, failure: answer });
      });
    } else {
      const id = session;
      at(trip(), () => {
        const ack = lost ? undefined : service.beat(id, command, dice, world, now);
        if (ack) {
          lastAck = ack;
          acks += 1;
          later({ type: "ack", ack }, trip());
          if (dice.hits(world.repeat)) later({ type: "ack", ack }, 2 * world.mostDelayMs);
        } else if (dice.hits(50)) {
          later({ type: "silence", seq: command.frame.seq }, trip());
        }
      });
    }
  };

  const act = ({ what }: Deed): void => {
    if (what === "outage" || what === "back") {
      service.switch(what === "back", now);
      // The meter stands still: no estimate can be right until the next ack.
      smooth = false;
    } else if (what === "supersede") {
      service.end("superseded", now);
    } else if (what === "credit") {
      service.credit(60_000, now);
    } else if (what === "forge") {
      // Signed well, but no answer to a frame that waits.
      const about = { endReason: "revoked", remainingS: 1, nextBeat100ms: 1, renew: true, lowCredit: true, meterMs: 5n } as const;
      put({ type: "ack", ack: { ...about, verdict: "invalid", seq: dice.upTo(40), echoMs: BigInt(dice.upTo(1e6)) } });
      if (lastAck) put({ type: "ack", ack: { ...about, verdict: "invalid", seq: lastAck.seq, echoMs: lastAck.echoMs + 1n } });
    } else {
      put({ type: what });
    }
  };

  let deedAt = 0;
  const plan = todo.map((deed) => ({ at: (deedAt += deed.afterMs), deed }));
  for (let step = 0; step < 20_000; step++) {
    arrivals.sort((a, b) => a.at - b.at);
    const times = [plan[0]?.at, arrivals[0]?.at, client.wakeAt].filter((time) => time !== undefined);
    const next = Math.min(...times);
    if (!times.length || next > RUN_MS) return { client, service, acks };
    now = Math.max(now, next);
    if (plan[0]?.at === next) act(plan.shift()!.deed);
    else if (arrivals[0]?.at === next) {
      const arrival = arrivals.shift()!;
      if ("deliver" in arrival) arrival.deliver();
      else put(arrival.event);
    } else put({ type: "wake" });
  }
  throw new Error("the client never rests");
}

function isAnswerToAct(arrival: Arrival): boolean {
  return "deliver" in arrival || arrival.event.type.startsWith("renew") || arrival.event.type.startsWith("activat");
}

const everything = deeds("activate", "activate", "stop", "beat", "outage", "back", "supersede", "forge", "credit", "wake");

test("every rule of the protocol holds in every weather", () => {
  fc.assert(
    fc.property(weather, everything, fc.constantFrom(0, 100_000, 1e9), (world, todo, tankMs) => {
      run(world, todo, tankMs, false);
    }),
    { numRuns: RUNS },
  );
});

test("a client that is stopped and goes on from its snapshot keeps the same rules", () => {
  fc.assert(
    fc.property(weather, everything, fc.constantFrom(100_000, 1e9), (world, todo, tankMs) => {
      run(world, todo, tankMs, true);
    }),
    { numRuns: RUNS },
  );
});

test("while frames get through, a session lives until its person closes it", () => {
  const fair = weather.map((any) => ({ ...any, loss: Math.min(any.loss, 10), unknown: 0, mostDelayMs: Math.min(any.mostDelayMs, 900) }));
  fc.assert(
    fc.property(fair, deeds("beat", "forge", "wake", "credit"), (world, todo) => {
      const start: Deed = { afterMs: 0, what: "activate" };
      const { client, service, acks } = run(world, [start, ...todo], 1e9, false);
      // An activation may be given up after five tries.
      if (client.status(RUN_MS).phase === "off") {
        expect(client.status(RUN_MS).failure?.code).toBe("no_answer");
        return;
      }
      expect(service.session?.ended).toBeUndefined();
      expect(service.takes(client.token!)).toBe(true);
      expect(acks).toBeGreaterThanOrEqual(Math.floor(RUN_MS / INTERVAL_MS) - 1);
    }),
    { numRuns: RUNS },
  );
});

import { expect, test } from "vitest";

import type { Message, Outcome } from "../../src/core/messages.ts";
import type { Params } from "../../src/core/payload.ts";
import { Store } from "../../src/core/store.ts";
import { type Surroundings, Widget } from "../../src/widget.ts";
import { MemoryStorage, VirtualTime } from "./fakes.ts";

const NOW = Date.parse("2026-11-30T12:00:00.000Z");
const ALLOWED = (next: string): string => JSON.stringify({ TransactionResponse: { Values: { NextAllowed: next } } });

interface World {
  widget: Widget;
  store: Store;
  time: VirtualTime;
  sent: { path: string; headers: Record<string, string> }[];
  ask(type: string, distinguisher?: string): Promise<unknown[]>;
}

function world(handed: Params | undefined, answers: { status: number; body?: string }[] = [{ status: 200 }], over: Partial<Surroundings> = {}): World {
  const storage = new MemoryStorage();
  const sent: World["sent"] = [];
  const time = new VirtualTime();
  const around: Surroundings = {
    referrer: new URL("https://a.example/p"),
    handed,
    store: new Store(() => storage),
    wall: () => NOW,
    timing: time,
    post: (path, headers) => {
      sent.push({ path, headers });
      const { status, body = "" } = answers[Math.min(sent.length, answers.length) - 1]!;
      return Promise.resolve({ status, body });
    },
    ...over,
  };
  const widget = new Widget(around);
  const ask = async (type: string, distinguisher?: string): Promise<unknown[]> => {
    const outcome: Outcome = await widget.answer({ id: "1", type, timeout: 1_000, ...(distinguisher !== undefined && { payload: { distinguisher } }) } as Message);
    return [outcome.error, outcome.success, outcome.detail];
  };
  return { widget, store: around.store, time, sent, ask };
}

test("without tokens nothing is asked, whatever else is wrong", async () => {
  for (const handed of [undefined, {}, { tokens: null }, { tokens: "" }]) {
    const { ask, sent } = world(handed);
    expect(await ask("init")).toEqual(["no tokens available", false, ""]);
    expect(await ask("page-view", "b.example")).toEqual(["no tokens available", false, ""]);
    expect(sent).toEqual([]);
  }
});

test("init succeeds without a request, and a distinguisher of another page is an error", async () => {
  const { ask, sent } = world({ tokens: "t" });
  expect(await ask("init")).toEqual([null, true, ""]);
  expect(await ask("page-view", "b.example")).toEqual(["distinguisher is not of this page", false, ""]);
  expect(sent).toEqual([]);
});

test("a reward is asked for with the page's host, and not again before its time", async () => {
  let now = NOW;
  const { ask, sent } = world({ tokens: "t" }, [{ status: 200, body: ALLOWED("2026-11-30T13:00:00Z") }], { wall: () => now });
  expect(await ask("page-view")).toEqual([null, true, "200"]);
  expect(sent[0]!.path).toBe("/v1/transaction?class=page-view&distinguisher=a.example");
  now = NOW + 3_600_000;
  expect(await ask("page-view")).toEqual([null, false, "not yet allowed"]);
  expect(await ask("click-through")).toEqual([null, true, "200"]);
  expect(await ask("page-view", "a.example/p")).toEqual([null, true, "200"]);
  now++;
  expect(await ask("page-view")).toEqual([null, true, "200"]);
  expect(sent).toHaveLength(4);
});

test("a refusal for the cooldown is remembered too, and a time that nobody can read is not", async () => {
  const cooling = world({ tokens: "t" }, [{ status: 429, body: ALLOWED("2026-11-30T13:00:00Z") }]);
  expect([await cooling.ask("page-view"), await cooling.ask("page-view")]).toEqual([[null, false, "429"], [null, false, "not yet allowed"]]);
  const odd = world({ tokens: "t" }, [{ status: 200, body: ALLOWED("tomorrow") }]);
  expect([await odd.ask("page-view"), await odd.ask("page-view")]).toEqual([[null, true, "200"], [null, true, "200"]]);
});

test("refused tokens are null from then on, in memory and in storage", async () => {
  const { ask, store, sent } = world({ timestamp: "2026-11-30T11:00:00Z", tokens: "t" }, [{ status: 401 }]);
  expect(await ask("page-view")).toEqual([null, false, "401 access denied"]);
  expect(store.load()).toEqual({ timestamp: "2026-11-30T11:00:00Z", tokens: null });
  expect(await ask("page-view")).toEqual(["no tokens available", false, ""]);
  expect(sent).toHaveLength(1);
});

test("another tab's newer tokens outlive the refusal of ours", async () => {
  const { ask, store } = world({ tokens: "t" }, [{ status: 401 }]);
  store.save({ timestamp: "2026-11-30T11:59:00Z", tokens: "u" });
  await ask("page-view");
  expect(store.load()).toEqual({ timestamp: "2026-11-30T11:59:00Z", tokens: "u" });
});

test("what the page hands over is not too old, however old it is, and must be readable", async () => {
  expect(await world({ timestamp: "2019-01-01T00:00:00Z", tokens: "t" }).ask("page-view")).toEqual([null, true, "200"]);
  expect(await world({ timestamp: "long ago", tokens: "t" }).ask("page-view")).toEqual(["no tokens available", false, ""]);
});

test("tokens that cannot be sent are an error at once", async () => {
  const { ask, sent } = world({ tokens: "a\nb" });
  expect(await ask("page-view")).toEqual(["tokens cannot be sent", false, ""]);
  expect(sent).toEqual([]);
});

test("an unreachable service is a request error before the page no longer waits", async () => {
  const { ask, sent, time } = world({ tokens: "t" }, [{ status: 503 }]);
  expect(await ask("page-view")).toEqual([null, false, "request error: 503"]);
  expect(time.ms).toBe(800);
  expect(sent.map(({ headers }) => (JSON.parse(headers["X-PsiCash-Metadata"]!) as { attempt: number }).attempt)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

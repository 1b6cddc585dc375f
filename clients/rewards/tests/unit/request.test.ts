import { expect, test } from "vitest";

import { type Answer, headers, nextAllowedIn, sendUntil, transactionOutcome, transactionPath, validation } from "../../src/core/request.ts";
import { VirtualTime } from "./fakes.ts";

const PAGE = new URL("https://a.example/p?psicash=secret#psicash=secret");

/** Sends of which each takes `tookMs` and ends as the next of `ends`, or as the last of them. */
async function tried(ends: (number | Error)[], budgetMs: number, tookMs = 0): Promise<{ result: Answer | string; at: number[]; lefts: number[]; attempts: number[] }> {
  const time = new VirtualTime();
  const [at, lefts, attempts]: number[][] = [[], [], []];
  const result = await sendUntil(
    (attempt, left) => {
      at!.push(time.ms);
      lefts!.push(left);
      attempts!.push(attempt);
      time.ms += Math.min(tookMs, left);
      const end = ends[Math.min(attempt, ends.length) - 1]!;
      return end instanceof Error ? Promise.reject(end) : Promise.resolve({ status: end, body: "" });
    },
    budgetMs,
    time,
  );
  return { result, at: at!, lefts: lefts!, attempts: attempts! };
}

test.each([200, 400, 401, 402, 404, 409, 429])("%i is an answer, at once", async (status) => {
  const { result, attempts } = await tried([status], 1_000);
  expect([result, attempts]).toEqual([{ status, body: "" }, [1]]);
});

test.each([500, 502, 503, 599])("%i is sent again every 100 ms until there is an answer", async (status) => {
  const { result, at, attempts } = await tried([status, status, 200], 1_000);
  expect([result, at, attempts]).toEqual([{ status: 200, body: "" }, [0, 100, 200], [1, 2, 3]]);
});

test("nothing is sent at the deadline or past it, and the last failure is told", async () => {
  const { result, at, lefts } = await tried([500, new TypeError("network"), 503], 1_000);
  expect(result).toBe("503");
  expect(at).toEqual([0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
  expect(lefts.at(-1)).toBe(100);
  expect((await tried([new TypeError("network")], 1_000, 950)).result).toBe("network");
  expect((await tried([new TypeError("network")], 1_000, 950)).at).toEqual([0]);
});

test.each([0, -5, Number.NaN])("a budget of %d sends nothing, or once", async (budget) => {
  const { result, attempts } = await tried([new Error("no")], budget);
  expect(typeof result).toBe("string");
  expect(attempts.length).toBeLessThanOrEqual(1);
});

test("the headers say who asks and where, without query and hash, in ASCII", () => {
  const found = headers({ tokens: "a,b", metadata: { v: 1, name: "Jürgen\n日本", attempt: 7, referrer: "x" } }, 2, PAGE)!;
  expect(found["X-PsiCash-Auth"]).toBe("a,b");
  expect(found["X-PsiCash-Metadata"]).toMatch(/^[\x20-\x7e]+$/);
  expect(JSON.parse(found["X-PsiCash-Metadata"]!)).toEqual({ v: 1, name: "Jürgen\n日本", attempt: 2, referrer: "https://a.example/p" });
  expect(JSON.stringify(found)).not.toContain("secret");
  expect(new Headers(found).get("x-requested-with")).toBeTruthy();
});

test.each([null, undefined, "", "a\r\nX: y", "\u0000", "ä", "日本"])("tokens that cannot stand in a header are not sent: %j", (tokens) => {
  expect(headers(tokens === undefined ? {} : { tokens }, 1, PAGE)).toBeUndefined();
});

test("the path escapes what a page says", () => {
  expect(transactionPath("page-view", "a.example/x&class=y#")).toBe("/v1/transaction?class=page-view&distinguisher=a.example%2Fx%26class%3Dy%23");
});

test("what a page is told", () => {
  const told = (answer: Answer | string): unknown[] => Object.values(transactionOutcome(answer));
  expect(told({ status: 200, body: "" })).toEqual([null, true, "200"]);
  expect(told({ status: 401, body: "" })).toEqual([null, false, "401 access denied"]);
  expect(told({ status: 429, body: "" })).toEqual([null, false, "429"]);
  expect(told({ status: 404, body: "" })).toEqual([null, false, "404"]);
  expect(told("503")).toEqual([null, false, "request error: 503"]);
});

test("the next time is read from the answer, and from nothing else", () => {
  const body = (next: unknown): string => JSON.stringify({ TransactionResponse: { Values: { NextAllowed: next } } });
  expect(nextAllowedIn({ status: 200, body: body("2026-11-30T12:00:00Z") })).toBe("2026-11-30T12:00:00Z");
  for (const bad of ["", "{", "[]", body(7), body(null), '{"TransactionResponse":null}']) expect(nextAllowedIn({ status: 200, body: bad })).toBeUndefined();
});

test.each([
  [{ status: 200, body: '{"TokensValid":{"a":false,"b":true}}' }, "valid"],
  [{ status: 200, body: '{"TokensValid":{"a":false}}' }, "invalid"],
  [{ status: 200, body: '{"TokensValid":{}}' }, "invalid"],
  [{ status: 200, body: '{"TokensValid":{"a":"true"}}' }, "invalid"],
  [{ status: 200, body: "<html>" }, "refused"],
  [{ status: 200, body: "{}" }, "refused"],
  [{ status: 401, body: "" }, "denied"],
  [{ status: 404, body: "" }, "refused"],
  [{ status: 429, body: "" }, "refused"],
  ["503", "unreachable"],
] as [Answer | string, string][])("validation of %j is %s", (answer, found) => {
  expect(validation(answer)).toBe(found);
});

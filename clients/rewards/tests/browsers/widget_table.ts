/** Every row of the widget's table, with what was stored in the page alone, in the widget alone, and in both. */

import { expect, test } from "vitest";

import type { Params } from "../../src/core/payload.ts";
import { land, NOW } from "./landing.ts";
import { paramsIn, type Stored, type World } from "./world.ts";

export const secondsAgo = (seconds: number): string => new Date(NOW - seconds * 1_000).toISOString();

export const STORED: Record<string, Params | undefined> = {
  none: undefined,
  "no timestamp": { tokens: "good-a" },
  good: { timestamp: secondsAgo(30), tokens: "good-a" },
  invalid: { timestamp: secondsAgo(30), tokens: "bad-a" },
};
export const IN_ADDRESS: Record<string, Params | undefined> = {
  none: undefined,
  good: { timestamp: secondsAgo(5), tokens: "good-b" },
  old: { timestamp: secondsAgo(60), tokens: "good-b" },
  "no timestamp": { tokens: "good-b" },
  invalid: { timestamp: secondsAgo(5), tokens: "bad-b" },
  "identical, no timestamp": { tokens: "good-a" },
  identical: { timestamp: secondsAgo(30), tokens: "good-a" },
  "same, newer": { timestamp: secondsAgo(5), tokens: "good-a" },
  "same, older": { timestamp: secondsAgo(40), tokens: "good-a" },
  "good, newer": { timestamp: secondsAgo(5), tokens: "good-b" },
  "good, older": { timestamp: secondsAgo(40), tokens: "good-b" },
  "invalid, newer": { timestamp: secondsAgo(5), tokens: "bad-b" },
  "invalid, older": { timestamp: secondsAgo(40), tokens: "bad-b" },
};

type After = "none" | "stored" | "address" | "refused";

/** Stored, in the address, what is kept after (`refused`: no tokens, and the timestamp of those that were), and how it ends. */
const ROWS: [keyof typeof STORED, keyof typeof IN_ADDRESS, After, 200 | 401 | undefined][] = [
  ["none", "none", "none", undefined],
  ["none", "good", "address", 200],
  ["none", "old", "none", undefined],
  ["none", "no timestamp", "address", 200],
  ["none", "invalid", "refused", 401],
  ["no timestamp", "none", "stored", 200],
  ["no timestamp", "identical, no timestamp", "stored", 200],
  ["no timestamp", "good", "address", 200],
  ["no timestamp", "old", "stored", 200],
  ["no timestamp", "no timestamp", "address", 200],
  ["no timestamp", "invalid", "refused", 401],
  ["good", "none", "stored", 200],
  ["good", "identical", "stored", 200],
  ["good", "same, newer", "address", 200],
  ["good", "same, older", "stored", 200],
  ["good", "good, newer", "address", 200],
  ["good", "good, older", "stored", 200],
  ["good", "old", "stored", 200],
  ["good", "no timestamp", "stored", 200],
  ["good", "invalid, newer", "refused", 401],
  ["good", "invalid, older", "stored", 200],
  ["invalid", "none", "refused", 401],
  ["invalid", "old", "refused", 401],
  ["invalid", "good, older", "refused", 401],
  ["invalid", "no timestamp", "refused", 401],
  ["invalid", "good, newer", "address", 200],
];
const PLACES: [string, (params: Params | undefined) => Stored][] = [
  ["page", (page) => (page ? { page } : {})],
  ["widget", (widget) => (widget ? { widget } : {})],
  ["both", (both) => (both ? { page: both, widget: both } : {})],
];
const CASES = PLACES.flatMap(([place, stored]) => ROWS.map((row) => [place, ...row, stored] as const));

export function widgetTable(world: World): void {
  test.concurrent.each(CASES)("stored in %s: %s; in the address: %s", async (place, storedName, addressName, after, status, place_) => {
    const [stored, inAddress] = [STORED[storedName], IN_ADDRESS[addressName]];
    const host = world.host();
    const report = await land(world, host, { stored: place_(stored), inAddress });

    const endings = { 200: [null, true, "200"], 401: [null, false, "401 access denied"] };
    expect(report.done.outcome).toEqual(status ? endings[status] : ["no tokens available", false, ""]);

    // What was used is what is kept, and after a refusal what was sent.
    const winner = { none: undefined, stored, address: inAddress, refused: addressName.startsWith("invalid") ? inAddress : stored }[after];
    const sent = world.sent(host);
    expect(sent.map(({ status, tokens }) => [status, tokens])).toEqual(status ? [[status, winner!.tokens]] : []);
    const kept = after === "refused" ? { ...winner, tokens: null } : winner;
    expect(paramsIn(report.widget)).toEqual(kept);

    if (place === "widget") {
      // The page has the package of its address and nothing else, less its tokens if any were refused.
      const own = addressName === "old" ? undefined : inAddress;
      expect(paramsIn(report.page)).toEqual(own && status === 401 ? { ...own, tokens: null } : own);
      if (stored && stored.tokens !== inAddress?.tokens) expect(JSON.stringify(report)).not.toContain(`"tokens":"${stored.tokens}"`);
    } else {
      expect(paramsIn(report.page)).toEqual(kept);
    }
    expect(report.params).toEqual(paramsIn(report.page));
    // Only the widget knows when the next reward is.
    expect(Object.keys(report.page).filter((key) => key.includes("nextAllowed"))).toEqual([]);
    expect(Object.keys(report.widget).filter((key) => key.includes("nextAllowed")).length).toBe(status === 200 ? 1 : 0);
    expect(report.address).not.toContain("psicash");
  });
}

/** The demonstration's pages, which are also what owners of sites read first. */

import type { Page } from "puppeteer-core";
import { expect, test } from "vitest";

import { decode } from "../../src/core/payload.ts";
import { AXE } from "./shop_cases.ts";
import type { World } from "./world.ts";

/** What a person does who has the demonstration before them, with a token to play the app with. */
export async function earnAndBuy(tab: Page, landing: string, token: string): Promise<void> {
  const shown = (selector: string): Promise<string> => tab.$eval(selector, (element) => element.textContent!);
  const until = (selector: string, words: string): Promise<unknown> =>
    tab.waitForFunction((selector, words) => document.querySelector(selector)?.textContent?.includes(words), { polling: 20 }, selector, words);
  const click = (selector: string): Promise<void> => tab.$eval(selector, (element) => (element as HTMLElement).click());

  await tab.goto(landing);
  await until("#figure", "Open this page from the app");
  await tab.$eval("#token", (input, token) => ((input as HTMLInputElement).value = token), token);
  await click("#app button");
  await until("#figure", "Time added");
  expect(tab.url()).not.toContain("psicash");
  await click("#click");
  await until("#sponsor", "is in your tank");
  expect(await shown("#log")).toBe('page-view: null, true, "200"\nclick-through: null, true, "200"');

  await click("nav a:last-child");
  await tab.waitForFunction(() => document.querySelector("form") && !document.querySelector("#psicash-page-blocker"), { polling: 20 });
  await click("article button");
  await until("#json", "time-4h");
  const order = JSON.parse(await shown("#json")) as { line_items: { properties: { name: string; value: string }[] }[] };
  const property = order.line_items[0]!.properties[0]!;
  expect([property.name, decode(property.value)?.tokens]).toEqual(["_psicash", token]);
}

export function demoPages(world: World): void {
  test.concurrent("a person earns on the landing page, goes on to the shop, and buys", async () => {
    const landing = `${world.origin.at(world.host())}/demo/landing.html`;
    await world.inTab((tab) => earnAndBuy(tab, landing, "good-a"));
  });

  test.concurrent("opened from nowhere, the shop is covered and says what to do", async () => {
    const host = world.host();
    await world.inTab(async (tab) => {
      await tab.goto(`${world.origin.at(host)}/demo/shop.html`);
      await tab.waitForSelector(".psicash-page-blocker-error");
      expect(await tab.$eval("#psicash-page-blocker", (cover) => cover.textContent)).toMatch(/open this shop from the app/);
    });
  });

  test.concurrent.each([
    ["landing", "light", 360],
    ["landing", "dark", 1_280],
    ["shop", "light", 1_280],
    ["shop", "dark", 360],
  ] as const)("axe finds no fault in %s, %s, %i px wide, and nothing is cut off", async (name, scheme, width) => {
    const host = world.host();
    await world.inTab(async (tab) => {
      await tab.setViewport({ width, height: 900 });
      if (world.name === "chromium") await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      const where = `${world.origin.at(host)}/demo/${name}.html`;
      await tab.goto(`${where}#psicash=${btoa('{"tokens":"good-a"}')}`);
      await tab.waitForFunction(() => document.querySelector("#psicash-page-blocker") === null && document.querySelector("#log")?.textContent !== "No calls yet", { polling: 20 });
      await tab.evaluate(AXE);
      expect(await tab.evaluate("axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))")).toEqual([]);
      expect(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
    });
  });
}

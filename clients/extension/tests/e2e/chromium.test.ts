// A person's path in Chromium, through a proxy that asks the service about each token.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { World } from "./world.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const THROUGH = "through the proxy";

let world: World;

beforeAll(async () => {
  world = await World.open();
});

afterEach(() => world.reset());

afterAll(() => world.close());

test("sign in, on, pages load through the proxy, credit shows, off: the ledger matches", async () => {
  const popup = await world.signedIn(600);
  expect(await popup.seconds()).toBe(600);
  expect(await world.load(world.origin.http)).toBe("direct");
  await popup.on();
  expect(await world.load(world.origin.http)).toBe(THROUGH);
  expect(await world.load(world.origin.https)).toBe(THROUGH);
  expect(new Set(world.proxy.shown.map(({ user }) => user))).toEqual(new Set(["tank"]));

  await world.service.credit(popup.account, 900);
  await popup.page.waitForFunction(() => Number.parseInt(document.querySelector("#time")!.textContent!) >= 20, { polling: 50 });

  await popup.switch();
  await popup.until("Off");
  expect(await popup.notice()).toBe("");
  expect(await world.load(world.origin.http)).toBe("direct");
  // Whoever opens the popup is shown what the ledger has.
  const { remaining_s } = await world.service.admin<{ remaining_s: number }>("GET", `/admin/accounts/${popup.account}`);
  expect(remaining_s).toBeLessThan(1_500);
  const again = await world.popup();
  await again.page.waitForFunction((left) => document.querySelector("#time")!.textContent === left, { polling: 50 }, `${Math.floor(remaining_s / 60)}:${String(remaining_s % 60).padStart(2, "0")}`);
  expect(await world.activations(popup)).toBe(1);
});

test("the background is stopped: pages go on loading, and the session and its token live", async () => {
  const popup = await world.signedIn(600);
  await popup.on();
  const before = await world.load(world.origin.https);
  await popup.page.close();
  await world.stopWorker();
  world.proxy.cut();
  expect([before, await world.load(world.origin.https)]).toEqual([THROUGH, THROUGH]);
  const again = await world.popup();
  await again.until("On");
  expect(await world.activations(popup)).toBe(1);
});

test("an edge that says 407 for ever gets our token at most twice for a request, and nothing is activated", async () => {
  const popup = await world.signedIn(600);
  await popup.on();
  world.proxy.refusesAll = true;
  world.proxy.shown.length = 0;
  const page = await world.browser.newPage();
  await page.goto(world.origin.https, { timeout: 15_000 }).catch(() => {});
  const shown = world.proxy.shown.filter(({ target }) => target.startsWith("origin.test"));
  expect(shown.length).toBeGreaterThan(0);
  // Chromium itself tries a page that failed once more.
  expect(shown.length).toBeLessThanOrEqual(4);
  await popup.until("On");
  expect(await world.activations(popup)).toBe(1);
});

test("another browser takes over: the proxy is off, the reason is shown, and there is no fight", async () => {
  const popup = await world.signedIn(600);
  await popup.on();
  const headers = { authorization: `Bearer ${popup.key}`, "content-type": "application/json" };
  await fetch(`${world.service.http}/v1/activate`, { method: "POST", headers, body: "{}" });
  await popup.until("Off");
  expect(await popup.notice()).toMatch(/took over/);
  expect(await world.load(world.origin.http)).toBe("direct");
  await world.stopWorker();
  const again = await world.popup();
  await again.until("Off");
  expect(await world.activations(popup)).toBe(2);
});

test("an empty tank offers the shop, which loads while the proxy refuses everything", async () => {
  const poor = await world.signedIn(0);
  await poor.switch();
  await poor.untilNotice(/tank is empty/);
  await poor.until("Off");
  await world.service.credit(poor.account, 5);
  await poor.on();
  world.proxy.refusesAll = true;
  const shop = await poor.page.$eval("#shop", (link) => (link as HTMLAnchorElement).href);
  expect(await world.load(shop)).toBe("direct");
  await poor.until("Off");
  expect(await poor.notice()).toMatch(/tank is empty/);
});

test("a service that is away for a while is told, the token is kept, and it goes on by itself", async () => {
  const popup = await world.signedIn(600);
  await popup.on();
  await world.service.kill();
  await popup.until("On, waiting for the service");
  await world.service.restart();
  await popup.until("On");
  expect(await world.load(world.origin.https)).toBe(THROUGH);
  expect(await world.activations(popup)).toBe(1);
});

test("what a person chose for a lost session is done: blocked until they switch off", async () => {
  const popup = await world.signedIn(600);
  const options = await world.browser.newPage();
  await options.goto(`chrome-extension://${world.id}/options.html`);
  await options.waitForSelector("[value=direct]:checked");
  await options.click("[value=block]");
  await options.click("form button");
  await options.waitForFunction(() => document.querySelector("#saved")!.textContent === "Saved", { polling: 50 });
  await popup.on();
  const session = (await world.service.admin<{ rows: { target: string }[] }>("GET", `/admin/audit?act=session_opened&account=${popup.account}`)).rows[0]!.target;
  await world.service.admin("POST", `/admin/sessions/${session}/revoke`);
  await popup.until("Blocked");
  expect(await world.load(world.origin.http)).toMatch(/HTTP ERROR 407|ERR_/);
  expect(await world.load(world.origin.https)).toMatch(/HTTP ERROR 407|ERR_/);
  await popup.switch();
  await popup.until("Off");
  expect(await world.load(world.origin.http)).toBe("direct");
});

test("an origin's own challenge never gets our token", async () => {
  const popup = await world.signedIn(600);
  await popup.on();
  await world.load(`${world.origin.http}/locked`);
  await world.load(`${world.origin.https}/locked`);
  expect(world.origin.authorizations).toEqual([]);
  expect(world.proxy.shown.length).toBeGreaterThan(0);
});

test("two popups and a double click are one activation", async () => {
  const popup = await world.signedIn(600);
  const other = await world.popup();
  const press = (): void => {
    document.querySelector<HTMLElement>("#switch")!.click();
    document.querySelector<HTMLElement>("#switch")!.click();
  };
  // The other popup has not heard yet that it is on.
  const ask = (): Promise<unknown> => chrome.runtime.sendMessage({ ask: "switch", on: true });
  await Promise.all([popup.page.evaluate(press), other.page.evaluate(ask)]);
  await popup.until("On");
  await other.until("On");
  expect(await world.activations(popup)).toBe(1);
});

test("popup and options have no fault that axe finds, and nothing that a person visits is kept", async () => {
  const popup = await world.signedIn(600);
  await popup.on();
  await world.load(world.origin.http);
  const options = await world.browser.newPage();
  await options.goto(`chrome-extension://${world.id}/options.html`);
  await options.waitForSelector("[value=direct]:checked");
  for (const page of [popup.page, options]) {
    await page.evaluate(AXE);
    const faults = await page.evaluate("axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))");
    expect(faults).toEqual([]);
  }
  const kept = await world.inWorker(async () => JSON.stringify([await chrome.storage.local.get(), await chrome.storage.session.get()]));
  expect(kept).not.toContain("origin.test");
  expect(kept).toContain("shop.test");
  expect(JSON.stringify(await world.inWorker(() => chrome.storage.local.get()))).not.toContain("gtk_");
});

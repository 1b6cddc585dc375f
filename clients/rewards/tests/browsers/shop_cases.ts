/** What may happen to a shop beside its table. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { expect, test } from "vitest";

import { encode, type Params } from "../../src/core/payload.ts";
import { enter, type Report } from "./shop.ts";
import { IN_ADDRESS, secondsAgo } from "./widget_table.ts";
import { paramsIn, type World } from "./world.ts";

export const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const GOOD = IN_ADDRESS["good"]!;
const fresh = (tokens: string | null): Params => ({ timestamp: secondsAgo(5), tokens });

export function shopCases(world: World): void {
  const at = (path: string, host: string): string => `${world.origin.at(host)}${path}`;

  test.concurrent("a service that cannot be reached does not close the shop", async () => {
    const host = world.host();
    const report = await enter(world, host, { referrer: "none", inAddress: fresh("s503") });
    expect(report).toMatchObject({ refusal: null, field: encode(fresh("s503")) });
    const sent = world.sent(host);
    expect(sent.length).toBeGreaterThan(10);
    expect(sent.map(({ metadata }) => metadata.attempt)).toEqual(sent.map((_, index) => index + 1));
  });

  test.concurrent.each([
    ["s401", /no longer valid/],
    ["s404", /cannot check/],
    ["s429", /cannot check/],
  ])("an answer %s closes it, and what is stored stays", async (tokens, words) => {
    const report = await enter(world, world.host(), { referrer: "none", inAddress: fresh(tokens) });
    expect(report.refusal).toMatch(words);
    expect(report.field).toBeNull();
    expect(paramsIn(report.page)).toEqual(fresh(tokens));
  });

  test.concurrent.each(["twice503", "cut"])("an answer that comes in the end counts: %s", async (tokens) => {
    expect(await enter(world, world.host(), { referrer: "none", inAddress: fresh(tokens) })).toMatchObject({ refusal: null });
  });

  test.concurrent("of several tokens one that is valid is enough", async () => {
    expect(await enter(world, world.host(), { referrer: "none", inAddress: fresh("bad-a,good-b") })).toMatchObject({ refusal: null });
  });

  test.concurrent("signed out in the address: not valid, and not launch", async () => {
    const host = world.host();
    const report = await enter(world, host, { referrer: "none", inAddress: fresh(null), stored: { tokens: "good-a" } });
    expect(report.refusal).toMatch(/no longer valid/);
    expect(paramsIn(report.page)).toEqual(fresh(null));
    expect(world.sent(host)).toEqual([]);
  });

  test.concurrent("the texts are the shop's own", async () => {
    const attributes = 'data-text-launch="Open the app!" data-text-invalid="Sign in again!"';
    expect(await enter(world, world.host(), { referrer: "none", attributes })).toMatchObject({ refusal: "Open the app!" });
    expect(await enter(world, world.host(), { referrer: "store", attributes })).toMatchObject({ refusal: "Sign in again!" });
  });

  test.concurrent("the service asked is the one that the shop names, whoever hands out the script", async () => {
    const [host, service] = [world.host(), world.host()];
    const report = await enter(world, host, { referrer: "none", inAddress: GOOD, attributes: `data-server="${at("", service)}"` });
    expect(report.refusal).toBeNull();
    expect(world.sent(host).map((sent) => sent.service)).toEqual([service]);
  });

  test.concurrent("a theme's own cover is used, and the text is set in it", async () => {
    const body = `<div id="psicash-page-blocker" class="psicash-page-blocker" style="opacity: 0"><div>Loading</div></div><a id="link" href="/x">x</a>`;
    const does = "const cover = document.getElementById('psicash-page-blocker'); return cover && [cover.className, cover.style.opacity, cover.children.length]";
    const refused = await enter(world, world.host(), { referrer: "none", body, does });
    expect(refused).toMatchObject({ done: ["psicash-page-blocker psicash-page-blocker-error", "1", 1], canReach: false });
    expect(await enter(world, world.host(), { referrer: "none", inAddress: GOOD, body, does })).toMatchObject({ done: null, refusal: null, canReach: true });
  });

  test.concurrent("a shop in a frame is closed", async () => {
    const host = world.host();
    const inner = host.split(".")[0]!;
    const report = await enter(world, host, {
      referrer: "store",
      stored: { tokens: "good-a" },
      // The page opens itself once more, in a frame.
      does: `if (window === top) { const frame = document.createElement("iframe"); frame.src = "/${inner}/"; document.body.append(frame); await new Promise(() => {}); }`,
    });
    expect(report.refusal).toMatch(/open this shop from the app/);
  });

  test.concurrent.each([
    ["throws", "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused') } })"],
    ["is full", "Storage.prototype.setItem = () => { throw new Error('full') }"],
  ])("storage that %s is done without: the address stays, and links carry the package on", async (_, before) => {
    const report = await enter(world, world.host(), { referrer: "none", inAddress: GOOD, before });
    expect(report.refusal).toBeNull();
    expect(report.address).toContain("psicash=");
    expect(new URL(report.link).searchParams.get("psicash")).toBe(encode(GOOD));
  });

  test.concurrent("which links and forms get it", async () => {
    const host = world.host();
    const old = encodeURIComponent(encode({ tokens: "older" }));
    const body = `<a id="link" href="/plain">1</a> <a href="?page=2">2</a> <a href="#top">3</a> <a href="#">4</a> <a>5</a> <a href="mailto:a@example.org">6</a>
      <a href="https://elsewhere.example/x">7</a> <a href="//${host}/port">8</a> <a href="/x?psicash=${old}&a=b%20c+d#e?f">9</a> <a href="javascript:void 0">10</a>
      <a href="http://[">11</a> <a href="/checkout">12</a> <map name="m"><area href="/area" alt="area"></map>
      <form action="/cart/add"><input name="action" value="trap"><input type="hidden" name="properties[_psicash]" value="old"></form>
      <form action="/en-gb/cart/add/"></form> <form action="/cart"></form> <form action="/search"></form> <form></form>
      <form action="https://elsewhere.example/cart/add"></form> <form action="/cart/address"></form>`;
    const does = `return {
      links: [...document.querySelectorAll("a, area")].map((link) => link.getAttribute("href")),
      fields: [...document.forms].map((form) => [...form.querySelectorAll("[name*=_psicash]")].map(({ name, value, type }) => [name, value, type].join(" "))) }`;
    const { done } = await enter<Report & { done: { links: string[]; fields: string[][] } }>(world, host, { referrer: "none", inAddress: GOOD, body, does });
    const packed = encode(GOOD);
    const parameter = `psicash=${encodeURIComponent(packed)}`;
    const id = host.split(".")[0]!;
    expect(done.links).toEqual([
      at(`/plain?${parameter}`, host),
      at(`/${id}/?page=2&${parameter}`, host),
      "#top",
      "#",
      null,
      "mailto:a@example.org",
      "https://elsewhere.example/x",
      `//${host}/port`,
      at(`/x?a=b%20c+d&${parameter}#e?f`, host),
      "javascript:void 0",
      "http://[",
      at(`/checkout?${parameter}`, host),
      at(`/area?${parameter}`, host),
    ]);
    const [line, cart] = ["properties[_psicash]", "attributes[_psicash]"].map((name) => [`${name} ${packed} hidden`]);
    expect(done.fields).toEqual([line, line, cart, [], [], [], []]);
  });

  test.concurrent("links and forms that come or change later get it too", async () => {
    const host = world.host();
    const does = `
      const settled = () => new Promise((resolve) => setTimeout(resolve, 20));
      const found = {};
      const box = document.createElement("div");
      box.innerHTML = '<p><a id="late" href="/late">late</a></p><form id="late-form" action="/cart/add"></form>';
      document.body.append(box);
      const late = document.getElementById("late"), form = document.getElementById("late-form");
      await settled();
      found.late = late.href; found.form = form.querySelectorAll("input").length;
      late.href = "/changed"; await settled();
      found.changed = late.href;
      form.innerHTML = "<button>Add</button>"; await settled();
      found.emptied = form.querySelectorAll("input").length;
      form.querySelector("input").value = "stale"; form.setAttribute("action", "/fr/cart/add"); await settled();
      found.restored = form.querySelector("input").value;
      const plain = document.createElement("form"); document.body.append(plain); await settled();
      plain.setAttribute("action", "/cart/add"); await settled();
      found.becomes = plain.querySelectorAll("input").length;
      return found;`;
    const { done } = await enter(world, host, { referrer: "none", inAddress: GOOD, does });
    const parameter = `?psicash=${encodeURIComponent(encode(GOOD))}`;
    expect(done).toEqual({ late: at(`/late${parameter}`, host), form: 1, changed: at(`/changed${parameter}`, host), emptied: 1, restored: encode(GOOD), becomes: 1 });
  });

  test.concurrent("10 000 links are each changed once, and then nothing more happens", async () => {
    const does = `
      let changes = 0;
      new MutationObserver((records) => { changes += records.length }).observe(document, { subtree: true, attributes: true, attributeFilter: ["href"] });
      const box = document.createElement("div");
      box.innerHTML = Array.from({ length: 10000 }, (_, index) => '<a href="/p/' + index + '">x</a>').join("");
      document.body.append(box);
      const all = () => [...box.children].every((link) => link.href.includes("psicash="));
      await kit.until(all);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return [all(), changes];`;
    const { done } = await enter(world, world.host(), { referrer: "none", inAddress: GOOD, does });
    expect(done).toEqual([true, 10_000]);
  });

  test.concurrent("a theme that puts its links back has the last word", async () => {
    const does = `
      let changes = 0;
      const link = document.getElementById("link");
      new MutationObserver(() => { changes++; link.setAttribute("href", "/mine"); }).observe(link, { attributes: true });
      link.setAttribute("href", "/mine");
      await new Promise((resolve) => setTimeout(resolve, 300));
      const before = changes;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return [link.getAttribute("href"), changes < 100, before === changes];`;
    // The observer of the theme hears its own changes too: it stops by itself once the link stays as it is.
    const own = does.replace('link.setAttribute("href", "/mine"); })', 'if (link.getAttribute("href") !== "/mine") link.setAttribute("href", "/mine"); })');
    expect((await enter(world, world.host(), { referrer: "none", inAddress: GOOD, does: own })).done).toEqual(["/mine", true, true]);
  });

  test.concurrent("the cover has no fault that axe finds", async () => {
    // Framework of the test page aside: the cover is what a person has before them.
    const does = `${AXE}; const { violations } = await axe.run("#psicash-page-blocker"); return violations.map(({ id, nodes }) => [id, nodes[0].html]);`;
    expect((await enter(world, world.host(), { referrer: "none", does })).done).toEqual([]);
  });
}

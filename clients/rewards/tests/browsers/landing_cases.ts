/** What may happen to a landing page beside the widget's table. */

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { encode, type Params } from "../../src/core/payload.ts";
import { land, NOW, type Report } from "./landing.ts";
import { TANK } from "./origin.ts";
import { IN_ADDRESS, secondsAgo } from "./widget_table.ts";
import { carrying, KEY, paramsIn, type World } from "./world.ts";

const GOOD = IN_ADDRESS["good"]!;
const PAID = [null, true, "200"];
const fresh = (tokens: string): Params => ({ timestamp: secondsAgo(5), tokens });

export function landingCases(world: World): void {
  test.concurrent("the vectors hold", async () => {
    const head = '<script src="/replay.js"></script>';
    const { done } = await land<{ done: { count: number; wrong: string[] } }>(world, world.host(), { head, does: 'return vectors.replay(await (await fetch("/vectors.json")).json())' });
    expect(done.wrong).toEqual([]);
    expect(done.count).toBeGreaterThan(150);
  });

  test.concurrent.each([
    [59_999, true],
    [60_000, false],
    [60_001, false],
    [0, true],
    [-1, false],
    [-86_400_000, false],
  ])("a package of %i ms ago counts: %s", async (age, counts) => {
    const inAddress = { timestamp: new Date(NOW - age).toISOString(), tokens: "good-b" };
    const { done, page } = await land(world, world.host(), { inAddress });
    expect(done.outcome).toEqual(counts ? PAID : ["no tokens available", false, ""]);
    expect(paramsIn(page)).toEqual(counts ? inAddress : undefined);
  });

  test.concurrent.each(["#", "#!", "#a=1&", "?a=1&"])("the package is found after %s, and taken out of the address", async (mark) => {
    const { done, address } = await land(world, world.host(), { inAddress: GOOD, mark });
    expect(done.outcome).toEqual(PAID);
    expect(address.replace(/^.*\/site\d+\//, "")).toBe({ "#": "", "#!": "", "#a=1&": "#a=1", "?a=1&": "?a=1" }[mark]);
  });

  test.concurrent("a page that wants its address as it was says so", async () => {
    const host = world.host();
    world.origin.keepers.push(host);
    const { done, address } = await land(world, host, { inAddress: GOOD, attributes: "data-keep-address" });
    expect(done.outcome).toEqual(PAID);
    expect(address).toContain(`?psicash=${encodeURIComponent(encode(GOOD))}`);
    // And even then the service is told neither query nor hash.
    expect(JSON.stringify(world.sent(host))).not.toContain("psicash=");
  });

  test.concurrent("equal timestamps: the address wins over what is stored", async () => {
    const inAddress = { timestamp: secondsAgo(30), tokens: "good-b" };
    const { page, widget } = await land(world, world.host(), { inAddress, stored: { page: { ...inAddress, tokens: "good-a" }, widget: { ...inAddress, tokens: "good-c" } } });
    expect([paramsIn(page), paramsIn(widget)]).toEqual([inAddress, inAddress]);
  });

  test.concurrent.each([
    ["throws", "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused') } })", {}],
    ["is missing", "Object.defineProperty(window, 'localStorage', { value: null })", {}],
    ["is full", "Storage.prototype.setItem = () => { throw new Error('full') }", {}],
    ["is corrupt", "", { page: '{"timestamp"', widget: "7" }],
  ])("storage that %s is done without", async (_, before, stored) => {
    expect((await land(world, world.host(), { inAddress: GOOD, before, stored })).done.outcome).toEqual(PAID);
    const host = world.host();
    world.origin.preludes.set(host, before);
    expect((await land(world, host, { inAddress: GOOD, stored })).done.outcome).toEqual(PAID);
  });

  test.concurrent.each([
    ["never answers", (host: string) => void world.origin.blocked.add(host), ""],
    ["is refused by the page's policy", () => {}, `<meta http-equiv="Content-Security-Policy" content="frame-src 'none'">`],
    ["is removed", () => {}, ""],
  ])("the callback comes in time where the widget %s", async (how, prepare, head) => {
    const host = world.host();
    prepare(host);
    const does = `${how === "is removed" ? "document.querySelector('iframe').remove();" : ""} return Promise.all([300, undefined].map((timeout) => kit.call("click-through", { timeout })))`;
    // The storage of a widget that cannot load is not looked at.
    const report = land<{ done: Report["done"][] }>(world, host, { inAddress: GOOD, head, does: `const calls = await (async () => { ${does} })(); kit.widgetStorage = () => ({}); return calls` });
    const { done } = await report;
    for (const [index, least] of [300, 1_000].entries()) {
      expect(done[index]!.outcome).toEqual(["timed out", false, "safety timeout hit"]);
      expect(done[index]!.ms).toBeGreaterThanOrEqual(least - 5);
      expect(done[index]!.ms).toBeLessThan(least + 2_000);
    }
  });

  test.concurrent("a service that hangs is a request error in time, and a late answer changes nothing", async () => {
    const does = `
      const calls = [];
      psicash("page-view", { timeout: 400 }, (...outcome) => calls.push(outcome));
      await new Promise((resolve) => setTimeout(resolve, 1200));
      return calls`;
    const { done } = await land<{ done: unknown[][] }>(world, world.host(), { inAddress: fresh("hang"), does });
    expect(done).toHaveLength(1);
    expect(done[0]!.slice(0, 2)).toEqual(expect.arrayContaining([false]));
    expect(["request error", "safety timeout"].some((words) => String(done[0]![2]).startsWith(words))).toBe(true);
  });

  test.concurrent.each([
    ["s429", [null, false, "429"], 1],
    ["s404", [null, false, "404"], 1],
    ["s402", [null, false, "402"], 1],
    ["s409", [null, false, "409"], 1],
    ["twice503", PAID, 3],
    ["cut", PAID, 2],
  ])("answers to tokens %s: %j", async (tokens, outcome, least) => {
    const host = world.host();
    const { done, page } = await land(world, host, { inAddress: fresh(tokens) });
    expect(done.outcome).toEqual(outcome);
    const sent = world.sent(host);
    // Browsers themselves send again on a connection that was cut.
    expect(sent.length).toBeGreaterThanOrEqual(least);
    if (tokens !== "cut") expect(sent.map(({ metadata }) => metadata.attempt)).toEqual(Array.from({ length: least }, (_, index) => index + 1));
    // An answer that says nothing of the tokens leaves them.
    expect(paramsIn(page)).toEqual(fresh(tokens));
  });

  test.concurrent("the service is asked as agreed", async () => {
    const host = world.host();
    const inAddress = { ...fresh("good-a,good-b"), metadata: { v: 1, name: "Jürgen 日本" } };
    const where = new URL(world.origin.at(host));
    const { done } = await land<{ done: Report["done"][] }>(world, host, {
      inAddress,
      does: `return [await kit.call("page-view"), await kit.call("click-through", { distinguisher: "${where.host}" }), await kit.call("page-view", { distinguisher: "b.example" }), await kit.call("page-view")]`,
    });
    expect(done.map(({ outcome }) => outcome)).toEqual([PAID, PAID, ["distinguisher is not of this page", false, ""], [null, false, "not yet allowed"]]);
    const asked = (action: string): string => `/v1/transaction?class=${action}&distinguisher=${encodeURIComponent(where.host)}`;
    const sent = world.sent(host);
    expect(sent.map(({ method, path, tokens }) => [method, path, tokens])).toEqual([
      ["POST", asked("page-view"), "good-a,good-b"],
      ["POST", asked("click-through"), "good-a,good-b"],
    ]);
    const { referrer, ...rest } = sent[0]!.metadata;
    expect(rest).toEqual({ v: 1, name: "Jürgen 日本", attempt: 1 });
    // Firefox tells the widget only the origin.
    expect([`${where.origin}/`, `${where.origin}/${host.split(".")[0]}/`]).toContain(referrer);
  });

  test.concurrent.each([
    ["put first where it is", 'psicash("init", hear("init"));', ["init ,true,"]],
    ["added where it is missing", "", []],
  ])("calls before the script is there: init is %s, once; a wrong call does not lose the others", async (_, init, outcomes) => {
    const before = `
      const heard = [], log = [];
      console.info = (line) => log.push(line);
      addEventListener("error", () => heard.push("error"));
      window.psicash = function () { (psicash.queue = psicash.queue || []).push(arguments) };
      const hear = (name) => (...outcome) => heard.push(name + " " + outcome.join());
      psicash("page-view", { timeout: 9000 }, hear("page-view"));
      psicash("dance", hear("dance"));
      ${init}
      psicash.queue.push(null);
      psicash("click-through", { timeout: 9000 }, hear("click-through"));`;
    const all = ["error", "error", "page-view ,true,200", "click-through ,true,200", ...outcomes];
    const does = `await kit.until(() => heard.length >= ${all.length}); return { heard, log }`;
    const { done } = await land<{ done: { heard: string[]; log: string[] } }>(world, world.host(), { inAddress: GOOD, before, does, query: "?debug=1" });
    expect([...done.heard].sort()).toEqual([...all].sort());
    const endings = done.log.map((line) => line.replace(/^psicash: ([a-z-]+):.*/, "$1"));
    expect(endings.indexOf("init")).toBe(endings.indexOf("ready") + 1);
    expect(endings.filter((name) => name === "init")).toHaveLength(1);
  });

  test.concurrent("an unknown action throws, a callback that throws is the page's own fault, and options may be left out", async () => {
    const does = `
      const found = {};
      try { psicash("dance") } catch (error) { found.threw = error.message.includes("page-view") }
      psicash("init", () => { throw new Error("ours") });
      found.second = await new Promise((resolve) => psicash("init", (...outcome) => resolve(outcome)));
      found.none = await new Promise((resolve) => psicash("init", null, (...outcome) => resolve(outcome)));
      psicash("init");
      found.actions = psicash.Action;
      return found`;
    const { done } = await land<{ done: unknown }>(world, world.host(), { inAddress: GOOD, does });
    expect(done).toEqual({ threw: true, second: [null, true, ""], none: [null, true, ""], actions: { Init: "init", PageView: "page-view", ClickThrough: "click-through" } });
  });

  test.concurrent("the snippet of the documentation is rewarded for a visit", async () => {
    const host = world.host();
    const page = readFileSync(new URL("../../../../docs/rewards.md", import.meta.url), "utf8");
    const snippet = /```html\n(<script>.*?psicash.*?)```/s.exec(page)![1]!.replaceAll("https://tank.example.org", world.origin.at(TANK));
    const id = host.split(".")[0]!;
    world.origin.page(id, `<!doctype html><title>Landing page</title><body><script src="/kit.js"></script>${snippet}<script>psicash("init", (...outcome) => kit.report(outcome))</script>`);
    const inAddress = { timestamp: new Date().toISOString(), tokens: "good-a" };
    expect(await world.visit(id, carrying(`${world.origin.at(host)}/${id}/`, inAddress))).toEqual([null, true, ""]);
    await expect.poll(() => world.sent(host).map(({ path }) => path.replace(/&.*/, ""))).toEqual(["/v1/transaction?class=page-view"]);
  });

  test.concurrent("a second tag of the script changes nothing", async () => {
    const does = `
      const first = psicash;
      await new Promise((resolve) => { const tag = document.createElement("script"); tag.src = document.querySelector("[src*=psicash]").src; tag.onload = resolve; document.body.append(tag) });
      return [first === psicash, document.querySelectorAll("iframe").length]`;
    expect((await land<{ done: unknown }>(world, world.host(), { inAddress: GOOD, does })).done).toEqual([true, 1]);
  });

  test.concurrent("development has storage of its own, and what the script's address says wins", async () => {
    const { page, widget, done } = await land(world, world.host(), { inAddress: { ...GOOD, dev: false }, query: "?dev=1" });
    expect(done.outcome).toEqual(PAID);
    expect(Object.keys(page)).toEqual(["PsiCash-Dev::v2::PsiCashParams"]);
    expect(Object.keys(widget).every((key) => key.startsWith("PsiCash-Dev::v2::"))).toBe(true);
    const off = await land(world, world.host(), { inAddress: { ...GOOD, dev: true }, query: "?dev=false" });
    expect(Object.keys(off.page)).toEqual([KEY]);
  });

  test.concurrent("debugging shows what happens, and no token", async () => {
    const does = `
      const words = [];
      console.info = (line) => words.push(line);
      await kit.call("page-view");
      const frame = document.querySelector("iframe");
      return [frame.src.includes("/v2/iframe.debug.html"), frame.style.display, words]`;
    const { done } = await land<{ done: [boolean, string, string[]] }>(world, world.host(), { inAddress: fresh("good-secret"), query: "?debug=1", does });
    expect(done.slice(0, 2)).toEqual([true, ""]);
    expect(done[2].join()).toContain("page-view: null, true, 200");
    expect(done[2].join()).not.toContain("good-secret");
  });

  test.concurrent("foreign pages post to page and widget, and nobody listens", async () => {
    const host = world.host();
    const forged = (outcome: object): string => JSON.stringify(JSON.stringify({ id: "1", ...outcome }));
    const spoiler = `
      const page = parent;
      let rounds = 0;
      const spoiling = setInterval(() => {
        if (++rounds > 100) clearInterval(spoiling);
        page.postMessage(${forged({ type: "page-view", error: null, success: true, detail: "forged" })}, "*");
        page.postMessage(${forged({ type: "page-view", error: null, success: false, detail: "401 access denied" })}, "*");
        page.postMessage(${forged({ type: "ready", error: "forged" })}, "*");
        for (let index = 0; index < page.frames.length; index++) if (page.frames[index] !== self) page.frames[index].postMessage(${forged({ type: "click-through", timeout: 1_000 })}, "*");
      }, 20);`;
    const id = `${host.split(".")[0]}-spoiler`;
    world.origin.page(id, `<!doctype html><script>${spoiler}</script>`);
    const does = `
      const frame = document.createElement("iframe");
      frame.src = "${world.origin.at("other.test")}/${id}/";
      await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame) });
      for (const data of ["", "{", "null", "[]", "7", { id: "1" }, '{"id":"2","type":"ready","error":"own window"}', "x".repeat(99999)]) postMessage(data, "*");
      const outcome = await kit.call("page-view");
      await new Promise((resolve) => setTimeout(resolve, 100));
      frame.remove();
      return outcome`;
    const { done, page } = await land(world, host, { inAddress: GOOD, does });
    expect(done.outcome).toEqual(PAID);
    expect(paramsIn(page)).toEqual(GOOD);
    expect(world.sent(host).map(({ path }) => path.replace(/&.*/, ""))).toEqual(["/v1/transaction?class=page-view"]);
  });

  test.concurrent("a page that tells no referrer works all the same; a widget that is told none says so", async () => {
    const head = '<meta name="referrer" content="no-referrer">';
    expect((await land(world, world.host(), { inAddress: GOOD, head })).done.outcome).toEqual(PAID);
    const does = `
      const frame = document.createElement("iframe");
      frame.referrerPolicy = "no-referrer";
      frame.src = "${world.origin.at(TANK)}/v2/iframe.html";
      const heard = new Promise((resolve) => addEventListener("message", ({ source, data }) => { if (source === frame.contentWindow) resolve(JSON.parse(data)) }));
      document.body.append(frame);
      return heard`;
    const { done } = await land<{ done: unknown }>(world, world.host(), { does });
    expect(done).toMatchObject({ type: "ready", error: "no usable referrer" });
  });

  test.concurrent("a landing page in a frame is refused", async () => {
    const host = world.host();
    const does = `
      if (window === top) { const frame = document.createElement("iframe"); frame.src = location.pathname; document.body.append(frame); await new Promise(() => {}); }
      psicash("init", () => { throw new Error("the page's own fault") });
      return [await kit.call("page-view"), document.querySelectorAll("iframe").length]`;
    const { done } = await land<{ done: [Report["done"], number] }>(world, host, { inAddress: GOOD, does });
    expect([done[0].outcome, done[1]]).toEqual([["landing page is in a frame", false, ""], 0]);
    expect(world.sent(host)).toEqual([]);
  });

  test.concurrent("two tabs: refused tokens do not take along what another tab has stored since", async () => {
    const host = world.host();
    const newer = { timestamp: secondsAgo(1), tokens: "good-b" };
    const does = `
      localStorage.setItem(${JSON.stringify(KEY)}, ${JSON.stringify(JSON.stringify(newer))});
      return kit.call("page-view")`;
    const { done, page, params } = await land(world, host, { inAddress: fresh("bad-a"), does });
    expect(done.outcome).toEqual([null, false, "401 access denied"]);
    expect(paramsIn(page)).toEqual(newer);
    expect(params).toEqual({ ...fresh("bad-a"), tokens: null });
  });

  test.concurrent("other tokens wipe what is ours in the widget's storage, and nothing else", async () => {
    const host = world.host();
    const does = `
      await kit.widgetStorage("${world.origin.at(TANK)}", { theirs: "1", "PsiCash::v2::nextAllowed::page-view::a.example": '"2099-01-01T00:00:00Z"' });
      return kit.call("init")`;
    await land(world, host, { inAddress: fresh("good-a"), does });
    const { widget } = await land(world, host, { inAddress: { timestamp: secondsAgo(2), tokens: "good-c" }, does: 'return kit.call("init")' });
    expect(widget).toEqual({ theirs: "1", [KEY]: JSON.stringify({ timestamp: secondsAgo(2), tokens: "good-c" }) });
  });

  test.concurrent("packages that are hostile are absent, and the page goes on", async () => {
    const host = world.host();
    for (const value of ["%zz", "%7B", "e30", "W10", "a".repeat(9_000), `%7B%22metadata%22:${"%7B%22a%22:".repeat(50)}1${"%7D".repeat(51)}`]) {
      const id = host.split(".")[0]!;
      const report = await land(world, host, { head: `<script>history.replaceState(null, "", "/${id}/?psicash=${value}")</script>` });
      expect(report.done.outcome, value.slice(0, 20)).toEqual(["no tokens available", false, ""]);
      expect(report.address).not.toContain("psicash");
    }
  });
}

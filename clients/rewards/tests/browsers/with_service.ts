/** The good paths, and refused tokens, with the built service in place of the tests' own. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, test } from "vitest";

import { TestService } from "../../../heartbeat/tests/service.ts";
import { decode, type Params } from "../../src/core/payload.ts";
import { earnAndBuy } from "./demo_pages.ts";
import { land, type Report } from "./landing.ts";
import { LOOPBACK, SERVICE } from "./origin.ts";
import { enter } from "./shop.ts";
import { paramsIn, type World } from "./world.ts";

const SERVE = fileURLToPath(new URL("../../../../deploy/demo/serve.py", import.meta.url));
const PAID = [null, true, "200"];

interface Person {
  account: string;
  key: string;
  earner: string;
  token: string;
  package: Params;
}

export function withService(world: World): void {
  const home = mkdtempSync(join(tmpdir(), "gastank-rewards-service-"));
  const tokens: string[] = [];
  let service: TestService;
  let site: string;
  let elsewhere: string;
  let shop: string;
  let demo: { child: ChildProcess; address: string };

  beforeAll(async () => {
    [site, elsewhere, shop] = [world.host(), world.host(), world.host()];
    const shops = join(home, "shops.secrets");
    writeFileSync(shops, "shop.test a-secret-of-the-shop\n", { mode: 0o600 });
    // By its address, since the demonstration's server knows no host of the tests.
    demo = await served(world.origin.at(LOOPBACK), shops);
    const reward = (name: string, seconds: number, page: string): string =>
      `[[reward]]\nclass = "${name}"\ndistinguisher = "${new URL(page).host}"\nreward_s = ${seconds}\n`;
    const rewards = [world.origin.at(site), demo.address].flatMap((page) => [reward("page-view", 60, page), reward("click-through", 30, page)]);
    const { origin } = new URL(demo.address);
    const settings = `[rewards]
origins = "${world.origin.at(shop)} ${origin}"
landing_pages = "${world.origin.at(site)} ${world.origin.at(elsewhere)} ${origin}"
products = "time-4h=14400"
shops_file = "${shops}"
test_orders = "credit"
`;
    writeFileSync(join(home, "config.toml"), settings + rewards.join(""));
    service = await TestService.start({ GASTANK_CONFIG: join(home, "config.toml") });
    world.origin.service = service.http;
  });

  afterAll(async () => {
    demo?.child.kill();
    await service?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  async function person(): Promise<Person> {
    const { account, key } = await service.account(0);
    const response = await fetch(`${service.http}/v1/account/earners`, { method: "POST", headers: { authorization: `Bearer ${key}` } });
    expect(response.status).toBe(201);
    const made = (await response.json()) as { earner_id: string; token: string; package: string };
    tokens.push(made.token);
    return { account, key, earner: made.earner_id, token: made.token, package: decode(made.package)! };
  }

  const remaining = async ({ account }: Person): Promise<number> => (await service.admin<{ remaining_s: number }>("GET", `/admin/accounts/${account}`)).remaining_s;

  async function revoke({ key, earner }: Person): Promise<void> {
    const response = await fetch(`${service.http}/v1/account/earners/${earner}`, { method: "DELETE", headers: { authorization: `Bearer ${key}` } });
    expect(response.status).toBe(204);
  }

  test("a person earns for a visit and for a click, once; another token of theirs earns no more", async () => {
    const ada = await person();
    const { done, widget } = await land<Report & { done: Report["done"][] }>(world, site, {
      service: SERVICE,
      inAddress: ada.package,
      does: 'return [await kit.call("page-view"), await kit.call("click-through", { timeout: 9000 }), await kit.call("page-view")]',
    });
    expect((done as unknown as Report["done"][]).map(({ outcome }) => outcome)).toEqual([PAID, PAID, [null, false, "not yet allowed"]]);
    expect(await remaining(ada)).toBe(90);
    const next = Object.entries(widget).filter(([key]) => key.startsWith("PsiCash::v2::nextAllowed::"));
    expect(next).toHaveLength(2);
    expect(Date.parse(JSON.parse(next[0]![1]) as string) - Date.now()).toBeGreaterThan(86_000_000);

    const response = await fetch(`${service.http}/v1/account/earners`, { method: "POST", headers: { authorization: `Bearer ${ada.key}` } });
    const other = decode(((await response.json()) as { package: string }).package)!;
    const again = await land(world, site, { service: SERVICE, inAddress: other });
    expect(again.done.outcome).toEqual([null, false, "429"]);
    expect(await remaining(ada)).toBe(90);
  });

  test("nothing is paid for elsewhere, and revoked tokens are refused and forgotten", async () => {
    const ada = await person();
    const unpaid = await land(world, elsewhere, { service: SERVICE, inAddress: ada.package });
    expect(unpaid.done.outcome).toEqual([null, false, "404"]);
    await revoke(ada);
    const { done, page, widget } = await land(world, site, { service: SERVICE, inAddress: { ...ada.package, timestamp: new Date().toISOString() } });
    expect(done.outcome).toEqual([null, false, "401 access denied"]);
    expect([paramsIn(page)?.tokens, paramsIn(widget)?.tokens]).toEqual([null, null]);
    expect(await remaining(ada)).toBe(0);
  });

  test("a shop opens for valid tokens, and for no others", async () => {
    const ada = await person();
    expect(await enter(world, shop, { service: SERVICE, referrer: "none", inAddress: ada.package })).toMatchObject({ refusal: null, canReach: true });
    const stranger = { timestamp: new Date().toISOString(), tokens: "gte_of_nobody" };
    expect((await enter(world, shop, { service: SERVICE, referrer: "none", inAddress: stranger })).refusal).toMatch(/no longer valid/);
  });

  test("the demonstration on an origin of its own: earn, buy, refund, and the tank has it each time", async () => {
    const ada = await person();
    await world.inTab(async (tab) => {
      const until = (words: string): Promise<unknown> =>
        tab.waitForFunction((words) => document.querySelector("#order-title")!.textContent!.startsWith(words), { polling: 20 }, words);
      await earnAndBuy(tab, demo.address, ada.token);
      await until("Paid");
      expect(await remaining(ada)).toBe(90 + 14_400);
      await tab.$eval("#refund", (button) => (button as HTMLElement).click());
      await until("Refunded");
      expect(await remaining(ada)).toBe(90);
    });
  });

  test("a page that is not in the list shows no widget", async () => {
    const does = 'kit.widgetStorage = () => ({}); return kit.call("click-through", { timeout: 500 })';
    const { done } = await land(world, world.host(), { service: SERVICE, inAddress: { tokens: "gte_of_nobody" }, does });
    expect(done.outcome).toEqual(["timed out", false, "safety timeout hit"]);
  });

  test("neither tokens nor packages are in the log", () => {
    expect(tokens.length).toBeGreaterThan(2);
    for (const secret of [...tokens, "psicash=", "eyJ"]) expect(service.log).not.toContain(secret);
  });
}

/** The demonstration's own server, and the address that it says it has. */
async function served(service: string, shops: string): Promise<{ child: ChildProcess; address: string }> {
  const child = spawn("python3", [SERVE, "--port", "0", "--shops", shops, service], { stdio: ["ignore", "pipe", "inherit"] });
  const address = await new Promise<string>((resolve, reject) => {
    child.stdout.once("data", (line) => resolve(String(line).trim()));
    child.once("exit", () => reject(new Error(`${SERVE} has ended`)));
  });
  return { child, address };
}

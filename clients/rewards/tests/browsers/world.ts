/** A real browser for which every `*.test` is this machine, a few of its tabs, and what tests do with them. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import puppeteer, { type Browser, type LaunchOptions, type Page } from "puppeteer-core";

import { encode, type Params } from "../../src/core/payload.ts";
import { Origin, type Sent, SERVICE, TANK } from "./origin.ts";

export type BrowserName = "chromium" | "firefox";

/** Hosts that tests may use: a site of its own for each, so that none finds what another has stored. */
const MOST_HOSTS = 400;
const TABS = 4;
export const KEY = "PsiCash::v2::PsiCashParams";

const hosts = Array.from({ length: MOST_HOSTS }, (_, index) => `site${index}.test`);
const LAUNCH: Record<BrowserName, LaunchOptions> = {
  chromium: {
    executablePath: "/usr/bin/chromium",
    pipe: true,
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"].concat(
      "--host-resolver-rules=MAP *.test 127.0.0.1",
      // A process for each of hundreds of sites takes longer than the tests.
      "--disable-site-isolation-trials",
      // Tabs of the tests are not in front.
      "--disable-background-timer-throttling",
      "--disable-backgrounding-occluded-windows",
      "--disable-renderer-backgrounding",
    ),
  },
  firefox: {
    executablePath: "/usr/bin/firefox-esr",
    browser: "firefox",
    extraPrefsFirefox: {
      "app.normandy.enabled": false,
      "network.captive-portal-service.enabled": false,
      "network.dns.localDomains": [TANK, SERVICE, "other.test", ...hosts].join(","),
      "dom.security.https_first": false,
      "fission.autostart": false,
      "dom.ipc.processCount": 2,
      "dom.ipc.processPrelaunch.enabled": false,
      "dom.min_background_timeout_value": 4,
      "dom.timeout.enable_budget_timer_throttling": false,
    },
  },
};

export interface Stored {
  page?: Params | string;
  widget?: Params | string;
}

export class World {
  origin!: Origin;
  browser!: Browser;
  name!: BrowserName;
  private readonly home = mkdtempSync(join(tmpdir(), "gastank-rewards-"));
  private readonly idle: Page[] = [];
  private readonly queue: ((tab: Page) => void)[] = [];
  private count = 0;

  async open(name: BrowserName): Promise<void> {
    this.name = name;
    this.origin = await Origin.start();
    // Root may not use a home that belongs to somebody else.
    const env = { ...process.env, HOME: this.home };
    this.browser = await puppeteer.launch({ headless: true, userDataDir: this.home, env, protocolTimeout: 60_000, ...LAUNCH[name] });
    for (let tab = 0; tab < TABS; tab++) this.idle.push(await this.browser.newPage());
  }

  async close(): Promise<void> {
    await this.browser?.close();
    this.origin?.stop();
    rmSync(this.home, { recursive: true, force: true });
  }

  /** A host that no test has used. */
  host(): string {
    const host = hosts[this.count++];
    if (host === undefined) throw new Error("more hosts than the browser knows: raise MOST_HOSTS");
    return host;
  }

  /** Opens an address in a tab and gives what its page reports. The page of `id` may be several navigations away. */
  async visit<T>(id: string, address: string): Promise<T> {
    return this.inTab(async (tab) => {
      const report = this.origin.report<T>(id);
      // A page that has gone on by itself is no failure; one that reports nothing is.
      void tab.goto(address, { waitUntil: "domcontentloaded" }).catch(() => {});
      return report;
    });
  }

  async inTab<T>(what: (tab: Page) => Promise<T>): Promise<T> {
    const tab = this.idle.pop() ?? (await new Promise<Page>((resolve) => this.queue.push(resolve)));
    try {
      return await what(tab);
    } finally {
      const next = this.queue.shift();
      if (next) next(tab);
      else this.idle.push(tab);
    }
  }

  /** The address of a page that fills storages and goes on to `to`, which then knows it as its referrer, or nothing. */
  seeded(host: string, id: string, stored: Stored, to: string, policy: "no-referrer" | "same-origin" = "same-origin"): string {
    const plan = { tank: this.origin.at(TANK), page: asStorage(stored.page), widget: asStorage(stored.widget), to };
    this.origin.page(`${id}-seed`, `<!doctype html><script src="/kit.js"></script><script>kit.seed(${JSON.stringify(plan)})</script>`);
    return `${this.origin.at(host)}/${id}-seed/?policy=${policy}`;
  }

  sent(host: string): Sent[] {
    return this.origin.sent.get(host) ?? [];
  }
}

function asStorage(stored: Params | string | undefined): Record<string, string> {
  return stored === undefined ? {} : { [KEY]: typeof stored === "string" ? stored : JSON.stringify(stored) };
}

/** An address with a package in it. */
export function carrying(address: string, params: Params | undefined, mark = "?"): string {
  return params ? `${address}${mark}psicash=${encodeURIComponent(encode(params))}` : address;
}

/** The package in what a page reports of its storage. */
export function paramsIn(dump: Record<string, string>): Params | undefined {
  return dump[KEY] === undefined ? undefined : (JSON.parse(dump[KEY]) as Params);
}

/** Everything that a person's path needs: the built service, an edge, an origin, and a browser with the built extension. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import puppeteer, { type Browser, type Page, type WebWorker } from "puppeteer-core";

import { TestService } from "../../../heartbeat/tests/service.ts";
import { type Certificate, TestOrigin, TestProxy } from "./proxy.ts";

const EXTENSION = fileURLToPath(new URL("../../dist/chromium", import.meta.url));
const WAIT_MS = 20_000;

export class World {
  service!: TestService;
  proxy!: TestProxy;
  origin!: TestOrigin;
  browser!: Browser;
  id!: string;
  readonly #home = mkdtempSync(join(tmpdir(), "gastank-extension-"));

  static async open(variables: Record<string, string> = {}): Promise<World> {
    const world = new World();
    const certificate = world.#certificate();
    world.proxy = await TestProxy.start(certificate);
    world.origin = await TestOrigin.start(certificate, () => world.proxy.ports);
    world.service = await TestService.start({
      GASTANK_HEARTBEAT_INTERVAL_MS: "1000",
      GASTANK_HEARTBEAT_TIMEOUT_MS: "20000",
      GASTANK_HEARTBEAT_LOW_CREDIT_S: "60",
      GASTANK_CLIENT_PROXY: `https://proxy.test:${world.proxy.port}`,
      GASTANK_CLIENT_SHOP_URL: `${world.origin.http}/shop`.replace("origin.test", "shop.test"),
      GASTANK_CLIENT_ACCOUNT_URL: `${world.origin.http}/account`.replace("origin.test", "account.test"),
      ...variables,
    });
    await world.proxy.ask(world.service);
    world.browser = await puppeteer.launch({
      executablePath: "/usr/bin/chromium",
      headless: true,
      pipe: true,
      enableExtensions: [EXTENSION],
      userDataDir: join(world.#home, "profile"),
      env: { ...process.env, HOME: world.#home, LANGUAGE: "en", LANG: "en_US.UTF-8" },
      args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"].concat(
        "--ignore-certificate-errors",
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        "--lang=en-US",
      ),
    });
    world.id = new URL((await world.#worker()).url()).hostname;
    return world;
  }

  async close(): Promise<void> {
    await this.browser?.close();
    await this.proxy?.stop();
    this.origin?.stop();
    await this.service?.stop();
    rmSync(this.#home, { recursive: true, force: true });
  }

  async #worker(): Promise<WebWorker> {
    const target = await this.browser.waitForTarget((one) => one.type() === "service_worker", { timeout: WAIT_MS });
    return (await target.worker())!;
  }

  /** Ends the background, as the browser does when it has been idle. */
  async stopWorker(): Promise<void> {
    await (await this.#worker()).close();
  }

  /** Runs in the background. */
  async inWorker<T>(what: () => T): Promise<Awaited<T>> {
    return (await this.#worker()).evaluate(what) as Promise<Awaited<T>>;
  }

  async popup(): Promise<Popup> {
    const page = await this.browser.newPage();
    await page.setViewport({ width: 340, height: 520 });
    await page.goto(`chrome-extension://${this.id}/popup.html`);
    await page.waitForSelector("#tank:not([hidden]), #sign-in:not([hidden])", { timeout: WAIT_MS });
    return new Popup(page);
  }

  /** A popup of somebody who has signed in with a new account. */
  async signedIn(creditS: number): Promise<Popup & { account: string; key: string }> {
    const { account, key } = await this.service.account(creditS);
    const popup = await this.popup();
    await popup.signIn(this.service.http, key);
    return Object.assign(popup, { account, key });
  }

  /** As it was before anybody had signed in. */
  async reset(): Promise<void> {
    for (const page of (await this.browser.pages()).slice(1)) await page.close();
    const popup = await this.popup();
    if (await popup.page.$("#tank:not([hidden])")) await popup.page.$eval("#sign-out", (button) => (button as HTMLElement).click());
    await popup.page.waitForSelector("#sign-in:not([hidden])", { timeout: WAIT_MS });
    await popup.page.evaluate(() => chrome.storage.local.clear());
    await popup.page.close();
    // Tunnels of one test would serve the next.
    this.proxy.cut();
    this.proxy.refusesAll = false;
    this.proxy.shown.length = 0;
    this.origin.authorizations.length = 0;
  }

  /** What a page says, or how its loading failed. */
  async load(url: string): Promise<string> {
    const page = await this.browser.newPage();
    try {
      await page.goto(url, { timeout: WAIT_MS });
      return (await page.evaluate(() => document.body.textContent)) ?? "";
    } catch (error) {
      return String(error);
    } finally {
      await page.close();
    }
  }

  async activations({ account }: { account: string }): Promise<number> {
    const { rows } = await this.service.admin<{ rows: unknown[] }>("GET", `/admin/audit?act=session_opened&account=${account}`);
    return rows.length;
  }

  /** Certificate of every name here, signed by itself. */
  #certificate(): Certificate {
    const [cert, key] = [join(this.#home, "cert.pem"), join(this.#home, "key.pem")];
    const about = ["-subj", "/CN=proxy.test", "-addext", "subjectAltName=DNS:proxy.test,DNS:origin.test", "-days", "2"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, ...about], { stdio: "ignore" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  }
}

export class Popup {
  constructor(readonly page: Page) {}

  async signIn(service: string, key: string): Promise<void> {
    await this.page.waitForSelector("#sign-in:not([hidden])");
    await this.page.$eval("#service", (input, value) => ((input as HTMLInputElement).value = value), service);
    await this.page.type("#key", key);
    await this.page.click("#sign-in button");
    await this.page.waitForSelector("#tank:not([hidden])", { timeout: WAIT_MS });
  }

  async switch(): Promise<void> {
    await this.page.$eval("#switch", (button) => (button as HTMLElement).click());
  }

  /** Waits for the state in words. */
  async until(state: string): Promise<void> {
    await this.page.waitForFunction((words) => document.querySelector("#state")!.textContent === words, { timeout: WAIT_MS, polling: 50 }, state);
  }

  async on(): Promise<void> {
    await this.switch();
    await this.until("On");
  }

  notice(): Promise<string> {
    return this.page.$eval("#notice", (notice) => ((notice as HTMLElement).hidden ? "" : notice.textContent!));
  }

  async untilNotice(words: RegExp): Promise<void> {
    await this.page.waitForFunction((source) => new RegExp(source).test(document.querySelector("#notice")!.textContent!), { timeout: WAIT_MS, polling: 50 }, words.source);
  }

  /** Seconds that it shows. */
  async seconds(): Promise<number> {
    const text = await this.page.$eval("#time", (time) => time.textContent!);
    const [minutes, seconds] = text.split(":").map(Number);
    return minutes! * (text.includes("h") ? 3_600 : 60) + (seconds ?? 0);
  }
}

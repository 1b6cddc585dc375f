// The built library in pages of Chromium and Firefox, against the built service: the vectors, then sessions over HTTP and over WebTransport.

import { readFile } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import puppeteer, { type Browser, type LaunchOptions, type Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { TestService } from "./service.ts";

const LAUNCH: Record<string, LaunchOptions> = {
  chromium: {
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  },
  firefox: {
    executablePath: "/usr/bin/firefox-esr",
    browser: "firefox",
    extraPrefsFirefox: { "app.normandy.enabled": false, "network.captive-portal-service.enabled": false },
  },
};
const FILES: Record<string, [string, string]> = {
  "/": ["page.html", "text/html"],
  "/library.js": ["../dist/index.js", "text/javascript"],
  "/vectors.json": ["../../../tests/vectors/heartbeat.json", "application/json"],
};

let pages: Server;
let origin: string;
let service: TestService;

beforeAll(async () => {
  pages = createServer((request, response) => {
    const [file, type] = FILES[request.url ?? ""] ?? [];
    if (!file) return void response.writeHead(404).end();
    void readFile(new URL(file, import.meta.url)).then((body) => response.writeHead(200, { "content-type": type }).end(body));
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
  service = await TestService.start({ GASTANK_HTTP_CORS_ORIGINS: origin, GASTANK_WEBTRANSPORT_ORIGINS: origin, GASTANK_HEARTBEAT_TIMEOUT_MS: "30000" });
});

afterAll(async () => {
  pages.close();
  await service.stop();
});

describe.each(Object.keys(LAUNCH))("in %s", (name) => {
  let profile: string;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    profile = mkdtempSync(join(tmpdir(), `gastank-${name}-`));
    // Root may not use a home that belongs to somebody else.
    const env = { ...process.env, HOME: profile };
    browser = await puppeteer.launch({ headless: true, userDataDir: profile, env, protocolTimeout: 60_000, ...LAUNCH[name] });
    page = await browser.newPage();
    await page.goto(origin);
    await page.waitForFunction("window.tried !== undefined");
  }, 90_000);

  afterAll(async () => {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true });
  });

  test("the vectors hold", async () => {
    const { built, read, refused, wrong } = (await page.evaluate("tried.vectors()")) as Record<string, number | string[]>;
    expect(wrong).toEqual([]);
    for (const count of [built, read, refused]) expect(count).toBeGreaterThan(20);
  });

  test.each(["http", "webtransport"])("a session lives over %s and is closed", async (carrier) => {
    const { key } = await service.account(100);
    const told = await page.evaluate(`tried.session(${JSON.stringify({ service: service.http, key, carrier })})`);
    expect(told).toMatchObject({ phase: "off", endReason: "deactivated", hadToken: true });
    const { acks, posts } = told as { acks: number; posts: number };
    expect(acks).toBeGreaterThanOrEqual(3);
    if (carrier === "http") expect(posts).toBeGreaterThanOrEqual(acks);
    else expect(posts).toBe(0);
  });
});

// Opens a page in a real browser and calls what heartbeats.js exports.
//
//   node drive.mjs chromium|firefox
//
// Says on a line of standard output which origin the page has: {"origin":…}. Then each line of standard input,
// {"call":NAME,"with":…}, is answered by a line {"ok":…} or {"failed":…}. Ends when standard input does.

import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import puppeteer from "puppeteer-core";

const CALL_MS = 60_000;
const FILES = { "/": ["page.html", "text/html"], "/heartbeats.js": ["heartbeats.js", "text/javascript"] };
const BROWSERS = {
  chromium: {
    executablePath: "/usr/bin/chromium",
    // The connections that a browser makes by itself go nowhere here, and slow it down.
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"].concat(
      "--disable-component-update",
      "--disable-sync",
    ),
  },
  firefox: {
    executablePath: "/usr/bin/firefox-esr",
    browser: "firefox",
    extraPrefsFirefox: { "app.normandy.enabled": false, "network.captive-portal-service.enabled": false },
  },
};

const name = process.argv[2];
const profile = mkdtempSync(join(tmpdir(), `gastank-${name}-`));
const server = createServer(async (request, response) => {
  const [file, type] = FILES[new URL(request.url, "http://page").pathname] ?? [];
  if (!file) return void response.writeHead(404).end();
  response.writeHead(200, { "content-type": type }).end(await readFile(new URL(file, import.meta.url)));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;
const browser = await puppeteer.launch({
  headless: true,
  userDataDir: profile,
  protocolTimeout: CALL_MS,
  // Root may not use a home that belongs to somebody else.
  env: { ...process.env, HOME: profile },
  ...BROWSERS[name],
});
try {
  const page = await browser.newPage();
  await page.goto(origin);
  await page.waitForFunction("window.heartbeats !== undefined");
  console.log(JSON.stringify({ origin, version: await browser.version() }));
  for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    const call = page.evaluate((asked) => window.heartbeats[asked.call](asked.with), asked);
    console.log(JSON.stringify(await call.then((ok) => ({ ok }), (error) => ({ failed: String(error) }))));
  }
} finally {
  await browser.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
}

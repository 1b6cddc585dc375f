// The browsers of these tests, each with a profile of its own.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import puppeteer from "puppeteer-core";

const BROWSERS = {
  chromium: { executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] },
  firefox: { executablePath: "/usr/bin/firefox-esr", browser: "firefox", extraPrefsFirefox: { "app.normandy.enabled": false, "network.captive-portal-service.enabled": false } },
};
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A browser by its name, and what ends it. */
export async function launch(name) {
  const profile = mkdtempSync(join(tmpdir(), `gastank-${name}-`));
  const browser = await puppeteer.launch({ headless: true, userDataDir: profile, env: { ...process.env, HOME: profile }, ...BROWSERS[name] });
  const end = async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { browser, end };
}

/** What axe-core finds on a page: the rule and the first element that breaks it. */
export async function violationsOn(page) {
  const { violations } = await page.evaluate(`(() => { ${AXE}; return axe.run(document, { resultTypes: ["violations"] }); })()`);
  return violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`);
}

/** How much wider than its window a page is. */
export const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

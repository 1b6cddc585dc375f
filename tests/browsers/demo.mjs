// What a person does with `gastank demo` in a real browser: earn on the landing page, buy in the shop, have it back, and watch the
// tank meanwhile.
//
//   node demo.mjs chromium|firefox NEWS SHOP [DIRECTORY]
//
// NEWS and SHOP are the links that the demo prints. Prints what was seen as one JSON document. With a directory, pictures of the
// pages are put there.

import { join } from "node:path";

import { launch, tooWide, violationsOn } from "./launch.mjs";

const [name, news, shop, pictures] = process.argv.slice(2);
const { browser, end } = await launch(name);
const seen = { violations: [], wide: [], errors: [], changes: [] };

const page = await browser.newPage();
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && !/favicon|status of 404/.test(message.text()) && seen.errors.push(message.text()));

const text = (selector) => page.$eval(selector, (element) => element.textContent.trim());
const until = (selector, words) =>
  page.waitForFunction((selector, words) => document.querySelector(selector)?.textContent.includes(words), { polling: 50, timeout: 20_000 }, selector, words);
const click = (selector) => page.$eval(selector, (element) => element.click());
const changed = async (words) => {
  await until(".tank .change", words);
  seen.changes.push(await text(".tank .change"));
};

/** Looks at the page in both themes, at 320 px and 1280 px. */
const look = async (place) => {
  for (const scheme of name === "chromium" ? ["light", "dark"] : []) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }]);
    for (const width of [320, 1280]) {
      await page.setViewport({ width, height: 800 });
      if (await tooWide(page) > 0) seen.wide.push(`${place} ${width}`);
      if (pictures) await page.screenshot({ path: join(pictures, `${place}-${scheme}-${width}.png`), fullPage: width === 320 });
    }
    for (const violation of await violationsOn(page)) seen.violations.push(`${place} ${scheme}: ${violation}`);
  }
};

try {
  await page.goto(news);
  await until("#figure", "Time added");
  await changed("+10 min");
  await click("#click");
  await until("#sponsor", "is in your tank");
  await changed("+5 min");
  seen.connected = await text(".tank .words");
  seen.address = page.url();
  await look("news");

  // The way to the shop that a person takes, and not the one that the terminal prints.
  await Promise.all([page.waitForNavigation(), click(".tank a:last-of-type")]);
  seen.shop = new URL(page.url()).origin === new URL(shop).origin;
  await page.waitForFunction(() => document.querySelector("article button") && !document.querySelector("#psicash-page-blocker"), { polling: 50 });
  await click("article button");
  await until("#order-title", "Paid");
  await changed("+4 h");
  await look("shop");
  await click("#refund");
  await until("#order-title", "Refunded");
  await changed("−4 h");
  console.log(JSON.stringify(seen));
} finally {
  await end();
}

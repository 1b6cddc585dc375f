// A person's way through the pages of the hub in a real browser, and what axe-core finds on each page.
//
//   node pages.mjs chromium|firefox SERVICE CLIENT [DIRECTORY]
//
// The service has the development provider, an account of `ada` whose tank drains, and a public client with this id that is sent
// back to /cb of this machine. Prints what was seen as one JSON document.
// With a directory, Chromium puts pictures of all pages there.

import { createServer } from "node:http";
import { join } from "node:path";

import { launch, tooWide, violationsOn } from "./launch.mjs";

const PAGES = ["/account", "/account/sessions", "/account/ledger"];

const [name, service, client, pictures] = process.argv.slice(2);
const { browser, end } = await launch(name);
const seen = { violations: [], wide: [], errors: [] };

/** What a page shows. */
const text = (page, selector) => page.$eval(selector, (element) => element.textContent.trim());
const until = (page, what, ...with_) => page.waitForFunction(what, { polling: 100, timeout: 20_000 }, ...with_);
/** Presses Enter and waits for the page that comes. */
const enter = (page) => Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);

/** Tabs to an element: a person without a mouse reaches it. */
const tabTo = async (page, selector) => {
  for (let presses = 0; presses < 40; presses += 1) {
    if (await page.evaluate((selector) => document.activeElement.matches(selector), selector)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`the keyboard does not reach ${selector}`);
};

const open = async (options = {}) => {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/favicon|status of 40[01]/.test(message.text()) && seen.errors.push(message.text()));
  if (options.scriptless) await page.setJavaScriptEnabled(false);
  return { context, page };
};

/** Types a name at the provider and waits until it has led on to where the person wanted. */
const typeName = async (page, who, path) => {
  await tabTo(page, "#name");
  await page.keyboard.type(who);
  await page.keyboard.press("Enter");
  await until(page, (path) => location.pathname === path && document.readyState === "complete", path);
};

const signIn = async (page, who) => {
  await page.goto(`${service}/account`);
  await typeName(page, who, "/account");
};

/** Signs in, watches the tank, switches it off, and signs out: by keyboard alone. */
const journey = async () => {
  const { context, page } = await open();
  await page.goto(`${service}/account/ledger`);
  seen.provider = new URL(page.url()).pathname;
  seen.banner = await text(page, ".banner");
  await typeName(page, "Ada", "/account/ledger");
  seen.next = new URL(page.url()).pathname;
  seen.entries = await page.$$eval("tbody tr", (rows) => rows.length);
  await page.goto(`${service}/account`);
  seen.who = await text(page, ".who span");
  seen.draining = await text(page, ".state");
  const first = await text(page, ".time");
  await until(page, (first) => document.querySelector(".time").textContent !== first, first);
  seen.moved = true;
  await tabTo(page, ".tank form button");
  await enter(page);
  seen.resting = await text(page, ".state");
  await page.goto(`${service}/account/sessions`);
  seen.this_one = await text(page, ".badge");
  seen.device = await text(page, ".rows strong");
  await tabTo(page, ".rows button");
  await enter(page);
  seen.signed_out = await text(page, "h1");
  await page.goto(`${service}/account`);
  seen.asked_again = new URL(page.url()).pathname;
  await context.close();
};

/** Signs in for a sibling service on another port, by way of the hub. */
const sibling = async () => {
  const server = createServer((request, response) => response.writeHead(200, { "content-type": "text/html" }).end("<title>Sibling</title>"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { context, page } = await open();
  const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
  const redirect = `http://127.0.0.1:${server.address().port}/cb`;
  const query = new URLSearchParams({ response_type: "code", client_id: client, redirect_uri: redirect, scope: "openid", state: "s", code_challenge: challenge, code_challenge_method: "S256" });
  const came = async () => {
    const url = new URL(page.url());
    return [url.origin + url.pathname === redirect, await page.title(), url.searchParams.get("code")?.length > 40, url.searchParams.get("iss")];
  };
  await page.goto(`${service}/oauth/authorize?${query}`);
  await typeName(page, "Eve", "/cb");
  seen.sibling = [await came()];
  // Who is asked to sign in anew though they are signed in goes the same way.
  await page.goto(`${service}/oauth/authorize?${query}&prompt=login`);
  await typeName(page, "Eve", "/cb");
  seen.sibling.push(await came());
  seen.left = await leave(page, query, redirect);
  await context.close();
  server.close();
  server.closeAllConnections();
};

/** Leaves a sibling service: with an ID token, without one, and by a form of the sibling that has one. */
const leave = async (page, query, redirect) => {
  const bye = new URL("/bye", redirect).href;
  const where = async () => {
    await until(page, () => location.pathname === "/bye" && document.readyState === "complete");
    return ["/bye", new URL(page.url()).searchParams.get("state")];
  };
  const idToken = async () => {
    const code = new URL(page.url()).searchParams.get("code");
    const form = { grant_type: "authorization_code", client_id: client, code, redirect_uri: redirect, code_verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" };
    const answer = await (await fetch(`${service}/oauth/token`, { method: "POST", body: new URLSearchParams(form) })).json();
    return answer.id_token;
  };
  const again = async () => {
    await page.goto(`${service}/oauth/authorize?${query}`);
    await typeName(page, "Eve", "/cb");
    return idToken();
  };
  const asking = (state, hint) => new URLSearchParams({ client_id: client, post_logout_redirect_uri: bye, state, ...(hint && { id_token_hint: hint }) });
  const seen = [];
  await page.goto(`${service}/oauth/logout?${asking("s", await idToken())}`);
  seen.push(await where());
  await again();
  await page.goto(`${service}/oauth/logout?${asking("t")}`);
  seen.push(await text(page, "h1"));
  await tabTo(page, "main form button");
  await page.keyboard.press("Enter");
  seen.push(await where());
  const hint = await again();
  await page.evaluate((action, fields) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action });
    for (const [name, value] of fields) form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
    document.body.append(form);
    form.submit();
  }, `${service}/oauth/logout`, [...asking("u", hint)]);
  seen.push(await where());
  return seen;
};

/** The same way without a script. */
const scriptless = async () => {
  const { context, page } = await open({ scriptless: true });
  await signIn(page, "Ada");
  seen.scriptless = [await text(page, ".time"), await text(page, ".state")];
  await Promise.all([page.waitForNavigation(), page.click(".who button")]);
  seen.scriptless.push(await text(page, "h1"));
  await context.close();
};

/** Looks at every page in both themes and languages, at 320 px and, for pictures, at 1280 px. */
const look = async () => {
  const { context, page } = await open();
  const picture = async (place, lang, scheme, width) => {
    if (!pictures) return;
    const file = `${place.replace("/account", "account").replaceAll("/", "-").replace(/^-/, "")}-${lang}-${scheme}-${width}.png`;
    await page.screenshot({ path: join(pictures, file), fullPage: true });
  };
  const visit = async (place, lang, scheme) => {
    for (const width of pictures ? [1280, 320] : [320]) {
      await page.setViewport({ width, height: 800, deviceScaleFactor: pictures ? 2 : 1 });
      await page.goto(`${service}${place}`);
      await until(page, () => document.readyState === "complete");
      await picture(place.split("?")[0], lang, scheme, width);
      const wide = await tooWide(page);
      if (wide > 0) seen.wide.push(`${place} ${lang} ${width}: ${wide} px`);
    }
    for (const violation of await violationsOn(page)) seen.violations.push(`${place} ${lang} ${scheme}: ${violation}`);
  };
  const everywhere = async (places) => {
    for (const lang of ["en", "de"]) {
      await page.setExtraHTTPHeaders({ "accept-language": lang });
      for (const scheme of ["light", "dark"]) {
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }]);
        for (const place of places) await visit(place, lang, scheme);
      }
    }
  };
  await everywhere(["/sign-in", "/sign-in/callback"]);
  await signIn(page, "Ada");
  await everywhere(PAGES);
  await context.close();
};

try {
  if (!pictures) {
    await journey();
    await sibling();
    // Firefox cannot be told over WebDriver BiDi to run no scripts.
    if (name === "chromium") await scriptless();
  }
  if (name === "chromium") await look();
  console.log(JSON.stringify(seen));
} finally {
  await end();
}

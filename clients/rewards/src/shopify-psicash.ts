/** The shop's script. There is no frame here: the shop itself keeps the package, and asks the service whether its tokens are good. */

import { exchange, isFramed, logger, ownScript, storage, timing, toUrl } from "./browser.ts";
import { packageIn, withoutPackage } from "./core/address.ts";
import { admit, choose } from "./core/choose.ts";
import { encode, isOn } from "./core/payload.ts";
import { headers, sendUntil, type Validation, validation } from "./core/request.ts";
import { Store } from "./core/store.ts";
import { Blocker } from "./shop/blocker.ts";
import { carryThroughPages } from "./shop/carry.ts";
import { mayEnter } from "./shop/gate.ts";

const VALIDATE_MS = 10_000;
const TEXTS = {
  checking: "One moment",
  launch: "Please open this shop from the app.",
  invalid: "Your access to this shop is no longer valid. Please open the shop again from the app.",
  refused: "The shop cannot check your purchase right now. Please load this page again in a moment.",
};
type Text = keyof typeof TEXTS;

void enter();

async function enter(): Promise<void> {
  const script = ownScript();
  const source = toUrl(script?.src ?? "");
  const text = (name: Text): string => script?.getAttribute(`data-text-${name}`) || TEXTS[name];
  const blocker = Blocker.over(document, text("checking"));
  const refuse = (name: Text): void => blocker.refuse(text(name));

  const now = Date.now();
  const inAddress = admit(packageIn(location), now);
  if (isFramed() || !mayEnter(document.referrer, location.origin, inAddress)) return refuse("launch");

  const flag = (name: "dev" | "debug"): boolean => {
    const own = source?.searchParams.get(name) ?? null;
    return own === null ? inAddress?.[name] === true : isOn(own);
  };
  const log = logger(flag("debug"));
  const store = new Store(storage, flag("dev"));
  const params = choose(inAddress, store.load());
  // A package that nothing keeps is only in the address: there it stays.
  if (!params || store.save(params)) hidePackage();
  if (!params?.tokens) return refuse("invalid");

  const { tokens } = params;
  const server = toUrl(script?.getAttribute("data-server") ?? "") ?? source;
  const here = new URL(location.href);
  if (!server || !headers(params, 1, here)) return refuse("invalid");
  const url = new URL("/v1/validate-tokens", server).href;
  const answer = await sendUntil((attempt, left) => exchange(url, { headers: headers(params, attempt, here) ?? {} }, left), VALIDATE_MS, timing);
  const found: Validation = validation(answer);
  log(`tokens are ${found}`);
  if (found === "invalid") store.forget(tokens);
  if (found === "invalid" || found === "denied") return refuse("invalid");
  if (found === "refused") return refuse("refused");
  if (found === "unreachable") console.warn(`psicash: nobody could say whether the tokens are good (${String(answer)}): the shop is open`);

  carryThroughPages(document, here, encode(params));
  blocker.lift();
}

function hidePackage(): void {
  const here = new URL(location.href);
  const bare = withoutPackage(here);
  if (bare.href !== here.href) history.replaceState(history.state, "", bare.href);
}

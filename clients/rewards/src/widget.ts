/** The widget's side: a frame on the service's origin. It has the storage that pages do not see, and sends the requests. */

import { exchange, isFramed, logger, storage, timing, toUrl } from "./browser.ts";
import { packageIn } from "./core/address.ts";
import { choose, instant, isReadable } from "./core/choose.ts";
import { isForPage } from "./core/distinguisher.ts";
import { ACCESS_DENIED, failed, type Message, type Outcome, read, READY, write } from "./core/messages.ts";
import type { Params } from "./core/payload.ts";
import { headers, nextAllowedIn, type Send, sendUntil, type Timing, transactionOutcome, transactionPath } from "./core/request.ts";
import { Store } from "./core/store.ts";

/** An answer is of use only while the page waits for it. */
const MARGIN_MS = 100;
const DEFAULT_MS = 2_000;
const MOST_MS = 600_000;

/** Everything that a widget needs from outside. */
export interface Surroundings {
  referrer: URL;
  handed: Params | undefined;
  store: Store;
  wall(): number;
  timing: Timing;
  /** Sends a POST to a path of the service. */
  post(path: string, headers: Record<string, string>, leftMs: number): ReturnType<Send>;
}

export class Widget {
  private params: Params | undefined;
  private readonly around: Surroundings;

  constructor(around: Surroundings) {
    this.around = around;
    const { handed, store } = around;
    // The page has looked at its age. What it has kept may be older by now.
    this.params = choose(handed && isReadable(handed) ? handed : undefined, store.load());
    if (this.params) store.save(this.params);
  }

  async answer({ type, timeout = DEFAULT_MS, payload }: Message): Promise<Outcome> {
    const { referrer, store, wall, timing, post } = this.around;
    const params = this.params;
    if (!params?.tokens) return failed("no tokens available");
    if (type === "init") return { error: null, success: true, detail: "" };
    const distinguisher = payload?.distinguisher || referrer.host;
    if (!isForPage(distinguisher, referrer)) return failed("distinguisher is not of this page");
    const next = instant(store.nextAllowed(type, distinguisher));
    if (next && wall() <= next.ms) return { error: null, success: false, detail: "not yet allowed" };

    if (!headers(params, 1, referrer)) return failed("tokens cannot be sent");
    const path = transactionPath(type, distinguisher);
    const budget = Math.min(timeout, MOST_MS) - Math.min(MARGIN_MS, timeout / 10);
    const answer = await sendUntil((attempt, left) => post(path, headers(params, attempt, referrer) ?? {}, left), budget, timing);
    const outcome = transactionOutcome(answer);
    if (outcome.detail === ACCESS_DENIED) this.forget(params.tokens);
    const again = typeof answer === "string" ? undefined : nextAllowedIn(answer);
    // A refusal for the cooldown says when it ends, too.
    if (again && instant(again) && ["200", "429"].includes(outcome.detail)) store.keepNextAllowed(type, distinguisher, again);
    return outcome;
  }

  private forget(tokens: string): void {
    this.around.store.forget(tokens);
    if (this.params?.tokens === tokens) this.params = { ...this.params, tokens: null };
  }
}

export function startWidget(): void {
  const handed = packageIn(location);
  const log = logger(handed?.debug === true);
  const tell = (message: Message, to: string): void => window.parent.postMessage(write(message), to);
  const referrer = pageAround();
  if (!referrer) {
    log("no usable referrer");
    // Nobody knows who hears this, and nothing in it is secret.
    return tell({ id: "", type: READY, ...failed("no usable referrer") }, "*");
  }
  const widget = new Widget({
    referrer,
    handed,
    store: new Store(storage, handed?.dev),
    wall: () => Date.now(),
    timing,
    // A click leads away from the page: the request may outlive it.
    post: (path, headers, left) => exchange(path, { method: "POST", headers, keepalive: true }, left),
  });
  addEventListener("message", ({ source, origin, data }) => {
    const message = source === window.parent && origin === referrer.origin ? read(data) : undefined;
    if (!message || message.type === READY) return;
    const { id, type } = message;
    void widget.answer(message).then((outcome) => {
      log(`${type}: ${String(outcome.error)}, ${outcome.success}, ${outcome.detail}`);
      tell({ id, type, ...outcome }, referrer.origin);
    });
  });
  log(`ready for ${referrer.origin}`);
  tell({ id: "", type: READY }, referrer.origin);
}

/** The page that this frame is in, if the browser says so in both ways that it has, and if that page is in no frame itself. */
function pageAround(): URL | undefined {
  const page = toUrl(document.referrer);
  if (!page || !isFramed() || window.parent !== window.top || !/^https?:$/.test(page.protocol)) return undefined;
  const { ancestorOrigins } = location as { ancestorOrigins?: DOMStringList };
  return !ancestorOrigins || (ancestorOrigins.length === 1 && ancestorOrigins[0] === page.origin) ? page : undefined;
}

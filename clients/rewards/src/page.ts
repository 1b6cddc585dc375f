/**
 * The landing page's side: it keeps the package for the widget, since browsers may refuse storage in a frame of another site,
 * and posts what the page asks to the widget. What the widget knows never comes back, only how an action ended.
 */

import { isFramed, logger, storage, timing } from "./browser.ts";
import { packageIn, PARAMETER, withoutPackage } from "./core/address.ts";
import { admit, choose } from "./core/choose.ts";
import { ACCESS_DENIED, ACTIONS, type Action, failed, isAction, isPositive, type Outcome, read, READY, write } from "./core/messages.ts";
import { encode, isOn, type Params } from "./core/payload.ts";
import { Store } from "./core/store.ts";

export type Callback = (error: string | null, success: boolean, detail: string) => void;

export interface Options {
  distinguisher?: string;
  /** Milliseconds until the callback is called, whatever happens. */
  timeout?: number;
}

interface Psicash {
  (action: Action, callback?: Callback): void;
  (action: Action, options?: Options | null, callback?: Callback): void;
  Action: { Init: "init"; PageView: "page-view"; ClickThrough: "click-through" };
  /** Calls made before the script was there. */
  queue?: ArrayLike<unknown>[];
}

declare global {
  interface Window {
    psicash?: Psicash;
    _psicash?: { params(): Params | undefined };
  }
}

const TIMEOUT_MS: Record<Action, number> = { init: 10_000, "page-view": 10_000, "click-through": 1_000 };
const MOST_TIMEOUT_MS = 600_000;

export function startPage(source: URL, script: HTMLScriptElement): void {
  const page = isFramed() ? new Page() : Page.open(source, script);
  const queue = Array.from(window.psicash?.queue ?? []);
  const psicash = ((action: unknown, ...rest: unknown[]) => page.call(action, rest)) as Psicash;
  psicash.Action = { Init: "init", PageView: "page-view", ClickThrough: "click-through" };
  window.psicash = psicash;
  window._psicash = { params: () => page.params && { ...page.params } };

  const isInit = (call: ArrayLike<unknown> | null): boolean => call?.[0] === ACTIONS[0];
  for (const call of [...queue.filter(isInit), ...queue.filter((call) => !isInit(call))]) {
    try {
      page.call(call[0], Array.prototype.slice.call(call, 1));
    } catch (error) {
      // The page hears of it as of any fault of its own, and later calls are made.
      setTimeout(() => {
        throw error;
      });
    }
  }
}

class Page {
  params: Params | undefined;
  private store: Store | undefined;
  private frame: HTMLIFrameElement | undefined;
  private origin = "";
  private isReady = false;
  private hasInit = false;
  /** Why nothing will ever be answered. */
  private refusal: string | undefined = "landing page is in a frame";
  private count = 0;
  /** By message id, what becomes of the answer. */
  private readonly waiting = new Map<string, (outcome: Outcome) => void>();
  /** What to post once the widget is ready. */
  private outbox: (() => void)[] = [];
  private log = logger(false);

  static open(source: URL, script: HTMLScriptElement): Page {
    const page = new Page();
    page.refusal = undefined;
    const inAddress = admit(packageIn(location), Date.now());
    // What the script's own address says wins.
    const flag = (name: "dev" | "debug"): boolean | undefined => {
      const own = source.searchParams.get(name);
      return own === null ? inAddress?.[name] : isOn(own);
    };
    const dev = flag("dev");
    page.store = new Store(storage, dev);
    page.params = choose(inAddress, page.store.load());
    if (page.params) page.store.save(page.params);
    const debug = flag("debug") ?? page.params?.debug;
    page.log = logger(debug === true);

    // Before the frame is made: its request names this address.
    if (!script.hasAttribute("data-keep-address")) hidePackage();
    const handed: Params = { ...page.params, ...(dev !== undefined && { dev }), ...(debug !== undefined && { debug }) };
    page.openFrame(new URL(debug ? "iframe.debug.html" : "iframe.html", source), handed, debug === true);
    return page;
  }

  call(action: unknown, rest: unknown[]): void {
    if (!isAction(action)) throw new Error(`psicash: unknown action ${String(action)}: use one of ${ACTIONS.join(", ")}`);
    const callback = rest.find((argument) => typeof argument === "function") as Callback | undefined;
    const options = (typeof rest[0] === "object" && rest[0]) as Options | null | false;
    if (action !== "init" && !this.hasInit) this.send("init", {}, () => {});
    this.send(action, options || {}, callback ?? (() => {}));
  }

  private send(action: Action, options: Options, callback: Callback): void {
    if (action === "init") this.hasInit = true;
    const timeout = Math.min(isPositive(options.timeout) ? options.timeout : TIMEOUT_MS[action], MOST_TIMEOUT_MS);
    const id = String(++this.count);
    const deadline = timing.now() + timeout;
    const timer = setTimeout(() => this.settle(id, { error: "timed out", success: false, detail: "safety timeout hit" }), timeout);
    this.waiting.set(id, ({ error, success, detail }) => {
      clearTimeout(timer);
      this.log(`${action}: ${String(error)}, ${success}, ${detail}`);
      callback(error, success, detail);
    });
    const { distinguisher } = options;
    const post = (): void => {
      const message = { id, type: action, timeout: deadline - timing.now(), payload: distinguisher ? { distinguisher } : {} };
      this.frame?.contentWindow?.postMessage(write(message), this.origin);
    };
    if (this.refusal !== undefined) this.refuse();
    else if (this.isReady) post();
    else this.outbox.push(post);
  }

  private openFrame(url: URL, handed: Params, isShown: boolean): void {
    this.origin = url.origin;
    const frame = (this.frame = document.createElement("iframe"));
    // The package is no part of the request.
    if (Object.keys(handed).length > 0) url.hash = `${PARAMETER}=${encodeURIComponent(encode(handed))}`;
    frame.referrerPolicy = "no-referrer-when-downgrade";
    frame.title = "Time credit";
    if (!isShown) {
      frame.style.display = "none";
      frame.setAttribute("aria-hidden", "true");
    }
    frame.src = url.href;
    addEventListener("message", (event) => this.receive(event));
    (document.body ?? document.documentElement).append(frame);
  }

  private receive({ source, origin, data }: MessageEvent): void {
    const { id, type, error = null, success = false, detail = "" } = (source === this.frame?.contentWindow && origin === this.origin && read(data)) || {};
    if (id === undefined) return;
    if (type === READY) {
      this.log(`ready: ${String(error)}`);
      this.isReady = true;
      if (error !== null) {
        this.refusal = error;
        this.refuse();
      }
      const outbox = this.outbox;
      this.outbox = [];
      if (error === null) for (const post of outbox) post();
      return;
    }
    if (detail === ACCESS_DENIED) this.forgetTokens();
    this.settle(id, { error, success, detail });
  }

  /** Whichever tokens were refused: so the page learns nothing of those that the widget alone has. */
  private forgetTokens(): void {
    if (!this.params?.tokens) return;
    this.store?.forget(this.params.tokens);
    this.params = { ...this.params, tokens: null };
  }

  /** In a moment, as every other callback. */
  private refuse(): void {
    for (const id of Array.from(this.waiting.keys())) setTimeout(() => this.settle(id, failed(this.refusal ?? "")));
  }

  private settle(id: string, outcome: Outcome): void {
    const settle = this.waiting.get(id);
    this.waiting.delete(id);
    settle?.(outcome);
  }
}

/** So that tokens stand in no Referer, no bookmark and no copied address. */
function hidePackage(): void {
  const here = new URL(location.href);
  const bare = withoutPackage(here);
  if (bare.href === here.href) return;
  try {
    history.replaceState(history.state, "", bare.href);
  } catch {
    // An address that cannot be changed, as in a document of another origin's making.
  }
}

/** The popup: shows what the background says, and asks it for what the person wants. */

import { byId, fillTexts, text, timeLeft } from "../shared/text.ts";
import type { Request, SignInAnswer, View } from "../shared/view.ts";

const TICK_MS = 500;
/** A second click of a double click is no second wish. */
const DOUBLE_CLICK_MS = 500;

let view: View | undefined;
let came = 0;
let pressed = { at: -Infinity, on: false };

fillTexts();
const port = chrome.runtime.connect({ name: "popup" });
port.onMessage.addListener((next: View) => {
  view = next;
  came = performance.now();
  show(next);
});
setInterval(showTime, TICK_MS);

byId("options").addEventListener("click", () => void chrome.runtime.openOptionsPage());
byId("switch").addEventListener("click", press);
byId("sign-out").addEventListener("click", () => void ask({ ask: "sign_out" }));
byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  void signIn();
});

function press(): void {
  const [at, on] = [performance.now(), byId("switch").getAttribute("aria-checked") !== "true"];
  if (on !== pressed.on && at - pressed.at < DOUBLE_CLICK_MS) return;
  pressed = { at, on };
  void ask({ ask: "switch", on });
}

async function ask<T>(request: Request): Promise<T> {
  return chrome.runtime.sendMessage<Request, T>(request);
}

async function signIn(): Promise<void> {
  const [service, key] = [byId<HTMLInputElement>("service"), byId<HTMLInputElement>("key")];
  const button = document.querySelector<HTMLButtonElement>("#sign-in button")!;
  button.disabled = true;
  const { problem } = await ask<SignInAnswer>({ ask: "sign_in", service: service.value, key: key.value });
  button.disabled = false;
  byId("problem").hidden = problem === undefined;
  byId("problem").textContent = problem ? text(problem) : "";
  if (problem === undefined) key.value = "";
  else (problem === "bad_service" ? service : key).focus();
}

function show(next: View): void {
  const signedOut = next.state === "signed_out";
  byId("tank").hidden = signedOut;
  byId("sign-in").hidden = !signedOut;
  if (signedOut) {
    const service = byId<HTMLInputElement>("service");
    if (!service.value) service.value = next.service ?? "";
    service.readOnly = next.serviceManaged;
    return;
  }
  byId("switch").setAttribute("aria-checked", String(next.wanted));
  byId("state").textContent = text(`state_${next.state}`);
  byId("notice").hidden = next.notice === undefined;
  byId("notice").textContent = next.notice ? text(next.notice) : "";
  const gauge = document.querySelector<HTMLElement>(".gauge")!;
  gauge.dataset["state"] = next.state;
  gauge.dataset["low"] = String(next.lowCredit);
  for (const [id, url] of [["shop", next.shopUrl], ["earn", next.earnUrl], ["account", next.accountUrl]] as const) {
    const link = byId<HTMLAnchorElement>(id);
    link.hidden = url === undefined;
    if (url) link.href = url;
  }
  byId("shop").classList.toggle("main", next.lowCredit || next.notice === "end_exhausted");
  showTime();
}

function showTime(): void {
  if (!view || view.state === "signed_out") return;
  const { remainingMs, draining, fullMs } = view;
  // What is infinite comes as nothing in a message.
  const known = remainingMs !== undefined && remainingMs !== null;
  const left = known ? Math.max(0, remainingMs - (draining ? performance.now() - came : 0)) : undefined;
  byId("time").textContent = left === undefined ? "–" : timeLeft(left);
  byId("time-label").textContent = left === undefined ? "" : text("left");
  // Its round end would be a dot where there is nothing.
  byId("level").style.visibility = left ? "visible" : "hidden";
  byId("level").style.strokeDasharray = `${left === undefined ? 0 : Math.min(100, (left / fullMs) * 100)} 100`;
}

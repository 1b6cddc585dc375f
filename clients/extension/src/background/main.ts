/** The background: a session, the proxy that follows it, and the popups that look at it. It may be stopped at any time, and goes on from what is kept. */

import { HeartbeatClient, ProxyError, StateBit, type Status, stateBits } from "@gastank/heartbeat";

import type { Effective, Request, SignInAnswer, View } from "../shared/view.ts";
import { type Facts, bypassList, failureNotice, proxyMode, serviceOf, viewOf } from "./core.ts";
import type { ProxyOrder } from "./proxy/control.ts";
import { proxyControl } from "./proxy/chosen.ts";
import { fetchBalance, fetchDocument } from "./service.ts";
import { type Kept, keep, loadKept, loadSettings } from "./store.ts";

const BEAT_ALARM = "beat";
const BEAT_MINUTES = 0.5;
const OFF: Status = {
  phase: "off",
  contact: "valid",
  silences: 0,
  remainingMs: undefined,
  lowCredit: false,
  superseded: false,
  endReason: undefined,
  failure: undefined,
};

let settings: Effective;
let kept: Kept = {};
let client: HeartbeatClient | undefined;
let proxyTaken = false;
let lastError: ProxyError = ProxyError.None;
const popups = new Set<chrome.runtime.Port>();

// Listeners are registered before anything is waited for: an event that woke this program is told only to those.
const ready = start();
const proxy = proxyControl({
  ready,
  order: () => order(),
  refused: () => problem(ProxyError.Status407),
  failed: () => problem(ProxyError.Connect),
});

chrome.alarms.onAlarm.addListener(({ name }) => {
  if (name === BEAT_ALARM) void ready.then(() => client?.wake());
});
chrome.runtime.onConnect.addListener((port) => {
  popups.add(port);
  port.onDisconnect.addListener(() => popups.delete(port));
  void ready.then(async () => {
    post(port);
    await refresh();
  });
});
chrome.runtime.onMessage.addListener((request: Request, sender, answer) => {
  // Pages cannot reach this; another extension's message would come by another event.
  if (sender.id !== chrome.runtime.id) return false;
  void ready.then(() => handle(request)).then(answer);
  return true;
});
chrome.storage.onChanged.addListener((_changes, area) => {
  if (area === "local" || area === "managed") void ready.then(settingsChanged);
});
globalThis.addEventListener?.("online", () => void ready.then(() => client?.beat()));
globalThis.addEventListener?.("offline", () => void ready.then(update));

async function start(): Promise<void> {
  [settings, kept] = await Promise.all([loadSettings(), loadKept()]);
  openClient();
  void update();
}

function openClient(): void {
  client?.close();
  client = undefined;
  const { service } = settings;
  if (!service || !kept.key) return;
  client = new HeartbeatClient({
    service,
    carriers: ["http"],
    credential: () => kept.key!,
    restore: kept.snapshot,
    onSnapshot: (snapshot) => {
      kept.snapshot = snapshot;
      void keep({ snapshot });
    },
    onStatus: () => void update(),
  });
}

async function handle(request: Request): Promise<View | SignInAnswer> {
  switch (request.ask) {
    case "view":
      break;
    case "switch":
      await switchTo(request.on);
      break;
    case "sign_in":
      return signIn(request.service, request.key);
    case "sign_out":
      await switchTo(false);
      client?.close();
      client = undefined;
      await remember({ key: undefined, snapshot: undefined, balanceMs: undefined });
      await update();
      break;
  }
  return view();
}

async function switchTo(on: boolean): Promise<void> {
  if (!client || on === (kept.wanted ?? false)) return;
  kept.wanted = on;
  if (on) {
    lastError = ProxyError.None;
    client.activate();
  } else {
    client.stop();
  }
  await keep({ wanted: on });
  if (on) await learn();
  await update();
}

async function signIn(serviceText: string, keyText: string): Promise<SignInAnswer> {
  const service = settings.managed.has("service") ? settings.service : serviceOf(serviceText.trim());
  if (!service) return { problem: "bad_service" };
  const key = keyText.trim();
  if (!/^[!-~]{8,4096}$/.test(key)) return { problem: "bad_key" };
  const told = await fetchBalance(service, key);
  if ("status" in told) return { problem: failureNotice(told.status, "") };
  await chrome.storage.local.set({ service });
  settings = await loadSettings();
  await remember({ key, balanceMs: told.balanceMs, snapshot: undefined, wanted: false });
  openClient();
  await learn();
  await update();
  return { problem: undefined };
}

/** Asks the service what it tells its clients. */
async function learn(): Promise<void> {
  const document = settings.service ? await fetchDocument(settings.service) : undefined;
  if (document) await remember({ document });
}

/** What a person who opens the popup wants to know. */
async function refresh(): Promise<void> {
  if (!settings.service || !kept.key) return;
  if (client?.status.phase === "off") {
    const told = await fetchBalance(settings.service, kept.key);
    if ("balanceMs" in told) await remember({ balanceMs: told.balanceMs });
  }
  if (!kept.document) await learn();
  await update();
}

async function settingsChanged(): Promise<void> {
  const before = settings.service;
  settings = await loadSettings();
  if (settings.service !== before) openClient();
  await update();
}

async function remember(changes: Kept): Promise<void> {
  kept = { ...kept, ...changes };
  await keep(changes);
}

/** Our proxy refused, or is away. An early beat tells what the service thinks; nothing is ever activated for it. */
function problem(error: ProxyError): void {
  lastError = error;
  client?.beat();
}

function order(): ProxyOrder {
  const status = client?.status ?? OFF;
  const { document } = kept;
  return {
    mode: proxyMode({ wanted: kept.wanted ?? false, status, settings }),
    place: document?.proxy,
    token: client?.token,
    bypass: document ? bypassList(settings.service, document, settings.exceptions) : [],
  };
}

/** Brings the proxy, the alarm, the icon and the popups up to date. */
async function update(): Promise<void> {
  const { status } = client ?? { status: OFF };
  // The session is over. With `block` the switch stays on, and nothing gets out, until the person decides.
  if (status.phase === "off" && kept.wanted && settings.onLoss === "direct") await remember({ wanted: false });
  const now = order();
  setState(now);
  await proxy.apply(now);
  proxyTaken = now.mode !== "off" && (await proxy.isTaken());
  if (status.phase === "off") await chrome.alarms.clear(BEAT_ALARM);
  else if (!(await chrome.alarms.get(BEAT_ALARM))) await chrome.alarms.create(BEAT_ALARM, { periodInMinutes: BEAT_MINUTES });
  const seen = view();
  await showIcon(seen);
  for (const port of popups) post(port);
}

let bits = -1;

function setState({ mode }: ProxyOrder): void {
  const next = stateBits(mode === "on" ? StateBit.ProxyOn : 0, lastError);
  if (next === bits) return;
  bits = next;
  client?.setState(next);
}

function view(): View {
  const facts: Facts = {
    signedIn: kept.key !== undefined,
    wanted: kept.wanted ?? false,
    status: client?.status ?? OFF,
    online: navigator.onLine,
    proxyTaken,
    balanceMs: kept.balanceMs,
    settings,
    document: kept.document,
  };
  return viewOf(facts);
}

function post(port: chrome.runtime.Port): void {
  port.postMessage(view());
}

async function showIcon({ state, lowCredit }: View): Promise<void> {
  const kind = state === "on" || state === "unknown" ? "on" : "off";
  const path = FIREFOX ? `icons/${kind}.svg` : { 16: `icons/${kind}-16.png`, 32: `icons/${kind}-32.png` };
  const alarming = state === "lost" || state === "blocked" || state === "offline" || state === "unknown";
  await Promise.all([
    chrome.action.setIcon({ path } as chrome.action.TabIconDetails),
    chrome.action.setBadgeText({ text: alarming || lowCredit ? "!" : "" }),
    chrome.action.setBadgeBackgroundColor({ color: alarming ? "#b45309" : "#b91c1c" }),
    chrome.action.setTitle({ title: `${chrome.i18n.getMessage("name")} — ${chrome.i18n.getMessage(`state_${state}`)}` }),
  ]);
}

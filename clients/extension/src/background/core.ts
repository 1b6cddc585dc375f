/** Decisions, without any browser: what is shown, what the proxy does, and which hosts go without it. */

import type { Status } from "@gastank/heartbeat";

import type { Effective, OnLoss, StateName, View } from "../shared/view.ts";

/** `block`: traffic is sent to the proxy without a token, so that nothing gets out. */
export type ProxyMode = "off" | "on" | "block";

/** What `GET /v1/client` told, checked. */
export interface ServiceDocument {
  readonly proxy: ProxyPlace | undefined;
  readonly bypass: readonly string[];
  readonly shopUrl: string | undefined;
  readonly earnUrl: string | undefined;
  readonly accountUrl: string | undefined;
  readonly issuers: readonly string[];
}

export interface ProxyPlace {
  readonly type: "https" | "http";
  readonly host: string;
  readonly port: number;
}

export interface Facts {
  readonly signedIn: boolean;
  /** The person's switch. */
  readonly wanted: boolean;
  readonly status: Status;
  readonly online: boolean;
  /** Whether somebody else holds the proxy setting. */
  readonly proxyTaken: boolean;
  /** What the account held when it was last asked, while there is no session. */
  readonly balanceMs: number | undefined;
  readonly settings: Effective;
  readonly document: ServiceDocument | undefined;
}

const FULL_MS = 3_600_000;
const MOST_EXCEPTIONS = 200;
/** Never through the proxy: the machine itself and the networks around it. */
const LOCAL = ["localhost", "127.0.0.0/8", "[::1]", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10", "fc00::/7"];
/** Where browsers and systems look for captive portals. */
const PORTAL_TESTS = ["detectportal.firefox.com", "connectivitycheck.gstatic.com", "captive.apple.com", "www.msftconnecttest.com", "nmcheck.gnome.org"];

/** What the proxy is to do. */
export function proxyMode({ wanted, status, settings }: Pick<Facts, "wanted" | "status" | "settings">): ProxyMode {
  if (!wanted) return "off";
  if (status.phase === "on" && status.contact !== "lost") return "on";
  return whenLost(settings.onLoss);
}

function whenLost(onLoss: OnLoss): ProxyMode {
  return onLoss === "block" ? "block" : "off";
}

export function viewOf(facts: Facts): View {
  const { status, settings, document } = facts;
  const state = stateOf(facts);
  const remainingMs = status.remainingMs ?? facts.balanceMs;
  return {
    state,
    wanted: facts.wanted,
    notice: noticeOf(facts, state),
    remainingMs,
    draining: status.phase === "on",
    lowCredit: status.lowCredit,
    fullMs: Math.max(FULL_MS, facts.balanceMs ?? 0),
    service: settings.service,
    serviceManaged: settings.managed.has("service"),
    shopUrl: document?.shopUrl,
    earnUrl: document?.earnUrl,
    accountUrl: document?.accountUrl,
  };
}

function stateOf({ signedIn, wanted, status, online, settings }: Facts): StateName {
  if (!signedIn) return "signed_out";
  if (status.phase === "stopping") return "stopping";
  if (status.phase === "activating") return "connecting";
  if (status.phase === "off") return wanted && settings.onLoss === "block" ? "blocked" : "off";
  if (!online) return "offline";
  if (status.contact === "lost") return "lost";
  return status.contact === "unknown" || status.silences > 0 ? "unknown" : "on";
}

/** Why, and what to do. A person's own stop needs no word. */
function noticeOf({ status, proxyTaken, document, signedIn }: Facts, state: StateName): string | undefined {
  if (!signedIn) return undefined;
  if (status.failure) return failureNotice(status.failure.status, status.failure.code);
  if (status.endReason && status.endReason !== "deactivated") return `end_${status.endReason}`;
  if (status.phase === "on" && proxyTaken) return "proxy_taken";
  if (state === "offline" || state === "lost" || state === "unknown") return `notice_${state}`;
  if (status.phase === "on" && document && !document.proxy) return "no_proxy";
  if (status.lowCredit) return "low_credit";
  return status.superseded && status.phase === "on" ? "took_over" : undefined;
}

export function failureNotice(status: number, code: string): string {
  if (code === "tank_empty") return "end_exhausted";
  if (status === 401) return "bad_key";
  if (status === 429) return "too_many";
  if (status === 0 || status >= 500) return "unreachable";
  return "refused";
}

/** Hosts that go without the proxy. Without these, a token that is no longer good would hide the pages that say why. */
export function bypassList(service: string | undefined, document: ServiceDocument, exceptions: readonly string[]): string[] {
  const pages = [service, document.shopUrl, document.earnUrl, document.accountUrl, ...document.issuers];
  const hosts = pages.flatMap((url) => (url && URL.canParse(url) ? [new URL(url).hostname] : []));
  return [...new Set([...hosts, ...LOCAL, ...PORTAL_TESTS, ...document.bypass, ...exceptions])];
}

/** Whether a host is in the list: by name, by `*.` and a domain, or by an IPv4 network. */
export function isBypassed(host: string, list: readonly string[]): boolean {
  return list.some((entry) => {
    if (entry.startsWith("*.")) return host.endsWith(entry.slice(1)) || host === entry.slice(2);
    const [network, bits] = entry.split("/");
    if (bits === undefined) return host === entry;
    const [a, b] = [ipv4(host), ipv4(network!)];
    if (a === undefined || b === undefined) return false;
    const shift = 2 ** (32 - Number(bits));
    return Math.floor(a / shift) === Math.floor(b / shift);
  });
}

function ipv4(text: string): number | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  return parts?.every((part) => part < 256) ? parts.reduce((all, part) => all * 256 + part, 0) : undefined;
}

/** What people and administrators write as exceptions: a host, a domain with `*.`, or a network. */
export function readExceptions(lines: readonly unknown[]): { good: string[]; bad: string[] } {
  const [good, bad]: [string[], string[]] = [[], []];
  for (const line of lines) {
    const text = typeof line === "string" ? line.trim().toLowerCase() : "";
    if (text === "") continue;
    const fits = /^(\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$/.test(text) || /^\d+\.\d+\.\d+\.\d+(\/([0-9]|[12]\d|3[0-2]))?$/.test(text);
    (fits && good.length < MOST_EXCEPTIONS ? good : bad).push(text);
  }
  return { good, bad };
}

/** Settings as they apply: what an administrator has set comes first. A managed value of a wrong type counts as none. */
export function effective(stored: Record<string, unknown>, managed: Record<string, unknown>): Effective {
  const set = new Set<"service" | "on_loss" | "exceptions">();
  let service = serviceOf(stored["service"]);
  const managedService = serviceOf(managed["service"]);
  if (managedService) {
    service = managedService;
    set.add("service");
  }
  let onLoss: OnLoss = stored["on_loss"] === "block" ? "block" : "direct";
  if (managed["on_loss"] === "direct" || managed["on_loss"] === "block") {
    onLoss = managed["on_loss"];
    set.add("on_loss");
  }
  const own = Array.isArray(stored["exceptions"]) ? readExceptions(stored["exceptions"]).good : [];
  const theirs = Array.isArray(managed["exceptions"]) ? readExceptions(managed["exceptions"]).good : [];
  if (theirs.length) set.add("exceptions");
  return { service, onLoss, exceptions: [...new Set([...theirs, ...own])], managed: set };
}

/** A place where secrets may be sent, or nothing. */
export function serviceOf(value: unknown): string | undefined {
  if (typeof value !== "string" || !URL.canParse(value)) return undefined;
  const url = new URL(value);
  const own = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  const fits = (url.protocol === "https:" || (url.protocol === "http:" && own)) && !url.username && !url.search && !url.hash;
  return fits ? url.href.replace(/\/+$/, "") : undefined;
}

/** Reads what the service told. Whatever does not fit is left out. */
export function readDocument(value: unknown): ServiceDocument | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const page = (url: unknown): string | undefined => (typeof url === "string" && /^https?:\/\//.test(url) && URL.canParse(url) ? url : undefined);
  const signIn = Array.isArray(fields["sign_in"]) ? (fields["sign_in"] as Record<string, unknown>[]) : [];
  return {
    proxy: proxyOf(fields["proxy"]),
    bypass: Array.isArray(fields["bypass"]) ? fields["bypass"].filter((host): host is string => typeof host === "string").slice(0, 64) : [],
    shopUrl: page(fields["shop_url"]),
    earnUrl: page(fields["earn_url"]),
    accountUrl: page(fields["account_url"]),
    issuers: signIn.flatMap((entry) => page(entry?.["issuer"]) ?? []),
  };
}

function proxyOf(value: unknown): ProxyPlace | undefined {
  const { type, host, port } = (value ?? {}) as Record<string, unknown>;
  const fits = typeof host === "string" && /^[\w.:[\]-]{1,253}$/.test(host) && Number.isInteger(port) && Number(port) > 0 && Number(port) < 65536;
  return (type === "https" || type === "http") && fits ? { type, host, port: Number(port) } : undefined;
}

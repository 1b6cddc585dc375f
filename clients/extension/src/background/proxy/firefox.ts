/**
 * Firefox asks for each request, and waits until this program is awake. The token goes along in a header; credentials are never supplied to a challenge,
 * or Firefox's own cache of them would win over the header for good.
 */

import { isBypassed } from "../core.ts";
import { type ProxyControl, type ProxyOrder, type ProxyReports, USER, isOurs } from "./control.ts";

interface ProxyInfo {
  type: string;
  host?: string;
  port?: number;
  proxyAuthorizationHeader?: string;
  connectionIsolationKey?: string;
}

interface FirefoxProxy {
  onRequest: { addListener(listener: (details: { url: string }) => Promise<ProxyInfo>, filter: { urls: string[] }): void };
  onError: { addListener(listener: () => void): void };
  settings: { get(details: object): Promise<{ levelOfControl: string }> };
}

export function proxyControl(reports: ProxyReports): ProxyControl {
  const proxy = chrome.proxy as unknown as FirefoxProxy;
  let [token, generation]: [string | undefined, number] = [undefined, 0];
  const infoFor = ({ mode, place, bypass, token: current }: ProxyOrder, url: string): ProxyInfo => {
    if (mode === "off" || !place || isBypassed(new URL(url).hostname, bypass)) return { type: "direct" };
    if (current !== token) [token, generation] = [current, generation + 1];
    const there = { type: place.type, host: place.host, port: place.port };
    if (mode === "block" || !current) return there;
    // Connections that were opened with another token are left behind.
    return { ...there, proxyAuthorizationHeader: `Basic ${btoa(`${USER}:${current}`)}`, connectionIsolationKey: String(generation) };
  };
  proxy.onRequest.addListener(async ({ url }) => (await reports.ready, infoFor(reports.order(), url)), { urls: ["<all_urls>"] });
  proxy.onError.addListener(() => reports.failed());
  chrome.webRequest.onAuthRequired.addListener(
    (details) => {
      if (!isOurs(details, reports.order().place)) return {};
      reports.refused();
      return { cancel: true };
    },
    { urls: ["<all_urls>"] },
    ["blocking"],
  );
  return {
    // Each request is answered by what is to be done then.
    apply: async () => {},
    isTaken: async () => (await proxy.settings.get({})).levelOfControl === "not_controllable",
  };
}

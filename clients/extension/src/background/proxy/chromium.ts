/**
 * Chromium keeps the proxy as a setting, which works while this program sleeps. Challenges wake it. Chromium remembers credentials for each proxy, so
 * after a renewal one challenge more is answered, unseen.
 */

import { Answered, type ProxyControl, type ProxyOrder, type ProxyReports, USER, isOurs } from "./control.ts";

export function proxyControl(reports: ProxyReports): ProxyControl {
  const answered = new Answered();
  chrome.webRequest.onAuthRequired.addListener(
    (details, callback) => {
      void reports.ready.then(() => {
        const { place, token, mode } = reports.order();
        if (!isOurs(details, place)) return callback?.({});
        if (mode === "on" && token && answered.first(details.requestId)) {
          return callback?.({ authCredentials: { username: USER, password: token } });
        }
        // Twice refused, or nothing to show. The next ack says what is the matter.
        callback?.({ cancel: true });
        reports.refused();
      });
      return undefined;
    },
    { urls: ["<all_urls>"] },
    ["asyncBlocking"],
  );
  chrome.proxy.onProxyError.addListener(() => reports.failed());

  let applied = "";
  return {
    async apply({ mode, place, bypass }: ProxyOrder): Promise<void> {
      const value = mode === "off" || !place ? undefined : settingOf(place, bypass);
      const wanted = JSON.stringify(value ?? null);
      if (wanted === applied) return;
      applied = wanted;
      if (value) await chrome.proxy.settings.set({ value, scope: "regular" });
      else await chrome.proxy.settings.clear({ scope: "regular" });
    },
    async isTaken(): Promise<boolean> {
      const { levelOfControl } = await chrome.proxy.settings.get({});
      return levelOfControl === "controlled_by_other_extensions" || levelOfControl === "not_controllable";
    },
  };
}

function settingOf({ type, host, port }: NonNullable<ProxyOrder["place"]>, bypass: readonly string[]): chrome.proxy.ProxyConfig {
  const bypassList = ["<local>", ...bypass.map((entry) => (entry.startsWith("*.") ? entry.slice(1) : entry)), ...bypass.filter((e) => e.startsWith("*.")).map((e) => e.slice(2))];
  return { mode: "fixed_servers", rules: { singleProxy: { scheme: type, host, port }, bypassList } };
}

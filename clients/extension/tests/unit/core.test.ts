import fc from "fast-check";
import { expect, test } from "vitest";

import type { Status } from "@gastank/heartbeat";

import { type Facts, type ServiceDocument, bypassList, effective, isBypassed, proxyMode, readDocument, readExceptions, serviceOf, viewOf } from "../../src/background/core.ts";
import { Answered, isOurs } from "../../src/background/proxy/control.ts";

const STATUS: Status = {
  phase: "on",
  contact: "valid",
  silences: 0,
  remainingMs: 60_000,
  lowCredit: false,
  superseded: false,
  endReason: undefined,
  failure: undefined,
};
const DOCUMENT: ServiceDocument = {
  proxy: { type: "https", host: "proxy.test", port: 8443 },
  bypass: ["*.hub.test"],
  shopUrl: "https://shop.test/buy",
  earnUrl: undefined,
  accountUrl: "https://account.test",
  issuers: ["https://id.test"],
};
const settings = effective({ service: "https://tank.test" }, {});

function facts(status: Partial<Status>, more: Partial<Facts> = {}): Facts {
  return { signedIn: true, wanted: true, status: { ...STATUS, ...status }, online: true, proxyTaken: false, balanceMs: undefined, settings, document: DOCUMENT, ...more };
}

const block = effective({ service: "https://tank.test", on_loss: "block" }, {});

test.each([
  [{ wanted: false }, {}, "off"],
  [{}, {}, "on"],
  [{}, { contact: "unknown" }, "on"],
  [{}, { silences: 7 }, "on"],
  [{}, { contact: "lost" }, "off"],
  [{ settings: block }, { contact: "lost" }, "block"],
  [{ settings: block }, { phase: "off", endReason: "superseded" }, "block"],
  [{}, { phase: "off", endReason: "superseded" }, "off"],
  [{ settings: block }, { phase: "activating" }, "block"],
  [{ settings: block, wanted: false }, { phase: "off" }, "off"],
] as const)("with %j and a session that is %j the proxy is %s", (more, status, mode) => {
  expect(proxyMode(facts(status as Partial<Status>, more as Partial<Facts>))).toBe(mode);
});

test.each([
  [{}, {}, "on", undefined],
  [{}, { silences: 1 }, "unknown", "notice_unknown"],
  [{}, { contact: "unknown" }, "unknown", "notice_unknown"],
  [{}, { contact: "lost" }, "lost", "notice_lost"],
  [{ online: false }, {}, "offline", "notice_offline"],
  [{ proxyTaken: true }, {}, "on", "proxy_taken"],
  [{}, { lowCredit: true }, "on", "low_credit"],
  [{}, { phase: "activating" }, "connecting", undefined],
  [{ wanted: false }, { phase: "off", endReason: "deactivated" }, "off", undefined],
  [{ wanted: false }, { phase: "off", endReason: "superseded" }, "off", "end_superseded"],
  [{ wanted: false }, { phase: "off", failure: { status: 402, code: "tank_empty" } }, "off", "end_exhausted"],
  [{ wanted: false }, { phase: "off", failure: { status: 0, code: "no_answer" } }, "off", "unreachable"],
  [{ settings: block }, { phase: "off", endReason: "timed_out" }, "blocked", "end_timed_out"],
  [{ signedIn: false }, { phase: "off" }, "signed_out", undefined],
] as const)("with %j, a session that is %j is shown as %s with the notice %s", (more, status, state, notice) => {
  expect(viewOf(facts(status as Partial<Status>, more as Partial<Facts>))).toMatchObject({ state, notice });
});

test("the pages that say why a token is no longer good never go through the proxy", () => {
  const list = bypassList("https://tank.test", DOCUMENT, ["bank.test"]);
  for (const host of ["tank.test", "shop.test", "account.test", "id.test", "a.hub.test", "bank.test", "localhost", "192.168.1.1", "10.255.0.1", "detectportal.firefox.com"]) {
    expect(isBypassed(host, list), host).toBe(true);
  }
  for (const host of ["example.org", "evilhub.test", "shop.test.example.org", "193.168.1.1", "172.32.0.1"]) expect(isBypassed(host, list), host).toBe(false);
});

test("a network holds exactly its own addresses", () => {
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff), fc.integer({ min: 1, max: 32 }), (a, b, bits) => {
      const text = (n: number): string => [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join(".");
      const binary = (n: number): string => n.toString(2).padStart(32, "0").slice(0, bits);
      expect(isBypassed(text(a), [`${text(b)}/${bits}`])).toBe(binary(a) === binary(b));
    }),
  );
});

test("exceptions are hosts, domains and networks", () => {
  const { good, bad } = readExceptions([" Bank.example ", "*.example.org", "203.0.113.0/24", "", "https://a/b", "a b", "<local>", "*", "1.2.3.4/33", 7]);
  expect(good).toEqual(["bank.example", "*.example.org", "203.0.113.0/24"]);
  expect(bad).toEqual(["https://a/b", "a b", "<local>", "*", "1.2.3.4/33"]);
});

test("what an administrator has set comes first, and a value of a wrong type counts as none", () => {
  const own = { service: "https://own.test", on_loss: "direct", exceptions: ["own.test"] };
  expect(effective(own, { service: "https://theirs.test/", on_loss: "block", exceptions: ["theirs.test"] })).toEqual({
    service: "https://theirs.test",
    onLoss: "block",
    exceptions: ["theirs.test", "own.test"],
    managed: new Set(["service", "on_loss", "exceptions"]),
  });
  fc.assert(
    fc.property(fc.anything(), fc.anything(), fc.anything(), (service, on_loss, exceptions) => {
      const result = effective(own, { service: serviceOf(service) ? undefined : service, on_loss: { on_loss }, exceptions: { exceptions } });
      expect(result).toMatchObject({ service: "https://own.test", onLoss: "direct", exceptions: ["own.test"] });
    }),
  );
});

test.each(["http://tank.test", "ftp://tank.test", "https://u:p@tank.test", "https://tank.test/?q", "tank.test", "", 7, null])("%j is no service", (text) => {
  expect(serviceOf(text)).toBeUndefined();
});

test("whatever a service tells is read without an error, and what does not fit is left out", () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      readDocument(value);
      const { proxy, shopUrl } = readDocument({ proxy: value, shop_url: value, sign_in: [value, { issuer: value }], bypass: value })!;
      if (proxy) expect(proxy.port).toBeGreaterThan(0);
      if (shopUrl) expect(shopUrl).toMatch(/^https?:/);
    }),
  );
  expect(readDocument({ shop_url: "javascript:alert(1)", proxy: { type: "socks", host: "a", port: 1 } })).toMatchObject({ shopUrl: undefined, proxy: undefined });
});

test("only a challenge of our own proxy is ours", () => {
  const { proxy } = DOCUMENT;
  expect(isOurs({ isProxy: true, challenger: { host: "PROXY.test", port: 8443 } }, proxy)).toBe(true);
  expect(isOurs({ isProxy: false, challenger: { host: "proxy.test", port: 8443 } }, proxy)).toBe(false);
  expect(isOurs({ isProxy: true, challenger: { host: "proxy.test", port: 443 } }, proxy)).toBe(false);
  expect(isOurs({ isProxy: true, challenger: { host: "other.test", port: 8443 } }, proxy)).toBe(false);
  expect(isOurs({ isProxy: true, challenger: { host: "proxy.test", port: 8443 } }, undefined)).toBe(false);
});

test("a request is given credentials once", () => {
  const answered = new Answered();
  expect([answered.first("1"), answered.first("1"), answered.first("2")]).toEqual([true, false, true]);
});

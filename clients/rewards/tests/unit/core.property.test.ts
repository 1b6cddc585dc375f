import fc from "fast-check";
import { expect, test } from "vitest";

import { packageIn, withoutPackage, withPackage } from "../../src/core/address.ts";
import { admit, choose, isReadable } from "../../src/core/choose.ts";
import { read } from "../../src/core/messages.ts";
import { decode, encode, type Params, toParams } from "../../src/core/payload.ts";
import { nextAllowedIn, validation } from "../../src/core/request.ts";
import { attoseconds, best } from "./model.ts";

const NOON = Date.parse("2026-11-30T12:00:00.000Z");

/** Times around noon, close enough for ties, with fractions of any length. */
const timestamp = fc
  .tuple(fc.integer({ min: -90, max: 30 }), fc.stringMatching(/^[0-2]{0,6}$/))
  .map(([seconds, fraction]) => `${new Date(NOON + seconds * 1_000).toISOString().slice(0, 19)}${fraction && `.${fraction}`}Z`);
const params = fc.record(
  {
    timestamp: fc.oneof(timestamp, fc.constant(null)),
    tokens: fc.constantFrom("t", "u", "", null),
    metadata: fc.dictionary(fc.string({ unit: "binary" }), fc.oneof(fc.string({ unit: "binary" }), fc.integer(), fc.constant(null)), { maxKeys: 3 }),
    dev: fc.boolean(),
    debug: fc.boolean(),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Params>;
const json = fc.jsonValue({ depthSize: "large" });

test("which package wins is what the model says, of two and of three", () => {
  fc.assert(
    fc.property(params, params, params, (address, page, widget) => {
      expect(choose(address, page)).toBe(best([address, page].map((params, order) => ({ params, order }))));
      const handed = choose(address, page);
      expect(choose(handed, widget)).toBe(best([address, page, widget].map((params, order) => ({ params, order }))));
    }),
    { numRuns: 1_000 },
  );
});

test("the winner is one of the two, and nothing of the other is in it", () => {
  fc.assert(
    fc.property(params, params, (outer, inner) => {
      const before = JSON.stringify([outer, inner]);
      expect([outer, inner]).toContain(choose(outer, inner));
      expect(JSON.stringify([outer, inner])).toBe(before);
    }),
  );
});

test("a package is admitted if and only if it is of the last minute, to the millisecond", () => {
  fc.assert(
    fc.property(params, fc.integer({ min: 0, max: 999 }), (params, ms) => {
      const at = attoseconds(params.timestamp);
      const age = at === undefined ? 0n : BigInt(NOON + ms) - at / 10n ** 15n;
      expect(admit(params, NOON + ms) !== undefined).toBe(at === undefined || (age >= 0n && age < 60_000n));
    }),
  );
});

test("a package is read as it was written, from a hash, from a query, and from an address that had others", () => {
  fc.assert(
    fc.property(params, fc.webUrl({ withFragments: true, withQueryParameters: true }), (params, address) => {
      const text = encode(params);
      expect(text).toMatch(/^[A-Za-z0-9+/]*$/);
      expect(decode(text)).toEqual(params);
      expect(packageIn({ hash: `#psicash=${encodeURIComponent(text)}`, search: "" })).toEqual(params);
      const carrying = withPackage(new URL(address), text);
      expect(packageIn({ hash: "", search: carrying.search })).toEqual(params);
      expect(carrying.hash).toBe(new URL(address).hash);
      expect(withPackage(carrying, text).href).toBe(carrying.href);
      expect(packageIn(withoutPackage(carrying))).toBeUndefined();
    }),
  );
});

test("no input makes a reader throw, and what is read can be written", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.base64String(), json.map((value) => JSON.stringify(value)), json.map((value) => btoa(unescape(encodeURIComponent(JSON.stringify(value))))));
  fc.assert(
    fc.property(text, (text) => {
      const found = decode(text);
      if (found) expect(decode(encode(found))).toEqual(found);
      packageIn({ hash: `#psicash=${text}`, search: `?psicash=${text}` });
      withoutPackage(new URL(`https://a.example/?psicash=${encodeURIComponent(text)}#!psicash=${encodeURIComponent(text)}`));
      read(text);
      nextAllowedIn({ status: 200, body: text });
      validation({ status: 200, body: text });
    }),
    { numRuns: 1_000 },
  );
});

test("fields of any kind give fields of the right kind", () => {
  fc.assert(
    fc.property(fc.record({ timestamp: json, tokens: json, metadata: json, dev: json, debug: json, more: json }, { requiredKeys: [] }), (value) => {
      const found = toParams(value);
      if (!found) return;
      isReadable(found);
      expect(Object.keys(found).every((name) => ["timestamp", "tokens", "metadata", "dev", "debug"].includes(name))).toBe(true);
      expect(["string", "object", "undefined"]).toContain(typeof found.tokens);
      expect(["boolean", "undefined"]).toContain(typeof found.dev);
    }),
  );
});

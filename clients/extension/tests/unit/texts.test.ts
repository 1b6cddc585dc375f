import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const locale = (name: string): Record<string, { message: string }> => JSON.parse(read(`_locales/${name}/messages.json`)) as Record<string, { message: string }>;
const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(ts|html)$/.test(name))
  .map((name) => read(`src/${name}`))
  .join("\n");
const manifest = read("manifest/base.json");

/** Keys that are made of a name and a word. */
const MADE = {
  state_: /type StateName = ([^;]+);/.exec(sources)![1]!.match(/\w+/g)!,
  end_: ["superseded", "exhausted", "timed_out", "revoked", "logged_out", "account_deleted", "expired"],
  notice_: ["unknown", "offline", "lost"],
};

test("both languages have the same texts, with the same places in them", () => {
  const [en, de] = [locale("en"), locale("de")];
  expect(Object.keys(de)).toEqual(Object.keys(en));
  for (const key of Object.keys(en)) {
    expect(de[key]!.message.match(/\$\d/g), key).toEqual(en[key]!.message.match(/\$\d/g));
    expect(de[key]!.message.trim(), key).not.toBe("");
  }
});

test("every text is used, and every text that is used is there", () => {
  const made = Object.entries(MADE).flatMap(([prefix, words]) => words.map((word) => prefix + word));
  const named = [...sources.matchAll(/data-(?:text|label)="(\w+)"|\btext\("(\w+)"/g)].map(([, a, b]) => (a ?? b)!);
  const inManifest = [...manifest.matchAll(/__MSG_(\w+)__/g)].map(([, key]) => key!);
  const used = new Set([...made, ...named, ...inManifest]);
  const there = Object.keys(locale("en"));
  expect([...used].filter((key) => !there.includes(key))).toEqual([]);
  // Notices are chosen in core.ts by name.
  expect(there.filter((key) => !used.has(key) && !sources.includes(`"${key}"`))).toEqual([]);
});

test("no code and no style comes from elsewhere", () => {
  for (const browser of ["chromium", "firefox"]) {
    for (const name of readdirSync(join(ROOT, "dist", browser)).filter((name) => name.endsWith(".html"))) {
      expect(read(`dist/${browser}/${name}`)).not.toMatch(/(src|href)="(https?:)?\/\//);
    }
    expect(read(`dist/${browser}/background.js`)).not.toMatch(/\beval\(|new Function\(|importScripts\(/);
  }
});

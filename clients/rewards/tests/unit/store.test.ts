import { expect, test } from "vitest";

import { Store } from "../../src/core/store.ts";
import { MemoryStorage } from "./fakes.ts";

const KEY = "PsiCash::v2::PsiCashParams";
const AT = "2026-11-30T12:00:00.000Z";

function kept(storage: MemoryStorage): unknown {
  return JSON.parse(storage.getItem(KEY) ?? "null");
}

test("a package is kept as its JSON, and writing the same again writes nothing", () => {
  const storage = new MemoryStorage();
  const store = new Store(() => storage);
  expect(store.save({ tokens: "t", timestamp: AT, dev: false })).toBe(true);
  expect(storage.getItem(KEY)).toBe(`{"timestamp":"${AT}","tokens":"t","dev":false}`);
  storage.isFull = true;
  expect(store.save({ timestamp: AT, dev: false, tokens: "t" })).toBe(true);
  expect(store.load()).toEqual({ timestamp: AT, tokens: "t", dev: false });
});

test("a newer timestamp of the same tokens is a change, and keeps what is kept for them", () => {
  const storage = new MemoryStorage();
  const store = new Store(() => storage);
  store.save({ timestamp: AT, tokens: "t" });
  store.keepNextAllowed("page-view", "a.example", AT);
  store.save({ timestamp: "2026-11-30T12:00:01.000Z", tokens: "t" });
  expect(kept(storage)).toEqual({ timestamp: "2026-11-30T12:00:01.000Z", tokens: "t" });
  expect(store.nextAllowed("page-view", "a.example")).toBe(AT);
});

test("other tokens wipe our keys and none of anybody else's", () => {
  const storage = new MemoryStorage();
  const store = new Store(() => storage);
  const foreign = ["theirs", "PsiCash::v1::PsiCashParams", "PsiCash-Dev::v2::PsiCashParams", "x PsiCash::v2::y"];
  for (const key of foreign) storage.setItem(key, "1");
  store.save({ timestamp: AT, tokens: "t" });
  for (const path of ["a", "b", "c"]) store.keepNextAllowed("page-view", `a.example/${path}`, AT);
  store.save({ tokens: "u" });
  expect([...storage.values.keys()].sort()).toEqual([...foreign, KEY].sort());
});

test("development and production do not see each other's", () => {
  const storage = new MemoryStorage();
  new Store(() => storage, true).save({ tokens: "t" });
  expect([...storage.values.keys()]).toEqual(["PsiCash-Dev::v2::PsiCashParams"]);
  expect(new Store(() => storage).load()).toBeUndefined();
});

test("only the tokens that were refused are forgotten, and the timestamp stays", () => {
  const storage = new MemoryStorage();
  const store = new Store(() => storage);
  store.save({ timestamp: AT, tokens: "of another tab" });
  store.forget("ours");
  expect(kept(storage)).toEqual({ timestamp: AT, tokens: "of another tab" });
  store.forget("of another tab");
  expect(kept(storage)).toEqual({ timestamp: AT, tokens: null });
});

test("the next time is a JSON string for each action and distinguisher", () => {
  const storage = new MemoryStorage();
  const store = new Store(() => storage);
  store.keepNextAllowed("page-view", "a.example/x", AT);
  expect(storage.getItem("PsiCash::v2::nextAllowed::page-view::a.example/x")).toBe(`"${AT}"`);
  expect(store.nextAllowed("page-view", "a.example/x")).toBe(AT);
  expect(store.nextAllowed("click-through", "a.example/x")).toBeUndefined();
});

test.each(["", "{", "null", "[]", "7", '"x"', '{"timestamp":"yesterday","tokens":"t"}', '{"timestamp":7,"tokens":"t"}'])("corrupt storage is empty storage: %s", (text) => {
  const storage = new MemoryStorage();
  storage.setItem(KEY, text);
  storage.setItem("PsiCash::v2::nextAllowed::a::b", text.replace(/"/g, ""));
  const store = new Store(() => storage);
  expect([store.load(), store.nextAllowed("a", "b")]).toEqual([undefined, undefined]);
  expect(store.save({ tokens: "t" })).toBe(true);
  expect(store.load()).toEqual({ tokens: "t" });
});

test.each([
  ["throws", () => { throw new DOMException("no", "SecurityError"); }],
  ["is missing", () => null as unknown as Storage],
  ["is full", () => Object.assign(new MemoryStorage(), { isFull: true })],
] as [string, () => Storage][])("storage that %s is done without", (_, open) => {
  const store = new Store(open);
  expect(store.save({ tokens: "t" })).toBe(false);
  store.forget("t");
  store.keepNextAllowed("a", "b", AT);
  expect([store.load(), store.nextAllowed("a", "b")]).toEqual([undefined, undefined]);
});

test("a storage that has just become full does not keep the tokens of somebody else", () => {
  const storage = new MemoryStorage();
  const store = new Store(() => storage);
  store.save({ timestamp: AT, tokens: "t" });
  storage.isFull = true;
  expect(store.save({ tokens: "u" })).toBe(false);
  expect(store.load()).toBeUndefined();
});

import { expect, test } from "vitest";

import { mayEnter } from "../../src/shop/gate.ts";

const SHOP = "https://shop.example";

test.each([
  ["", undefined, false],
  ["", { tokens: "t" }, true],
  ["", { tokens: null }, true],
  ["https://shop.example/", undefined, true],
  ["https://shop.example/cart?x#y", { tokens: "t" }, true],
  ["https://shop.example:8443/", { tokens: "t" }, false],
  ["http://shop.example/", { tokens: "t" }, false],
  ["https://shop.example.evil/", { tokens: "t" }, false],
  ["https://evil.example/https://shop.example/", { tokens: "t" }, false],
  ["android-app://com.example", { tokens: "t" }, false],
  ["no address", { tokens: "t" }, false],
])("from %j with %j in the address: %s", (referrer, inAddress, may) => {
  expect(mayEnter(referrer, SHOP, inAddress)).toBe(may);
});

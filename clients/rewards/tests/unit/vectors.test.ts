import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { replay, type Vectors } from "../replay.ts";

test("the vectors hold", () => {
  const vectors = JSON.parse(readFileSync(new URL("../../../../tests/vectors/rewards.json", import.meta.url), "utf8")) as Vectors;
  const { count, wrong } = replay(vectors);
  expect(wrong).toEqual([]);
  expect(count).toBeGreaterThan(150);
});

/** Everything that is tried in a real browser, in one of each kind. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { demoPages } from "./demo_pages.ts";
import { landingCases } from "./landing_cases.ts";
import { shopCases } from "./shop_cases.ts";
import { shopTable } from "./shop_table.ts";
import { withService } from "./with_service.ts";
import { widgetTable } from "./widget_table.ts";
import { type BrowserName, World } from "./world.ts";

export function triedIn(browser: BrowserName): void {
  const world = new World();
  beforeAll(() => world.open(browser));
  afterAll(() => world.close());

  // First, since one of them takes as long as a shop waits for the service.
  describe("a shop", () => shopCases(world));
  describe("the shop's table", () => shopTable(world));
  describe("with the built service", () => withService(world));
  describe("the demonstration", () => demoPages(world));
  describe("a landing page", () => landingCases(world));
  describe("the widget's table", () => widgetTable(world));

  test("of all this the service saw no package in an address and none in a Referer", () => {
    const { seen, keepers } = world.origin;
    expect(seen.length).toBeGreaterThan(500);
    expect(seen.filter((line) => /psicash=|%22tokens|eyJ/.test(line) && !keepers.some((host) => line.includes(host)))).toEqual([]);
  });
}

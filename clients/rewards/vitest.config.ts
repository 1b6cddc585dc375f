import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores, and a browser beside the tests.
    maxWorkers: 2,
    // A browser that is stuck would fail every test, each after its own time.
    bail: 10,
    // Tabs of one browser that work at the same time.
    maxConcurrency: 6,
  },
});

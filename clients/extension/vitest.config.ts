import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { alias: { "@gastank/heartbeat": fileURLToPath(new URL("../heartbeat/src/index.ts", import.meta.url)) } },
  test: { include: ["tests/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 90_000, maxWorkers: 2 },
});

// Builds dist/index.js and its types.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";

import { build } from "esbuild";

rmSync(new URL("dist", import.meta.url), { recursive: true, force: true });
await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["src/index.ts"],
  outfile: "dist/index.js",
  bundle: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
});
execFileSync("npx", ["--no-install", "tsc", "-p", "tsconfig.build.json"], { cwd: import.meta.dirname, stdio: "inherit" });

// The library, minified and compressed, may have at most 12 kB.
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const MOST_BYTES = 12_000;

const { outputFiles } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["src/index.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  write: false,
});
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(`@gastank/heartbeat: ${bytes} bytes gzipped, at most ${MOST_BYTES}`);
if (bytes > MOST_BYTES) process.exit(1);

// Builds dist/, which is committed so that the service can be built without Node.js.
//
//   node build.mjs           writes dist/
//   node build.mjs --check   fails if dist/ is not what the sources give, or if a file is too large

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const HERE = import.meta.dirname;
const DIST = join(HERE, "dist");
const PAGES = ["iframe.html", "iframe.debug.html"];
// Bytes, gzipped, of what each role loads.
const LIMITS = { page: [["psicash.js"], 6_000], widget: [["psicash.js", "iframe.html"], 8_000], shop: [["shopify-psicash.js"], 8_000] };

const { outputFiles } = await build({
  absWorkingDir: HERE,
  entryPoints: { psicash: "src/psicash.ts", "shopify-psicash": "src/shopify-psicash.ts" },
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "iife",
  // Web views of phones are not always new.
  target: "es2019",
  charset: "ascii",
  banner: { js: "/* gastank, Apache-2.0 */" },
  write: false,
});
const files = Object.fromEntries([
  ...outputFiles.map(({ path, contents }) => [path.slice(DIST.length + 1), Buffer.from(contents)]),
  ...PAGES.map((name) => [name, readFileSync(join(HERE, "src", name))]),
]);

const gzipped = (name) => gzipSync(files[name], { level: 9 }).length;
let isWrong = false;
for (const [role, [names, most]] of Object.entries(LIMITS)) {
  const bytes = names.map(gzipped).reduce((sum, size) => sum + size);
  console.log(`${role}: ${bytes} bytes gzipped, at most ${most}`);
  if (bytes > most) isWrong = true;
}
if (process.argv.includes("--check")) {
  const committed = readdirSync(DIST).sort();
  const stale = Object.keys(files).filter((name) => !committed.includes(name) || !files[name].equals(readFileSync(join(DIST, name))));
  const foreign = committed.filter((name) => !(name in files));
  for (const name of [...stale, ...foreign]) console.error(`dist/${name} is not what the sources give: run node clients/rewards/build.mjs and commit it`);
  if (stale.length + foreign.length > 0) isWrong = true;
} else {
  mkdirSync(DIST, { recursive: true });
  for (const [name, contents] of Object.entries(files)) writeFileSync(join(DIST, name), contents);
}
if (isWrong) process.exit(1);

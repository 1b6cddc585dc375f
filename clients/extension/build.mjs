// Builds dist/chromium and dist/firefox, and a zip of each: the same bytes from the same source.
//
//   node build.mjs

import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync, deflateSync } from "node:zlib";

import { build } from "esbuild";

import { crc32 } from "./crc32.mjs";

const HERE = import.meta.dirname;
const SIZES = [16, 32, 48, 128];
const COLOURS = { on: [15, 118, 110], off: [107, 114, 128] };

rmSync(join(HERE, "dist"), { recursive: true, force: true });
for (const browser of ["chromium", "firefox"]) {
  const out = join(HERE, "dist", browser);
  mkdirSync(join(out, "icons"), { recursive: true });
  await build({
    absWorkingDir: HERE,
    entryPoints: { background: "src/background/main.ts", popup: "src/popup/popup.ts", options: "src/options/options.ts" },
    outdir: out,
    bundle: true,
    format: "esm",
    target: "es2022",
    define: { FIREFOX: String(browser === "firefox") },
    alias: { "@gastank/heartbeat": "../heartbeat/src/index.ts" },
    minifySyntax: true,
    treeShaking: true,
    legalComments: "none",
  });
  for (const file of ["popup/popup.html", "popup/popup.css", "options/options.html", "options/options.css", "shared/base.css"]) {
    cpSync(join(HERE, "src", file), join(out, file.split("/")[1]));
  }
  cpSync(join(HERE, "_locales"), join(out, "_locales"), { recursive: true });
  for (const kind of Object.keys(COLOURS)) {
    if (browser === "firefox") cpSync(join(HERE, `icons/${kind}.svg`), join(out, `icons/${kind}.svg`));
    else for (const size of SIZES) writeFileSync(join(out, `icons/${kind}-${size}.png`), icon(size, COLOURS[kind]));
  }
  if (browser === "chromium") cpSync(join(HERE, "managed_schema.json"), join(out, "managed_schema.json"));
  const [base, own] = ["base", browser].map((name) => JSON.parse(readFileSync(join(HERE, `manifest/${name}.json`), "utf8")));
  const manifest = { ...base, ...own, permissions: [...base.permissions, ...(own.permissions ?? [])], action: { ...base.action, ...own.action } };
  writeFileSync(join(out, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(join(HERE, "dist", `gastank-${browser}-${manifest.version}.zip`), zip(out));
}

/** The icon of icons/*.svg in pixels, since Chromium takes no SVG: a drop in a disc. */
function icon(size, [red, green, blue]) {
  const inDisc = (x, y) => (x - 64) ** 2 + (y - 64) ** 2 <= 62 ** 2;
  const inDrop = (x, y) => (x - 64) ** 2 + (y - 74) ** 2 <= 26 ** 2 || (y >= 20 && y <= 61.5 && Math.abs(x - 64) <= ((y - 20) / 41.5) * 22.8);
  const rows = [];
  for (let row = 0; row < size; row++) {
    rows.push(0);
    for (let column = 0; column < size; column++) {
      let [disc, drop] = [0, 0];
      for (let sample = 0; sample < 64; sample++) {
        const [x, y] = [((column + ((sample % 8) + 0.5) / 8) * 128) / size, ((row + (Math.floor(sample / 8) + 0.5) / 8) * 128) / size];
        disc += inDisc(x, y);
        drop += inDrop(x, y);
      }
      const white = disc ? drop / disc : 0;
      for (const colour of [red, green, blue]) rows.push(Math.round(colour + (255 - colour) * white));
      rows.push(Math.round((disc / 64) * 255));
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(Buffer.from(rows))), chunk("IEND", Buffer.alloc(0))]);
}

/** A zip of a directory: names in order, no times. */
function zip(directory) {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
  const [files, central] = [[], []];
  let offset = 0;
  for (const name of names) {
    const data = readFileSync(join(directory, name));
    const packed = deflateRawSync(data, { level: 9 });
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x0800, 2);
    common.writeUInt16LE(8, 4);
    // 1980-01-01, the first day there is.
    common.writeUInt16LE(0x21, 8);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    central.push(Buffer.concat([Buffer.from("PK\x01\x02"), Buffer.from([20, 0]), common, tail, Buffer.from(name)]));
    files.push(local);
    offset += local.length;
  }
  const directoryBytes = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(names.length, 8);
  end.writeUInt16LE(names.length, 10);
  end.writeUInt32LE(directoryBytes.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...files, directoryBytes, end]);
}

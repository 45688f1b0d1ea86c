// The player, hftrainer/rendering/player.js: its sources and three.js as one file. The page of the server,
// hftrainer/serving/page/: its programs, which share three.js, and beside them style and HTML as they stand.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { cpSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const player = here("../hftrainer/rendering/player.js"), page = here("../hftrainer/serving/page");
const how = { bundle: true, minify: true, target: "es2022", charset: "utf8", legalComments: "eof", logLevel: "warning" };
await build({ ...how, entryPoints: [here("src/main.js")], outfile: player, format: "iife", loader: { ".css": "text" } });
console.log(`${player}: ${Math.round(statSync(player).size / 1000)} kB`);

const assets = join(page, "assets");
rmSync(page, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });
await build({ ...how, entryPoints: [here("src/site/site.js"), here("src/site/full.js")], outdir: assets, format: "esm",
  splitting: true, chunkNames: "shared-[hash]", loader: { ".css": "text" } });
await build({ ...how, entryPoints: [here("src/site/site.css")], outdir: assets });
cpSync(here("src/site/full.html"), join(assets, "full.html"));
cpSync(here("src/site/icon.svg"), join(assets, "icon.svg"));
cpSync(here("src/site/index.html"), join(page, "index.html"));
const size = readdirSync(assets).reduce((sum, name) => sum + statSync(join(assets, name)).size, 0);
console.log(`${page}: ${Math.round(size / 1000)} kB`);

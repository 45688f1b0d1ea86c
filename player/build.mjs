// The player's sources and three.js as one file, hftrainer/rendering/player.js.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { statSync } from "node:fs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const outfile = here("../hftrainer/rendering/player.js");
await build({
  entryPoints: [here("src/main.js")], outfile, bundle: true, minify: true, format: "iife", target: "es2022",
  charset: "utf8", legalComments: "eof", loader: { ".css": "text" }, logLevel: "warning",
});
console.log(`${outfile}: ${Math.round(statSync(outfile).size / 1000)} kB`);

// A browser that does what it is told, one JSON request a line, one JSON answer a line. For the tests.
//   node drive.mjs /usr/bin/chromium
import { chromium } from "playwright-core";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const profile = mkdtempSync(join(tmpdir(), "player-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.argv[2], headless: true,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist"],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(180000);
let said = [], asked = [];
page.on("console", (line) => said.push(`${line.type()}: ${line.text()}`));
page.on("pageerror", (error) => said.push(`error: ${error.message}`));
page.on("request", (request) => asked.push(request.url().slice(0, 200)));

const verbs = {
  open: async ({ url, width = 1100, height = 700, scheme = "light" }) => {
    [said, asked] = [[], []];
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "no-preference" });
    await page.goto(url);
  },
  ready: async ({ what }) => { await page.waitForFunction(what, null, { polling: 100 }); },
  ask: ({ what }) => page.evaluate(what),
  press: async ({ key }) => page.keyboard.press(key),
  click: async ({ at }) => page.click(at),
  drag: async ({ from, to }) => {
    await page.mouse.move(...from);
    await page.mouse.down();
    await page.mouse.move(...to, { steps: 4 });
    await page.mouse.up();
  },
  picture: async ({ path, at }) => { await (at ? page.locator(at) : page).screenshot({ path, animations: "disabled" }); },
  log: async () => ({ said, asked }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await verbs[request.do](request)) ?? null };
  } catch (error) {
    answer = { error: String(error.message).split("\n")[0] };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await context.close();
rmSync(profile, { recursive: true, force: true });

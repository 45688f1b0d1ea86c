// A browser that does what it is told, one JSON request a line, one JSON answer a line. For the tests.
//   node drive.mjs /usr/bin/chromium
import { chromium } from "playwright-core";
import { createInterface } from "node:readline";

const browser = await chromium.launch({
  executablePath: process.argv[2], headless: true,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"], // a beep
});

/** Somebody at the browser: a page and what it keeps, apart from those of others. */
async function somebody() {
  const page = await (await browser.newContext({ acceptDownloads: true })).newPage(), one = { page, said: [], asked: [] };
  page.setDefaultTimeout(180000);
  page.on("console", (line) => one.said.push(`${line.type()}: ${line.text()}`));
  page.on("pageerror", (error) => one.said.push(`error: ${error.message}`));
  page.on("request", (request) => one.asked.push(request.url().slice(0, 200)));
  return one;
}
const users = { first: await somebody() };
let now = users.first;

const verbs = {
  user: async ({ name }) => { now = users[name] ??= await somebody(); },
  open: async ({ url, width = 1100, height = 700, scheme = "light", motion = "no-preference" }) => {
    [now.said, now.asked] = [[], []];
    await now.page.setViewportSize({ width, height });
    await now.page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
    await now.page.goto(url);
  },
  reload: async () => { await now.page.reload(); },
  ready: async ({ what, seconds = 180 }) => { // asked again and again: a page's policy may forbid to wait inside it
    for (const end = Date.now() + 1000 * seconds; !(await now.page.evaluate(`Boolean(${what})`)); await now.page.waitForTimeout(80))
      if (Date.now() > end) throw new Error(`not so in ${seconds} s: ${what}`);
  },
  ask: ({ what }) => now.page.evaluate(what),
  press: ({ key }) => now.page.keyboard.press(key),
  type: ({ text }) => now.page.keyboard.type(text),
  fill: ({ at, text }) => now.page.fill(at, text),
  click: ({ at }) => now.page.click(at),
  choose: ({ at, value }) => now.page.selectOption(at, value),
  files: ({ at, paths }) => now.page.setInputFiles(at, paths),
  download: async ({ at, path }) => {
    const [file] = await Promise.all([now.page.waitForEvent("download"), now.page.click(at)]);
    await file.saveAs(path);
    return file.suggestedFilename();
  },
  drag: async ({ from, to }) => {
    await now.page.mouse.move(...from);
    await now.page.mouse.down();
    await now.page.mouse.move(...to, { steps: 4 });
    await now.page.mouse.up();
  },
  picture: async ({ path, at }) => {
    const take = () => (at ? now.page.locator(at) : now.page).screenshot({ path, animations: "disabled" });
    await take().catch(async (error) => { // a browser without a graphics card may be too busy once
      if (!/Unable to capture/.test(error.message)) throw error;
      await now.page.waitForTimeout(1000);
      await take();
    });
  },
  log: async () => ({ said: now.said, asked: now.asked }),
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
await browser.close();

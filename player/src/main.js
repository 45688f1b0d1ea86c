import { Clock } from "./clock.js";
import { SPEEDS, build, columns, icon, lanes, panels } from "./page.js";
import css from "./style.css";
import { Track, unpack } from "./tracks.js";
import { ACCENTS, View } from "./view.js";

// one file of motions, or several that play together
const files = [window.hftrainerMotions].flat().map(unpack), { header, read } = files[0];
const tracks = files.flatMap((file) => file.header.motions.map((about) => new Track(about, file.read)));
for (const name of new Set(tracks.map((track) => track.name))) {
  const alike = tracks.filter((track) => track.name === name);
  if (alike.length > 1) alike.forEach((track, k) => { track.name = `${name} ${k + 1}`; });
}
const clock = new Clock(tracks), colours = header.figure.colours;
document.head.append(Object.assign(document.createElement("style"), { textContent: css }));

const dark = window.matchMedia("(prefers-color-scheme: dark)");
let theme = window.hftrainerTheme ?? (dark.matches ? "dark" : "light"), dirty = true, boxes = [], drawn = 0, cost = 0, view = null;

const act = {
  play: () => { clock.play(!clock.playing); refresh(); },
  seek: (frame) => { if (clock.playing) clock.play(false); clock.seek(frame); refresh(); },
  step: (frames) => act.seek(clock.frame + frames),
  speed: (speed) => { clock.speed = speed; refresh(); },
  faster: (by) => act.speed(SPEEDS[Math.min(Math.max(SPEEDS.indexOf(clock.speed) + by, 0), SPEEDS.length - 1)]),
  loop: () => { clock.loop = !clock.loop; refresh(); },
  style: (style) => { view.style = style; refresh(); },
  layout: (layout) => { if (tracks.length > 1) { view.layout = layout; arrange(); view.home(); } },
  follow: () => { view.follow = !view.follow; view.home(); refresh(); },
  trails: () => { view.trailsOn = !view.trailsOn; refresh(); },
  ghosts: () => { view.ghosts = !view.ghosts; refresh(); },
  contacts: () => { view.contacts = !view.contacts; refresh(); },
  solo: (k) => { if (k < tracks.length && tracks.length > 1) { view.solo = view.solo === k ? null : k; arrange(); } },
  home: () => { view.home(); refresh(); },
  info: () => { document.body.dataset.info = document.body.dataset.info === "no" ? "yes" : "no"; arrange(); },
  theme: () => { theme = theme === "dark" ? "light" : "dark"; refresh(); },
  full: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
  help: () => (page.help.open ? page.help.close() : page.help.showModal()),
  orbit: (across, up, nearer) => { view.orbit(across, up, nearer); dirty = true; },
};

const root = document.getElementById("player");
const page = build(root, header, tracks, ACCENTS, act);
document.body.dataset.info = window.innerWidth < 760 ? "no" : "yes";
document.body.dataset.many = tracks.length > 1;
page.scrub.max = clock.last;
try {
  view = new View(page.canvas, header, tracks, read);
} catch (error) {
  page.tip.textContent = "This browser draws no 3D (WebGL is off). Turn on hardware acceleration, or try another.";
  throw error;
}

/** Buttons and styles say what is so; the next picture is drawn. */
function refresh() {
  document.documentElement.dataset.theme = theme;
  view.stage.theme(theme);
  view.dress();
  const press = (button, yes) => button.setAttribute("aria-pressed", String(Boolean(yes)));
  press(page.loop, clock.loop);
  for (const name of ["follow", "ghosts", "contacts"]) press(page[name], view[name]);
  press(page.trails, view.trailsOn);
  press(page.info, document.body.dataset.info === "yes");
  for (const [group, value] of [[page.style, view.style], [page.layout, view.layout]])
    for (const button of group ? group.children : []) press(button, button.dataset.value === value);
  page.cards.forEach((card, k) => card.classList.toggle("aside", view.solo !== null && view.solo !== k));
  page.speed.value = String(clock.speed);
  dirty = true;
}

/** Panels on the stage and the time line get their places. */
function arrange() {
  const shown = view.shown(), place = page.panels.getBoundingClientRect();
  panels(page, shown, tracks, ACCENTS, shown.length === 1);
  page.panels.style.gridTemplateColumns = `repeat(${columns(shown.length, place.width, place.height)}, 1fr)`;
  view.renderer.setSize(place.width, place.height, false);
  boxes = [...page.panels.children].map((panel) => {
    const box = panel.getBoundingClientRect();
    return { x: box.x - place.x, y: box.y - place.y, width: box.width, height: box.height };
  });
  view.shape = boxes[0].width / boxes[0].height;
  lanes(page, tracks, clock, colours);
  refresh();
}

let was = performance.now(), shownPlay = null, slow = 0;

/** Half a second in which most pictures took over 45 ms to come: the next level of `View.ease`. */
function keepUp(passed) {
  if (!clock.playing || document.hidden || view.level > 2) return;
  slow = Math.max(0, slow + (passed > 0.045 ? Math.min(passed, 0.25) : -passed));
  if (slow < 0.6) return;
  slow = 0;
  view.ease(view.level + 1);
  arrange();
}

function tick(now) {
  keepUp((now - was) / 1000);
  clock.tick((now - was) / 1000);
  was = now;
  if (clock.playing) dirty = true;
  if (dirty) {
    const begun = performance.now(), place = page.canvas.getBoundingClientRect();
    dirty = view.draw(clock.seconds, place.width, place.height, boxes);
    page.scrub.value = clock.frame;
    page.scrub.setAttribute("aria-valuetext", `frame ${clock.frame} of ${clock.last}`);
    page.scrub.style.setProperty("--gone", `${clock.last ? (100 * clock.frame) / clock.last : 0}%`);
    page.time.textContent = `${clock.seconds.toFixed(2)} s · ${clock.frame} / ${clock.last}`;
    if (shownPlay !== clock.playing) {
      shownPlay = clock.playing;
      page.play.replaceChildren(icon(shownPlay ? "pause" : "play"));
      page.play.setAttribute("aria-label", shownPlay ? "pause (space)" : "play (space)");
      page.play.title = shownPlay ? "pause (space)" : "play (space)";
    }
    drawn += 1;
    cost += performance.now() - begun;
  }
  requestAnimationFrame(tick);
}

const TURN = 0.09;
const keys = {
  " ": act.play, k: act.play, ArrowLeft: (e) => act.step(e.shiftKey ? -Math.round(clock.fps) : -1),
  ArrowRight: (e) => act.step(e.shiftKey ? Math.round(clock.fps) : 1), Home: () => act.seek(0), End: () => act.seek(clock.last),
  ArrowUp: () => act.faster(1), ArrowDown: () => act.faster(-1), b: () => act.style(view.style === "body" ? "skeleton" : "body"),
  f: act.follow, t: act.trails, g: act.ghosts, c: act.contacts, l: act.loop, i: act.info, n: act.theme, r: act.home, "?": act.help,
  o: () => act.layout(view.layout === "side" ? "overlay" : "side"), a: () => act.orbit(-TURN, 0, 1), d: () => act.orbit(TURN, 0, 1),
  w: () => act.orbit(0, -TURN, 1), s: () => act.orbit(0, TURN, 1), q: () => act.orbit(0, 0, 0.92), e: () => act.orbit(0, 0, 1 / 0.92),
};
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || (page.help.open && event.key !== "?")) return;
  const { target, key } = event;
  if (target instanceof HTMLSelectElement || (target instanceof HTMLButtonElement && (key === " " || key === "Enter"))) return;
  const what = keys[key.length === 1 ? key.toLowerCase() : key] || (/^[1-6]$/.test(key) ? () => act.solo(key - 1) : null);
  if (!what) return;
  event.preventDefault();
  what(event);
});
view.controls.addEventListener("change", () => { dirty = true; });
dark.addEventListener("change", () => { theme = dark.matches ? "dark" : "light"; refresh(); });
new ResizeObserver(arrange).observe(page.panels);
document.fonts?.ready.then(arrange);

// What a page around this one, or a test, may ask.
window.hftrainerPlayer = {
  seek: act.seek, play: () => { clock.play(true); refresh(); }, pause: () => { clock.play(false); refresh(); },
  state: () => ({ frame: clock.frame, last: clock.last, seconds: clock.seconds, fps: clock.fps, playing: clock.playing,
    speed: clock.speed, loop: clock.loop, style: view.style, layout: view.layout, follow: view.follow, trails: view.trailsOn,
    ghosts: view.ghosts, contacts: view.contacts, theme, solo: view.solo, level: view.level, motions: tracks.length, panels: boxes.length,
    camera: view.eye.position.toArray(), pictures: drawn, milliseconds: drawn ? cost / drawn : 0,
    triangles: view.renderer.info.render.triangles }),
  tracks, joints: (k) => Array.from(tracks[k].points.slice(0, 3 * tracks[k].joints)),
};
arrange();
view.home();
if (header.autoplay && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) clock.play(true);
refresh();
requestAnimationFrame((now) => { was = now; tick(now); });

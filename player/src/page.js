// The page around the picture: captions, facts, the time line with the feet, buttons.

export const ICONS = {
  play: "M8 5.2v13.6L19 12z", pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z", back: "M16.5 6v12L8 12zM6 6h1.8v12H6z",
  on: "M7.5 6v12l8.5-6zM16.2 6H18v12h-1.8z", full: "M5 5h6v2H7v4H5zM13 5h6v6h-2V7h-4zM5 13h2v4h4v2H5zM17 13h2v6h-6v-2h4z",
  sun: "M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM11 2h2v3h-2zM11 19h2v3h-2zM2 11h3v2H2zM19 11h3v2h-3zM4.2 5.6l1.4-1.4 2.1 2.1-1.4 1.4zM16.3 17.7l1.4-1.4 2.1 2.1-1.4 1.4zM4.2 18.4l2.1-2.1 1.4 1.4-2.1 2.1zM16.3 6.3l2.1-2.1 1.4 1.4-2.1 2.1z",
  loop: "M7 7h9v2.6L20.5 6 16 2.4V5H5v7h2zM17 17H8v-2.6L3.5 18 8 21.6V19h11v-7h-2z", home: "M12 4 3 11.5h2.6V20h5v-5.5h2.8V20h5v-8.5H21z",
};

/** An element: `el("button.round", {title: "…"}, children…)`. */
export function el(what, about = {}, ...inside) {
  const [tag, ...classes] = what.split("."), node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(about)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  return svg;
}

export const SPEEDS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2];
export const KEYS = [
  ["space", "play or pause"], ["← →", "one frame"], ["shift ← →", "one second"], ["home end", "first or last frame"],
  ["↓ ↑", "slower or faster"], ["A D W S", "turn the camera"], ["Q E", "nearer or farther"], ["R", "camera as it was"],
  ["B", "skeleton or body"], ["F", "follow"], ["T", "trails"], ["G", "ghosts"], ["C", "contacts"], ["O", "side by side or overlaid"],
  ["1 – 6", "one motion alone"], ["L", "loop"], ["I", "captions and measures"], ["N", "dark or light"], ["?", "these keys"],
];

function toggle(label, key, act) {
  return el("button.pill", { type: "button", title: `${label} (${key})`, "aria-pressed": "false", onclick: act }, label);
}

function choice(labels, name, act) {
  return el("div.choice", { role: "group", "aria-label": name }, ...labels.map(([value, label]) =>
    el("button", { type: "button", "data-value": value, "aria-pressed": "false", onclick: () => act(value) }, label)));
}

const rows = (list) => el("dl", {}, ...list.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

/** All of the page; `act` is what its buttons do. */
export function build(root, header, tracks, accents, act) {
  const many = tracks.length > 1, page = {};
  const round = (name, title, what, kind = "") => el("button.round" + kind, { type: "button", title, "aria-label": title, onclick: what }, icon(name));
  page.canvas = el("canvas", { tabindex: "0", "aria-label": "The moving figure. Drag to turn, pinch or scroll to come nearer." });
  page.panels = el("div.panels");
  page.play = round("play", "play (space)", act.play, ".big");
  page.scrub = el("input", { type: "range", min: 0, step: 1, value: 0, "aria-label": "frame", oninput: () => act.seek(+page.scrub.value) });
  page.lanes = el("canvas.lanes", { "aria-hidden": "true", height: 8 });
  page.time = el("span.time", { "aria-live": "off" });
  page.speed = el("select", { title: "speed (↓ ↑)", "aria-label": "speed", onchange: () => act.speed(+page.speed.value) },
    ...SPEEDS.map((s) => el("option", { value: s, ...(s === 1 ? { selected: true } : {}) }, `${s}×`)));
  page.loop = round("loop", "loop (L)", act.loop);
  page.style = choice([["skeleton", "Skeleton"], ["body", "Body"]], "figure", act.style);
  page.layout = many ? choice([["side", "Side by side"], ["overlay", "Overlaid"]], "layout", act.layout) : null;
  page.follow = toggle("Follow", "F", act.follow);
  page.trails = toggle("Trails", "T", act.trails);
  page.ghosts = toggle("Ghosts", "G", act.ghosts);
  page.contacts = toggle("Contacts", "C", act.contacts);
  page.info = el("button.pill", { type: "button", title: "captions and measures (I)", "aria-pressed": "true", onclick: act.info }, "Details");
  page.cards = tracks.map((track, k) => el("article.card", { style: `--mark:${accents[k]}` },
    el("h2", {}, many ? el("button.chip", { type: "button", title: `alone (${k + 1})`, onclick: () => act.solo(k) }) : null, track.name),
    track.caption ? el("p", {}, track.caption) : null, rows(track.facts),
    track.metrics.length ? rows(track.metrics) : null, el("small", { title: "what the numbers are, and were before" }, `numbers: ${track.came}`)));
  page.side = el("aside", { "aria-label": "captions and measures" }, ...page.cards, el("p.legend", {},
    el("i.left"), "left", el("i.right"), "right", el("i.metre"), "grid 1 m"));
  page.help = el("dialog", { onclick: (event) => event.target === page.help && page.help.close() },
    el("h2", {}, "Keys"), el("dl.keys", {}, ...KEYS.flatMap(([key, what]) => [el("dt", {}, key), el("dd", {}, what)])),
    el("button.pill", { type: "button", onclick: () => page.help.close() }, "close"));
  page.tip = el("p.tip", { role: "status" });
  const corner = [round("home", "camera as it was (R)", act.home), round("sun", "dark or light (N)", act.theme),
    document.fullscreenEnabled ? round("full", "whole screen", act.full) : null,
    el("button.round", { type: "button", title: "keys (?)", "aria-label": "keys (?)", onclick: act.help }, "?")];
  root.replaceChildren(
    el("main", {},
      el("div.stage", {}, page.canvas, page.panels, page.tip, many ? null : el("div.corner", {}, ...corner)),
      page.side,
      el("footer", {},
        el("div.line", {}, page.scrub, page.lanes),
        el("div.bar", {},
          el("div.group", {}, round("back", "one frame back (←)", () => act.step(-1)), page.play,
            round("on", "one frame on (→)", () => act.step(1)), page.time),
          el("div.group", {}, page.speed, page.loop), el("div.group", {}, page.style, page.layout),
          el("div.group.end", {}, page.follow, page.trails, page.ghosts, page.contacts, page.info, ...(many ? corner : []))))),
    page.help);
  return page;
}

/** Captions over the picture, one for each panel. */
export function panels(page, shown, tracks, accents, alone) {
  page.panels.replaceChildren(...shown.map((members) => el("section.panel", {}, el("div.said", {},
    ...members.map((k) => el("p", { style: `--mark:${accents[k]}` }, tracks.length > 1 ? el("b", {}, tracks[k].name) : null,
      tracks.length === 1 && tracks[k].caption ? el("span", {}, tracks[k].caption) : null))),
    tracks.length > 1 && members.length === 1 ? el("p.below", {}, tracks[members[0]].caption) : null)));
  page.panels.dataset.marked = tracks.length > 1;
  page.panels.dataset.alone = alone;
}

/** Columns that give the panels the most room, for figures that stand. */
export function columns(count, width, height) {
  let best = 1, most = 0;
  for (let c = 1; c <= count; c++) {
    const w = width / c, h = height / Math.ceil(count / c), size = Math.min(w / 0.72, h);
    if (size > most + 0.5) [best, most] = [c, size];
  }
  return best;
}

/** Feet along the time line: for each motion left above right. */
export function lanes(page, tracks, clock, colours) {
  const { canvas } = { canvas: page.lanes }, ratio = window.devicePixelRatio || 1;
  const thick = tracks.length > 3 ? 2 : 3, gap = tracks.length > 1 ? 3 : 1;
  const wide = canvas.clientWidth, tall = tracks.length * (2 * thick + 1) + (tracks.length - 1) * gap;
  canvas.style.height = `${tall}px`;
  canvas.width = Math.max(1, Math.round(wide * ratio));
  canvas.height = Math.max(1, Math.round(tall * ratio));
  const pen = canvas.getContext("2d"), inset = 8, room = wide - 2 * inset;
  pen.scale(ratio, ratio);
  tracks.forEach((track, k) => track.contacts.forEach((runs, foot) => {
    const top = k * (2 * thick + 1 + gap) + foot * (thick + 1);
    pen.globalAlpha = 0.16;
    pen.fillStyle = "#8892a6";
    pen.fillRect(inset, top, (room * track.duration) / Math.max(clock.duration, 1e-6), thick);
    pen.globalAlpha = 0.95;
    pen.fillStyle = `rgb(${colours[foot ? "right" : "left"]})`;
    for (const [first, after] of runs) {
      const x = inset + (room * (first / track.fps)) / Math.max(clock.duration, 1e-6);
      const end = Math.min((after - 0.2) / track.fps, track.duration);
      pen.fillRect(x, top, Math.max(1.5, inset + (room * end) / Math.max(clock.duration, 1e-6) - x), thick);
    }
  }));
}

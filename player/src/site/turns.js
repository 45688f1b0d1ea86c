// The conversation as it is seen: what was asked on the right, what came of it below.
import { el } from "../page.js";
import { Film } from "./film.js";
import { FORMATS } from "./motions.js";
import { screen } from "./screen.js";
import { VERBS, asked, madeAnew } from "./verbs.js";
import { button, popup } from "./widgets.js";

const FIRST = [".bvh", ".glb", ".mp4"]; // formats that need no menu
const say = (ending) => ending.slice(1).toUpperCase();

/** A turn of the page; `app` does what its buttons say. */
export class Turn {
  constructor(app, turn) {
    Object.assign(this, { app, turn, films: [] });
    this.body = el("div.reply", {});
    this.node = el("article.turn", { "data-verb": turn.verb, "aria-label": turn.text || asked(turn.verb, turn.knobs, turn.motions.length) }, this.question(), this.body);
    this.update();
  }

  question() {
    const { turn, app } = this, said = turn.text || asked(turn.verb, turn.knobs, turn.motions.length);
    const note = turn.text && turn.verb !== "generate" ? (turn.verb === "caption" ? "" : asked(turn.verb, turn.knobs, turn.motions.length)) : "";
    return el("div.asked", {}, turn.motions.length ? el("div.chips", {}, ...turn.motions.map((key) => el("span.chip", {}, app.motions.of(key)?.name ?? "a motion"))) : null,
      el("p.bubble", {}, said), note ? el("p.note", {}, note) : null);
  }

  /** The reply as the turn now stands. */
  update() {
    const { turn } = this;
    if (turn.state === "waiting" && this.bar) return this.progress();
    this.drop();
    this.bar = null;
    if (turn.state === "waiting") this.body.replaceChildren(this.waiting());
    else if (turn.state === "done") this.body.replaceChildren(...(turn.captions ? this.captions() : this.answer()));
    else this.body.replaceChildren(this.refusal());
  }

  waiting() {
    this.words = el("p", {}, "");
    this.bar = el("div.bar", { role: "progressbar", "aria-label": "progress", "aria-valuemin": 0, "aria-valuemax": 100 }, el("i"));
    const node = el("div.waiting", {}, el("div.row", {}, this.words, button("text", null, "Cancel", () => this.app.cancel(this.turn), true)), this.bar);
    this.progress();
    return node;
  }

  progress() {
    const { position, progress, message, state } = this.turn.job ?? {};
    const before = position === 1 ? "One request is before yours" : `${position} requests are before yours`;
    this.words.textContent = state === "queued" ? (position > 0 ? before : "Waiting for its turn") : message ? message[0].toUpperCase() + message.slice(1) : state ? "Working" : "Sending";
    const known = typeof progress === "number" && progress > 0;
    this.bar.classList.toggle("unknown", !known);
    this.bar.firstChild.style.width = known ? `${100 * progress}%` : "";
    if (known) this.bar.setAttribute("aria-valuenow", Math.round(100 * progress));
  }

  refusal() {
    const { turn, app } = this, stopped = turn.state === "cancelled";
    return el(stopped ? "div.waiting" : "div.waiting.trouble", { role: stopped ? null : "alert" }, el("div.row", {}, el("p", {}, stopped ? "Cancelled." : turn.error),
      button("text", "again", stopped ? "Ask again" : "Try again", () => app.repeat(turn, false), true)));
  }

  film(key, more = {}) {
    const { app } = this;
    const film = new Film({ load: () => app.motions.track(key), full: () => app.full([key]), ...more });
    this.films.push(film);
    return film;
  }

  /** Motions that were made. */
  answer() {
    const { turn, app } = this, many = turn.made.length > 1, given = turn.motions.map((key) => app.motions.of(key)).filter(Boolean);
    const cells = turn.made.map((key, k) => {
      const motion = app.motions.of(key);
      const made = given.length === turn.motions.length ? madeAnew(turn.verb, turn.knobs, given, motion) : [];
      const film = this.film(key, { made, caption: turn.text && turn.verb === "generate" ? turn.text : motion.caption || "", mark: many ? String(k + 1) : "", small: many });
      return el("section.cell", {}, film.node, this.facts(motion, made), this.acts(key, many));
    });
    const foot = el("div.acts.turnacts", {}, many ? button("text", "full", "Compare", () => app.full(turn.made), true) : null,
      button("text", "again", "Another one", () => app.repeat(turn, true), true));
    if (!many) cells[0].querySelector(".acts").append(...foot.children);
    return [...(turn.said ? [el("p.said", {}, turn.said)] : []), el(many ? "div.cells.many" : "div.cells", {}, ...cells), ...(many ? [foot] : [])];
  }

  facts(motion, made) {
    const { model, seed } = { ...this.turn, ...motion.about }, seen = [`${motion.seconds.toFixed(1)} s`, `${motion.frames} frames at ${+motion.fps.toFixed(2)} fps`];
    if (seed !== undefined && seed !== null) seen.push(`seed ${seed}`);
    const named = typeof model === "string" ? model.split("/").pop() : this.turn.model;
    return el("p.facts", {}, named ? el("b", {}, named) : null, ...seen.map((text) => el("span", {}, text)),
      made.length ? el("span.key", {}, "made anew") : null);
  }

  /** What can be done with a motion. */
  acts(key, tight) {
    const { app } = this, motion = app.motions.of(key), endings = Object.keys(motion.files);
    const get = async (by, ending) => {
      by.setAttribute("aria-busy", "true");
      try {
        await app.motions.download(key, ending);
        app.say(`${say(ending)} downloaded`);
      } catch (error) {
        app.complain(error);
      } finally {
        by.removeAttribute("aria-busy");
      }
    };
    const quick = (tight ? [] : FIRST.filter((ending) => endings.includes(ending))).map((ending) =>
      el("button.pill", { type: "button", title: `download: ${FORMATS[ending]}`, "data-file": ending, onclick: (event) => get(event.currentTarget, ending) }, say(ending)));
    const all = popup(button("pill.more", "save", tight ? "Download" : "All formats", null, true), () => endings.map((ending) =>
      el("button.entry", { type: "button", "data-file": ending, onclick: (event) => get(event.currentTarget, ending) }, el("b", {}, say(ending)), el("span", {}, FORMATS[ending] ?? ""))),
    "download", ".files");
    const next = ["caption", "predict", "inbetween", "edit"].filter((verb) => app.can(verb)).map((verb) =>
      el("button.entry", { type: "button", "data-verb": verb, onclick: () => app.take(key, verb) }, el("b", {}, VERBS[verb].tab), el("span", {}, VERBS[verb].title)));
    return el("div.acts", {}, el("div.group", {}, ...quick, all),
      popup(button("text.more", "figure", "Use it", null, true), (shut) => { next.forEach((one) => one.addEventListener("click", shut, { once: true })); return next; }, "what to do with it", ".files"));
  }

  /** Sentences about motions, beside them. */
  captions() {
    const { turn, app } = this;
    return turn.captions.map((sentences, k) => {
      const key = turn.motions[k], film = this.film(key, { small: true });
      return el("section.caption", {}, film.node, el("div", {}, el("blockquote", {}, sentences[0]),
        ...(sentences.length > 1 ? [el("ul", {}, ...sentences.slice(1).map((text) => el("li", {}, text)))] : []),
        el("p.facts", {}, el("b", {}, turn.model ?? ""), el("span", {}, `${app.motions.of(key).seconds.toFixed(1)} s`)),
        el("div.acts", {}, button("text", "again", "Make a motion of it", () => app.ask("generate", sentences[0]), true))));
    });
  }

  drop() {
    for (const film of this.films) screen.remove(film);
    this.films = [];
  }

  remove() {
    this.drop();
    this.node.remove();
  }
}

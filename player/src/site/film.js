// A live player inside an answer: the picture, a time line with the feet, play, skeleton or body, the whole player.
import { Clock } from "../clock.js";
import { el, icon, lanes } from "../page.js";
import { Track, unpack } from "../tracks.js";
import { screen } from "./screen.js";

const RESTS = 8; // rounds until it rests: a page left alone costs nothing
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Film {
  /**
   * `load` fetches what the player reads. `made`: shares of the time line that are new, [[from, to], …]. `full` opens
   * the whole player.
   */
  constructor({ load, caption = "", mark = "", made = [], full, small = false }) {
    Object.assign(this, { load, made, view: null, inView: false, dirty: true, pictures: 0, rounds: 0, left: 0, wanted: !calm.matches });
    const round = (name, title, act) => el("button.icon", { type: "button", title, "aria-label": title, onclick: act }, icon(name));
    this.canvas = el("canvas", { tabindex: "0", role: "img", "aria-label": `${caption || "A motion"}. Space plays, arrows step, A D W S turn.` });
    this.pen = this.canvas.getContext("2d");
    this.word = el("p.word", {}, "");
    this.stage = el("div.stage", {}, this.canvas, caption ? el("p.over", {}, mark ? el("b", {}, mark) : null, caption) : null, this.word);
    this.play = round("play", "play", () => this.toggle());
    this.scrub = el("input", { type: "range", min: 0, max: 1, step: 1, value: 0, "aria-label": "frame", oninput: () => this.seek(+this.scrub.value) });
    this.lanes = el("canvas.lanes", { "aria-hidden": "true", height: 7 });
    this.time = el("span.time", {}, "");
    this.style = el("button.text", { type: "button", title: "skeleton or body (B)", onclick: () => this.dress() }, "Body");
    this.node = el(small ? "div.film.small" : "div.film", { role: "group", "aria-label": "player" }, this.stage,
      el("div.controls", {}, this.play, el("div.line", {}, this.scrub, this.lanes), this.time, small ? null : this.style,
        round("full", "the whole player: trails, ghosts, speed", full)));
    this.node.film = this;
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("dblclick", full);
    screen.add(this);
  }

  /** It comes near: its numbers are fetched, once. */
  async wake() {
    if (this.asked) return;
    this.asked = true;
    this.word.textContent = "Unpacking …";
    try {
      this.buffer = await this.load();
      const { header, read } = unpack(this.buffer);
      Object.assign(this, { header, read, tracks: header.motions.map((about) => new Track(about, read)) });
    } catch (error) {
      this.asked = false;
      this.word.textContent = error.message;
      return;
    }
    this.clock = new Clock(this.tracks);
    this.scrub.max = this.clock.last;
    this.word.textContent = "";
    this.line();
    this.look(this.inView);
  }

  /** It comes into view or leaves it. */
  look(inView) {
    this.inView = inView;
    if (!inView) {
      this.left = performance.now();
      if (this.clock?.playing) { this.clock.play(false); this.wanted = true; }
      return this.clock && this.tell();
    }
    if (!this.clock) return this.wake();
    if (!this.view) {
      if (!screen.renderer) {
        this.word.textContent = "This browser draws no 3D (WebGL is off). Turn on hardware acceleration, or download a video.";
        return;
      }
      this.view = screen.viewOf(this);
      Object.assign(this.view.controls, { enableZoom: false, enablePan: false });
      this.view.controls.addEventListener("change", () => { this.dirty = true; });
      this.canvas.style.touchAction = "pan-y"; // a finger scrolls the page, and turns the figure when it goes across
      this.view.style = this.body ? "body" : "skeleton";
      this.view.shape = this.stage.clientWidth / this.stage.clientHeight;
      this.view.home();
      this.view.dress();
    }
    this.theme();
    if (this.wanted && !document.hidden) this.clock.play(true);
    this.tell();
  }

  theme() {
    this.view?.stage.theme(document.documentElement.dataset.theme);
    if (this.clock) this.line();
    this.dirty = true;
  }

  /** Nothing of it stays on the graphics card; its last picture stays to be seen. */
  sleep() {
    this.view?.dispose();
    this.view = null;
  }

  /** The time line: where feet are down, and what is new. */
  line() {
    lanes(this, this.tracks, this.clock, this.header.figure.colours);
    const stops = this.made.flatMap(([from, to]) => [`transparent ${100 * from}%`, `var(--accent) ${100 * from}%`, `var(--accent) ${100 * to}%`, `transparent ${100 * to}%`]);
    this.node.style.setProperty("--made", stops.length ? `linear-gradient(90deg, ${stops.join(", ")})` : "none");
  }

  toggle() {
    if (!this.clock) return;
    this.wanted = !this.clock.playing;
    this.rounds = 0;
    this.clock.play(this.wanted);
    this.tell();
  }

  seek(frame) {
    if (!this.clock) return;
    this.wanted = false;
    if (this.clock.playing) this.clock.play(false);
    this.clock.seek(frame);
    this.dirty = true;
    this.tell();
  }

  dress() {
    this.body = !this.body;
    this.style.textContent = this.body ? "Skeleton" : "Body";
    if (this.view) {
      this.view.style = this.body ? "body" : "skeleton";
      this.view.dress();
    }
    this.dirty = true;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLButtonElement) return;
    const { clock, view } = this, turn = 0.12;
    const step = (frames) => this.seek(clock.frame + frames);
    const act = { " ": () => this.toggle(), k: () => this.toggle(), b: () => this.dress(),
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => this.seek(0), End: () => this.seek(clock.last),
      a: () => view.orbit(-turn, 0, 1), d: () => view.orbit(turn, 0, 1), w: () => view.orbit(0, -turn, 1), s: () => view.orbit(0, turn, 1),
      q: () => view.orbit(0, 0, 0.92), e: () => view.orbit(0, 0, 1 / 0.92), r: () => view.home() }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || !view) return;
    event.preventDefault();
    act();
    this.dirty = true;
  }

  /** Buttons and numbers say what is so. */
  tell() {
    const { clock } = this;
    if (clock.playing && clock.seconds < this.before && ++this.rounds >= RESTS) {
      this.wanted = false;
      clock.play(false);
      clock.seek(0);
    }
    this.before = clock.seconds;
    this.scrub.value = clock.frame;
    const whole = ((clock.last + 1) / clock.fps).toFixed(1);
    this.scrub.setAttribute("aria-valuetext", `${clock.seconds.toFixed(1)} of ${whole} seconds`);
    this.scrub.style.setProperty("--gone", `${clock.last ? (100 * clock.frame) / clock.last : 0}%`);
    this.time.textContent = `${clock.seconds.toFixed(1)} / ${whole} s`;
    if (this.shown === clock.playing) return;
    this.shown = clock.playing;
    const says = clock.playing ? "pause" : "play";
    this.play.replaceChildren(icon(says));
    this.play.title = says;
    this.play.setAttribute("aria-label", says);
  }

  /** What a test may ask. */
  get state() {
    const { clock, view, pictures, inView } = this;
    return { ready: Boolean(clock && view && pictures), pictures, inView, playing: Boolean(clock?.playing), frame: clock?.frame, last: clock?.last, fps: clock?.fps };
  }

  /** Joints in one frame as they are shown, x, y, z in a row. */
  joints(frame) {
    const track = this.tracks[0];
    return Array.from({ length: track.joints }, (_, ball) => track.ball(frame, ball)).flat();
  }
}

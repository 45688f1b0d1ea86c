// One picture-maker for all players of the page. Each draws through it into its own canvas, and only those in view
// move: any number of answers costs what is seen of them.
import { View, rendererOf } from "../view.js";

const AWAKE = 6; // views that keep their bodies on the graphics card
const COARSE = [1, 0.75, 0.6, 0.5];

class Screen {
  constructor() {
    this.films = new Set();
    this.level = this.slow = this.was = this.count = this.rest = 0;
    this.eye = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) target.film.look(isIntersecting);
    }, { threshold: 0.3 });
    this.near = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) if (isIntersecting) target.film.wake();
    }, { rootMargin: "60% 0px" });
    this.size = new ResizeObserver((changed) => { for (const { target } of changed) target.film.dirty = true; });
    requestAnimationFrame((now) => this.tick(now));
  }

  /** What draws; made when the first figure comes near. `null` where the browser draws no 3D. */
  get renderer() {
    if (this.made === undefined) {
      this.canvas = document.createElement("canvas");
      try {
        this.made = rendererOf(this.canvas);
        this.wide = this.tall = 0;
      } catch (error) {
        console.info(`no 3D: ${error.message}`);
        this.made = null;
      }
    }
    return this.made;
  }

  add(film) {
    this.films.add(film);
    film.stage.film = film;
    for (const watch of [this.eye, this.near, this.size]) watch.observe(film.stage);
  }

  remove(film) {
    this.films.delete(film);
    for (const watch of [this.eye, this.near, this.size]) watch.unobserve(film.stage);
    film.sleep();
  }

  /** A view for a film; the one that was longest out of sight gives its place. */
  viewOf(film) {
    const awake = [...this.films].filter((one) => one.view && !one.inView).sort((a, b) => a.left - b.left);
    let most = AWAKE - [...this.films].filter((one) => one.view && one.inView).length;
    while (awake.length > Math.max(most - 1, 0)) awake.shift().sleep();
    return new View(film.canvas, film.header, film.tracks, film.read, this.renderer);
  }

  tick(now) {
    const passed = Math.min((now - this.was) / 1000, 0.25);
    this.was = now;
    this.count += 1;
    let moving = 0;
    const begun = performance.now(), may = begun >= this.rest; // a slow machine rests as long as it draws
    for (const film of this.films) {
      if (!film.view || !film.inView) continue;
      moving += film.clock.playing;
      film.clock.tick(passed);
      if (may && (film.dirty || film.clock.playing)) this.draw(film);
    }
    const cost = performance.now() - begun;
    if (may && cost > 12) this.rest = begun + 2 * cost;
    this.keepUp(passed, moving);
    requestAnimationFrame((next) => this.tick(next));
  }

  draw(film) {
    const { renderer, canvas } = this, wide = film.stage.clientWidth, tall = film.stage.clientHeight;
    if (!wide || !tall) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2) * COARSE[this.level];
    if (wide > this.wide || tall > this.tall || ratio !== renderer.getPixelRatio()) {
      this.wide = Math.max(wide, this.wide);
      this.tall = Math.max(tall, this.tall);
      renderer.setPixelRatio(ratio);
      renderer.setSize(this.wide, this.tall, false);
    }
    renderer.shadowMap.enabled = film.view.stage.sun.castShadow = this.level < 2;
    film.dirty = film.view.draw(film.clock.seconds, this.wide, this.tall, [{ x: 0, y: 0, width: wide, height: tall }]);
    const w = Math.round(wide * ratio), h = Math.round(tall * ratio);
    if (film.canvas.width !== w || film.canvas.height !== h) Object.assign(film.canvas, { width: w, height: h });
    film.pen.drawImage(canvas, 0, 0, w, h, 0, 0, w, h);
    film.pictures += 1;
    film.tell();
  }

  /** Where pictures come too slowly, coarser ones, then none of the shadows. */
  keepUp(passed, moving) {
    if (!moving || document.hidden || this.level === 3) return;
    this.slow = Math.max(0, this.slow + (passed > 0.045 ? passed : -passed));
    if (this.slow < 0.6) return;
    this.slow = 0;
    this.level += 1;
    for (const film of this.films) film.dirty = true;
  }
}

export const screen = new Screen();

// What is seen: one picture per panel, each with the camera at the same place beside its own motion.
import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { Figure, Wardrobe } from "./figures.js";
import { Stage, Steps, Trails } from "./stage.js";

export const ACCENTS = ["#8b5cf6", "#14b8a6", "#ec4899", "#84a30d", "#d9a406", "#64748b"];

/** What draws, into a canvas. */
export function rendererOf(canvas) {
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, powerPreference: "high-performance" });
  renderer.shadowMap.enabled = true;
  renderer.shadowMap.type = THREE.PCFShadowMap;
  renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
  return renderer;
}

export class View {
  /** `canvas` is what is dragged to turn; a renderer may serve several views. */
  constructor(canvas, header, tracks, read, renderer = rendererOf(canvas)) {
    this.tracks = tracks;
    this.renderer = renderer;
    this.stage = new Stage();
    const wardrobe = new Wardrobe(header.mesh, read), drawn = header.figure.parts;
    this.figures = tracks.map((track) => new Figure(track, drawn, wardrobe));
    this.steps = tracks.map((track) => new Steps(track, header.figure.colours));
    this.trails = tracks.map(() => null);
    this.colours = header.figure.colours;
    this.groups = tracks.map((_, k) => {
      const group = new THREE.Group();
      group.add(this.figures[k].group, this.steps[k].group);
      this.stage.scene.add(group);
      return group;
    });
    this.camera = new THREE.PerspectiveCamera(34, 1, 0.05, 80);
    this.eye = new THREE.PerspectiveCamera(34, 1, 0.05, 80); // relative to what is followed
    this.controls = new OrbitControls(this.eye, canvas);
    Object.assign(this.controls, { enableDamping: true, dampingFactor: 0.12, minDistance: 0.8, maxDistance: 30,
      maxPolarAngle: Math.PI * 0.495, zoomSpeed: 0.8 });
    this.level = 0;
    this.follow = true;
    this.layout = header.layout;
    this.style = header.style;
    this.ghosts = this.trailsOn = false;
    this.contacts = true;
    this.solo = null;
    this.apart();
    this.home();
  }

  /** All motions begin over the same spot. */
  apart() {
    for (const track of this.tracks) track.shift = [-track.rootOf[0], -track.rootOf[2]];
    this.figures.forEach((figure) => figure.moved());
  }

  /** Motions of one panel. */
  shown() {
    const all = this.tracks.map((_, k) => k).filter((k) => this.solo === null || k === this.solo);
    return this.layout === "overlay" ? [all] : all.map((k) => [k]);
  }

  /** Where the camera looks in a panel, x and z. */
  middle(members, seconds) {
    const of = (k) => {
      const { shift, low, high } = this.tracks[k];
      return this.follow ? this.tracks[k].way(seconds) : [0, 1].map((a) => shift[a] + (low[a] + high[a]) / 2);
    };
    const all = members.map(of);
    return [0, 1].map((a) => all.reduce((sum, place) => sum + place[a], 0) / all.length);
  }

  /** Half of the ground that a panel must show besides the body. */
  room(members) {
    let most = 0;
    for (const k of members) {
      const { low, high } = this.tracks[k];
      if (!this.follow) most = Math.max(most, Math.hypot(high[0] - low[0], high[1] - low[1]) / 2);
    }
    if (members.length > 1 && this.follow) {
      const { duration } = this.tracks[members[0]];
      for (let part = 0; part <= 8; part++) {
        const at = (part / 8) * duration, middle = this.middle(members, at);
        for (const k of members) {
          const way = this.tracks[k].way(at);
          most = Math.max(most, Math.hypot(way[0] - middle[0], way[1] - middle[1]));
        }
      }
    }
    return Math.min(most, 6);
  }

  /** The camera as the page opens: from the front and a little to the side. */
  home() {
    const scale = Math.max(...this.tracks.map((track) => track.scale));
    const tall = Math.max(...this.tracks.map((track) => track.tall)) + 0.85 * scale;
    const angle = this.tracks[0].heading + 0.62;
    const room = Math.max(...this.shown().map((members) => this.room(members)));
    const half = Math.tan((17 * Math.PI) / 180) * Math.max(0.62, this.shape || 1); // of what is seen, a metre away
    const far = Math.max(tall * 2.2, (room + 0.7 * scale) / half + 0.25 * room);
    this.controls.target.set(0, 0.47 * tall, 0);
    const lift = 0.2;
    this.eye.position.set(Math.sin(angle) * Math.cos(lift), Math.sin(lift), Math.cos(angle) * Math.cos(lift))
      .multiplyScalar(far).add(this.controls.target);
    this.controls.update();
  }

  /** Turn about what is looked at, or come nearer, as keys ask. */
  orbit(across, up, nearer) {
    const away = this.eye.position.clone().sub(this.controls.target);
    const ball = new THREE.Spherical().setFromVector3(away);
    ball.theta += across;
    ball.phi = Math.min(Math.max(ball.phi + up, 0.1), this.controls.maxPolarAngle);
    ball.radius = Math.min(Math.max(ball.radius * nearer, this.controls.minDistance), this.controls.maxDistance);
    this.eye.position.copy(away.setFromSpherical(ball)).add(this.controls.target);
  }

  /** Carry styles, ghosts, ways and colours out to the figures. */
  dress() {
    const mark = this.layout === "overlay" && this.tracks.length > 1;
    this.figures.forEach((figure, k) => {
      figure.dye(mark ? ACCENTS[k] : null);
      figure.show(this.style, this.ghosts);
      if (this.trailsOn && !this.trails[k]) {
        this.trails[k] = new Trails(this.tracks[k], this.colours);
        this.groups[k].add(this.trails[k].group);
      }
      if (this.trails[k]) this.trails[k].group.visible = this.trailsOn;
      this.steps[k].group.visible = this.contacts;
    });
  }

  /** Draw all panels; `boxes` are their places on the canvas, pixels of the page from the top left. */
  draw(seconds, width, height, boxes) {
    const { renderer, camera, stage } = this;
    const moving = this.controls.update();
    const panels = this.shown();
    renderer.setScissorTest(false);
    renderer.setViewport(0, 0, width, height);
    renderer.setScissorTest(true);
    panels.forEach((members, k) => {
      const box = boxes[k];
      if (!box || box.width < 2 || box.height < 2) return;
      this.groups.forEach((group, at) => (group.visible = members.includes(at)));
      for (const at of members) {
        this.figures[at].pose(seconds);
        this.tracks[at].at(seconds);
        if (this.contacts) this.steps[at].set(seconds);
        if (this.trailsOn) this.trails[at].set(seconds, box.width, box.height);
      }
      const [x, z] = this.middle(members, seconds);
      const wide = this.ghosts ? Math.max(...members.map((at) => this.reach(at))) : this.room(members);
      stage.about(x, z, Math.min(Math.max(2.2, wide + 1.6), 7));
      camera.copy(this.eye);
      camera.position.x += x;
      camera.position.z += z;
      camera.aspect = this.shape = box.width / box.height;
      // what is tall on a desk is narrow on a phone: keep the width of the body in view too
      camera.fov = camera.aspect < 0.62 ? (2 * 180 / Math.PI) * Math.atan(Math.tan((17 * Math.PI) / 180) * 0.62 / camera.aspect) : 34;
      camera.updateProjectionMatrix();
      camera.updateMatrixWorld();
      stage.lamp.position.copy(camera.position);
      stage.lamp.target.position.set(x, 1, z);
      renderer.setViewport(box.x, height - box.y - box.height, box.width, box.height);
      renderer.setScissor(box.x, height - box.y - box.height, box.width, box.height);
      renderer.render(stage.scene, camera);
    });
    return moving;
  }

  /** A machine that cannot keep up gets coarser pictures, then no shadows: 0 is the best, 3 the quickest. */
  ease(level) {
    this.level = level;
    const full = Math.min(window.devicePixelRatio || 1, 2);
    this.renderer.setPixelRatio(full * [1, 0.75, 0.6, 0.5][level]);
    this.renderer.shadowMap.enabled = this.stage.sun.castShadow = level < 2;
  }

  reach(k) {
    const { low, high } = this.tracks[k];
    return Math.hypot(high[0] - low[0], high[1] - low[1]);
  }

  /** Give back what the graphics card holds for this view; the renderer stays. */
  dispose() {
    this.controls.dispose();
    this.stage.sun.shadow.map?.dispose();
    this.stage.scene.traverse((thing) => {
      thing.geometry?.dispose();
      thing.material?.dispose();
      thing.skeleton?.dispose();
    });
  }
}

// The room: light, a floor with a line every metre, ways of joints, places where feet are down.
import * as THREE from "three";

export const THEMES = {
  light: { paper: 0xf3f5f9, line: 0x8c9ab3, shade: 0.3, sky: 0xffffff, earth: 0xc9cfdb, sun: 1.9, fill: 1.9, lamp: 1.0 },
  dark: { paper: 0x11151d, line: 0x6d7d9c, shade: 0.5, sky: 0xdfe8ff, earth: 0x4a5266, sun: 2.0, fill: 1.7, lamp: 1.1 },
};

const FLOOR = {
  vertexShader: `varying vec2 at; void main() { vec4 p = modelMatrix * vec4(position, 1.0); at = p.xz;
    gl_Position = projectionMatrix * viewMatrix * p; }`,
  fragmentShader: `varying vec2 at; uniform vec2 middle; uniform float reach; uniform vec3 line; uniform float strength;
    float lines(float step, float wide) { vec2 w = fwidth(at / step) * wide; vec2 d = abs(fract(at / step - 0.5) - 0.5);
      vec2 m = 1.0 - smoothstep(vec2(0.0), max(w, 1e-6), d); m *= clamp(0.35 / max(w, 1e-6), 0.0, 1.0);
      return max(m.x, m.y); }
    void main() { float fade = 1.0 - smoothstep(0.25, 1.0, length(at - middle) / reach);
      float a = max(lines(1.0, 1.4) * 0.75, lines(5.0, 2.0)) * fade * strength;
      gl_FragColor = vec4(line, a); if (a < 0.004) discard;
      #include <colorspace_fragment>
    }`,
};

export class Stage {
  constructor() {
    this.scene = new THREE.Scene();
    this.sky = new THREE.HemisphereLight(0xffffff, 0xb9c0cf, 1.5);
    this.sun = new THREE.DirectionalLight(0xffffff, 2.1);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    this.sun.shadow.bias = -0.0006;
    this.sun.shadow.normalBias = 0.02;
    this.sun.shadow.radius = 5;
    Object.assign(this.sun.shadow.camera, { near: 0.5, far: 14 });
    this.lamp = new THREE.DirectionalLight(0xffffff, 1); // from where one looks
    this.scene.add(this.sky, this.sun, this.sun.target, this.lamp, this.lamp.target);
    this.grid = new THREE.ShaderMaterial({ ...FLOOR, transparent: true, depthWrite: false, uniforms: {
      middle: { value: new THREE.Vector2() }, reach: { value: 9 }, line: { value: new THREE.Color() },
      strength: { value: 0.8 } } });
    const plane = new THREE.PlaneGeometry(60, 60).rotateX(-Math.PI / 2);
    this.floor = new THREE.Mesh(plane, this.grid);
    this.floor.renderOrder = -2;
    this.shade = new THREE.Mesh(plane, new THREE.ShadowMaterial({ transparent: true, depthWrite: false }));
    this.shade.receiveShadow = true;
    this.shade.renderOrder = -1;
    this.shade.position.y = 0.001;
    this.scene.add(this.floor, this.shade);
  }

  theme(name) {
    const look = THEMES[name];
    this.scene.background = new THREE.Color(look.paper);
    this.grid.uniforms.line.value.set(look.line);
    this.shade.material.opacity = look.shade;
    this.sky.color.set(look.sky);
    this.sky.groundColor.set(look.earth);
    this.sky.intensity = look.fill;
    this.sun.intensity = look.sun;
    this.lamp.intensity = look.lamp;
  }

  /** Light and floor go with what is looked at; `room` is how far the light must reach. */
  about(x, z, room) {
    this.sun.target.position.set(x, 0.5, z);
    this.sun.position.set(x + 2.2, 6.0, z + 2.6);
    const eye = this.sun.shadow.camera;
    if (eye.right !== room) {
      Object.assign(eye, { left: -room, right: room, top: room, bottom: -room });
      eye.updateProjectionMatrix();
    }
    this.floor.position.set(Math.round(x), 0, Math.round(z));
    this.shade.position.set(x, 0.001, z);
    this.grid.uniforms.middle.value.set(x, z);
    this.grid.uniforms.reach.value = Math.max(7, 2.6 * room);
  }
}

const WAY = {
  vertexShader: `attribute vec3 before; attribute vec3 after; attribute float side; attribute float when;
    uniform vec2 size; uniform float wide; varying float vWhen;
    void main() { vWhen = when; mat4 m = projectionMatrix * viewMatrix;
      vec4 p = m * vec4(position, 1.0), a = m * vec4(before, 1.0), b = m * vec4(after, 1.0);
      vec2 way = (b.xy / b.w - a.xy / a.w) * size; float far = length(way);
      vec2 across = far > 1e-6 ? vec2(-way.y, way.x) / far : vec2(0.0);
      p.xy += across * side * wide / size * p.w; gl_Position = p; }`,
  fragmentShader: `uniform float now; uniform float span; uniform vec3 tone; uniform float strength; varying float vWhen;
    void main() { float age = (now - vWhen) / span; if (age < 0.0 || age > 1.0) discard;
      gl_FragColor = vec4(tone, strength * (1.0 - age) * (1.0 - 0.4 * age));
      #include <colorspace_fragment>
    }`,
};

/** The way of a point as a ribbon of constant width on the picture; it is laid once and shown up to a moment. */
function ribbon(places, fps, tone, wide, span, strength) {
  const n = places.length, shape = new THREE.BufferGeometry();
  const here = [], before = [], after = [], side = [], when = [], faces = [];
  places.forEach((place, k) => {
    for (const s of [-1, 1]) {
      here.push(...place);
      before.push(...places[Math.max(k - 1, 0)]);
      after.push(...places[Math.min(k + 1, n - 1)]);
      side.push(s);
      when.push(k / fps);
    }
    if (k) faces.push(2 * k - 2, 2 * k - 1, 2 * k, 2 * k, 2 * k - 1, 2 * k + 1);
  });
  for (const [name, values, width] of [["position", here, 3], ["before", before, 3], ["after", after, 3],
    ["side", side, 1], ["when", when, 1]]) shape.setAttribute(name, new THREE.Float32BufferAttribute(values, width));
  shape.setIndex(faces);
  const mesh = new THREE.Mesh(shape, new THREE.ShaderMaterial({ ...WAY, transparent: true, depthWrite: false,
    side: THREE.DoubleSide, uniforms: { size: { value: new THREE.Vector2(1, 1) }, wide: { value: wide },
      now: { value: 0 }, span: { value: span }, tone: { value: tone }, strength: { value: strength } } }));
  mesh.frustumCulled = false;
  return mesh;
}

/** Ways of hands and feet in the air, and of the pelvis on the floor. */
export class Trails {
  constructor(track, colours) {
    const tone = (name) => new THREE.Color().setRGB(...colours[name].map((v) => v / 255), THREE.SRGBColorSpace);
    this.group = new THREE.Group();
    for (const [ball, name] of [[20, "left"], [21, "right"], [10, "left"], [11, "right"]]) {
      const places = Array.from({ length: track.frames }, (_, f) => track.ball(f, ball));
      this.group.add(ribbon(places, track.fps, tone(name), 2.6, 1.4, 0.9));
    }
    const ground = Array.from({ length: track.frames }, (_, f) => {
      const [x, , z] = track.ball(f, 0);
      return [x, 0.004, z];
    });
    this.group.add(ribbon(ground, track.fps, tone("trunk"), 3.2, 6, 0.6));
  }

  set(seconds, width, height) {
    for (const mesh of this.group.children) {
      const { now, size } = mesh.material.uniforms;
      now.value = seconds;
      size.value.set(width, height);
    }
  }
}

/** A lit place under each foot that is down. */
export class Steps {
  constructor(track, colours) {
    this.track = track;
    this.group = new THREE.Group();
    this.discs = ["left", "right"].map((name) => {
      const colour = new THREE.Color().setRGB(...colours[name].map((v) => v / 255), THREE.SRGBColorSpace);
      const material = new THREE.MeshBasicMaterial({ color: colour, transparent: true, opacity: 0.5, depthWrite: false });
      const disc = new THREE.Mesh(new THREE.RingGeometry(0.125, 0.155, 40).rotateX(-Math.PI / 2), material);
      disc.renderOrder = 1;
      this.group.add(disc);
      return disc;
    });
  }

  set(seconds) {
    const { points, scale } = this.track;
    this.discs.forEach((disc, foot) => {
      disc.visible = this.track.down(foot, seconds);
      const ankle = 3 * (7 + foot), toe = 3 * (10 + foot);
      disc.position.set((points[ankle] + points[toe]) / 2, 0.003, (points[ankle + 2] + points[toe + 2]) / 2);
      disc.scale.setScalar(scale);
    });
  }
}

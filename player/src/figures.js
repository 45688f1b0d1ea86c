// A figure in one of two styles: rounded cones laid around the joints, or the free body bound to them.
import * as THREE from "three";

const AROUND = 14, UP = 5;

/** A rounded cone whose ends are given for each copy; the vertex shader lays it around them. */
function capsule(copies) {
  const shape = new THREE.InstancedBufferGeometry();
  const place = [], end = [], faces = [];
  for (const half of [0, 1])
    for (let row = 0; row <= UP; row++)
      for (let column = 0; column <= AROUND; column++) {
        const angle = (2 * Math.PI * column) / AROUND;
        place.push(Math.cos(angle), row / UP, Math.sin(angle));
        end.push(half);
      }
  const wide = AROUND + 1;
  for (let row = 0; row < 2 * UP + 1; row++)
    for (let column = 0; column < AROUND; column++) {
      const a = row * wide + column;
      faces.push(a, a + 1, a + wide + 1, a, a + wide + 1, a + wide);
    }
  shape.setAttribute("position", new THREE.Float32BufferAttribute(place, 3));
  shape.setAttribute("end", new THREE.Float32BufferAttribute(end, 1));
  shape.setIndex(faces);
  for (const [name, size] of [["ballA", 4], ["ballB", 4], ["tone", 3]])
    shape.setAttribute(name, new THREE.InstancedBufferAttribute(new Float32Array(size * copies), size));
  shape.instanceCount = copies;
  return shape;
}

const LAY = `
attribute float end; attribute vec4 ballA; attribute vec4 ballB; attribute vec3 tone; varying vec3 vTone;
vec3 outward() {
  vec3 along = ballB.xyz - ballA.xyz; float far = max(length(along), 1e-5); along /= far;
  float lean = asin(clamp((ballA.w - ballB.w) / far, -1.0, 1.0));
  float up = end < 0.5 ? mix(-1.5707963, lean, position.y) : mix(lean, 1.5707963, position.y);
  vec3 other = abs(along.y) < 0.95 ? vec3(0.0, 1.0, 0.0) : vec3(1.0, 0.0, 0.0);
  vec3 one = normalize(cross(other, along)), two = cross(along, one);
  return cos(up) * (one * position.x + two * position.z) + sin(up) * along;
}
vec3 laid(vec3 away) { return end < 0.5 ? ballA.xyz + ballA.w * away : ballB.xyz + ballB.w * away; }
`;

function withCapsules(material) {
  material.onBeforeCompile = (shader) => {
    shader.vertexShader = shader.vertexShader
      .replace("#include <common>", "#include <common>\n" + LAY)
      .replace("#include <beginnormal_vertex>", "vec3 objectNormal = outward();")
      .replace("#include <begin_vertex>", "vec3 transformed = laid(outward()); vTone = tone;");
    shader.fragmentShader = shader.fragmentShader
      .replace("#include <common>", "#include <common>\nvarying vec3 vTone;")
      .replace("#include <color_fragment>", "diffuseColor.rgb *= vTone;");
  };
  return material;
}

const depth = withCapsules(new THREE.MeshDepthMaterial({ depthPacking: THREE.RGBADepthPacking }));
const linear = (colour) => new THREE.Color().setRGB(colour[0] / 255, colour[1] / 255, colour[2] / 255, THREE.SRGBColorSpace);

/** The parts of the drawn figure as pairs of balls. */
export function pairs(parts) {
  const found = [];
  for (const part of parts)
    for (let a = 0; a < part.balls.length; a++)
      for (let b = a + 1; b < part.balls.length; b++)
        found.push({ a: part.balls[a], b: part.balls[b], ra: part.radii[a], rb: part.radii[b],
          colour: part.colour, trunk: part.trunk });
  return found;
}

/** The drawn figure; `copies` of it stand where `set` put them. */
class Drawn {
  constructor(track, drawn, copies, material) {
    this.track = track;
    this.drawn = drawn;
    this.shape = capsule(drawn.length * copies);
    this.mesh = new THREE.Mesh(this.shape, material);
    this.mesh.frustumCulled = false;
    this.mesh.customDepthMaterial = depth;
    for (const name of ["ballA", "ballB"]) this.shape.attributes[name].setUsage(THREE.DynamicDrawUsage);
    this.dye(null);
  }

  /** Colours; with an accent, trunk and head take it. */
  dye(accent) {
    const { tone } = this.shape.attributes, mark = accent && new THREE.Color(accent);
    for (let k = 0; k < tone.count; k++) {
      const pair = this.drawn[k % this.drawn.length];
      const colour = mark && pair.trunk ? mark : linear(pair.colour);
      tone.setXYZ(k, colour.r, colour.g, colour.b);
    }
    tone.needsUpdate = true;
  }

  set(copy) {
    const { ballA, ballB } = this.shape.attributes, { points, scale } = this.track;
    let k = 4 * copy * this.drawn.length;
    for (const { a, b, ra, rb } of this.drawn) {
      for (const [array, ball, radius] of [[ballA.array, a, ra], [ballB.array, b, rb]]) {
        array[k] = points[3 * ball]; array[k + 1] = points[3 * ball + 1]; array[k + 2] = points[3 * ball + 2];
        array[k + 3] = radius * scale;
      }
      k += 4;
    }
    ballA.needsUpdate = ballB.needsUpdate = true;
  }
}

/** The free body, skinned on the graphics card. */
class Skinned {
  constructor(track, shape, material) {
    this.track = track;
    this.mesh = new THREE.SkinnedMesh(shape, material);
    this.bones = Array.from({ length: track.joints }, () => {
      const bone = new THREE.Bone();
      bone.matrixAutoUpdate = bone.matrixWorldAutoUpdate = false;
      return bone;
    });
    const bind = this.bones.map((_, j) => new THREE.Matrix4().fromArray(track.bind, 16 * j));
    this.mesh.bindMode = THREE.DetachedBindMode;
    this.mesh.bind(new THREE.Skeleton(this.bones, bind), new THREE.Matrix4());
    this.mesh.frustumCulled = false;
    this.place = new THREE.Vector3();
    this.turn = new THREE.Quaternion();
    this.one = new THREE.Vector3(1, 1, 1);
  }

  set() {
    const { points, turns } = this.track;
    this.bones.forEach((bone, j) => bone.matrixWorld.compose(
      this.place.fromArray(points, 3 * j), this.turn.fromArray(turns, 4 * j), this.one));
  }
}

/** What all bodies share, and the geometry of one motion's body. */
export class Wardrobe {
  constructor(mesh, read) {
    this.triangles = new THREE.BufferAttribute(read(mesh.triangles), 1);
    this.numbers = new THREE.BufferAttribute(read(mesh.numbers), 4);
    this.shares = new THREE.BufferAttribute(read(mesh.shares), 4, true);
    const srgb = read(mesh.colours), tones = new Float32Array(srgb.length), colour = new THREE.Color();
    for (let k = 0; k < srgb.length; k += 3) linear([srgb[k], srgb[k + 1], srgb[k + 2]]).toArray(tones, k);
    this.tones = new THREE.BufferAttribute(tones, 3);
    this.colour = colour;
  }

  shape(track) {
    const shape = new THREE.BufferGeometry();
    shape.setAttribute("position", new THREE.BufferAttribute(track.skin, 3));
    shape.setIndex(this.triangles);
    shape.setAttribute("skinIndex", this.numbers);
    shape.setAttribute("skinWeight", this.shares);
    shape.setAttribute("color", this.tones);
    shape.computeVertexNormals();
    return shape;
  }
}

const GHOSTS = 7;

/** One motion's figure in both styles, with ghosts of it along the clip. */
export class Figure {
  constructor(track, drawn, wardrobe) {
    this.track = track;
    this.group = new THREE.Group();
    const solid = { roughness: 0.68, metalness: 0 };
    const faint = { ...solid, transparent: true, opacity: 0.26, depthWrite: true };
    this.drawn = new Drawn(track, drawn, 1, withCapsules(new THREE.MeshStandardMaterial(solid)));
    this.skinShape = wardrobe.shape(track);
    this.bodyMaterial = new THREE.MeshStandardMaterial({ ...solid, vertexColors: true });
    this.body = new Skinned(track, this.skinShape, this.bodyMaterial);
    this.drawn.mesh.castShadow = this.body.mesh.castShadow = true;
    this.drawn.mesh.receiveShadow = this.body.mesh.receiveShadow = true;
    this.faint = [withCapsules(new THREE.MeshStandardMaterial(faint)),
      new THREE.MeshStandardMaterial({ ...faint, vertexColors: true })];
    this.group.add(this.drawn.mesh, this.body.mesh);
    this.style = "skeleton";
    this.ghosts = null;
    this.drawnPairs = drawn;
    this.show("skeleton", false);
  }

  /** Ghosts are made when they are first asked for, at even times; they do not move. */
  conjure() {
    const { track } = this, count = Math.min(GHOSTS, track.frames);
    const drawn = new Drawn(track, this.drawnPairs, count, this.faint[0]);
    const bodies = [];
    for (let k = 0; k < count; k++) {
      track.at(count > 1 ? (k / (count - 1)) * track.duration : 0);
      drawn.set(k);
      const body = new Skinned(track, this.skinShape, this.faint[1]);
      body.set();
      bodies.push(body);
    }
    track.now = -1;
    this.ghosts = { drawn, bodies };
    this.group.add(drawn.mesh, ...bodies.map((body) => body.mesh));
    this.dye(this.accent);
  }

  dye(accent) {
    this.accent = accent;
    this.drawn.dye(accent);
    this.ghosts?.drawn.dye(accent);
    this.bodyMaterial.color.set(0xffffff);
    if (accent) this.bodyMaterial.color.lerp(new THREE.Color(accent), 0.45);
    this.faint[1].color.copy(this.bodyMaterial.color);
  }

  show(style, ghosts) {
    this.style = style;
    if (ghosts && !this.ghosts) this.conjure();
    this.drawn.mesh.visible = style === "skeleton";
    this.body.mesh.visible = style === "body";
    if (this.ghosts) {
      this.ghosts.drawn.mesh.visible = ghosts && style === "skeleton";
      for (const body of this.ghosts.bodies) body.mesh.visible = ghosts && style === "body";
    }
  }

  pose(seconds) {
    this.track.at(seconds);
    if (this.style === "skeleton") this.drawn.set(0);
    else this.body.set();
  }

  /** After the track was moved: ghosts are made anew when they are asked for. */
  moved() {
    this.track.now = -1;
    if (!this.ghosts) return;
    this.group.remove(this.ghosts.drawn.mesh, ...this.ghosts.bodies.map((body) => body.mesh));
    this.ghosts = null;
  }
}

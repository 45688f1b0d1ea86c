// A figure in one of two styles: hulls of a few balls laid around the joints, or the free body bound to them.
import * as THREE from "three";

const AROUND = 26, UP = 17, BALLS = ["ballA", "ballB", "ballC", "ballD"];

/** A sphere of directions; for each copy the vertex shader lays it around up to four balls. */
function hull(copies) {
  const shape = new THREE.InstancedBufferGeometry(), ball = new THREE.SphereGeometry(1, AROUND, UP);
  shape.setAttribute("position", ball.attributes.position);
  shape.setIndex(ball.index);
  for (const name of BALLS) shape.setAttribute(name, new THREE.InstancedBufferAttribute(new Float32Array(4 * copies), 4));
  shape.setAttribute("tone", new THREE.InstancedBufferAttribute(new Float32Array(3 * copies), 3));
  shape.instanceCount = copies;
  return shape;
}

// The furthest point of a union of balls in direction d is c + r d of the ball with the largest c.d + r; going around
// with d gives the hull. The poles of the directions lie along the first two balls, so that limbs are evenly cut.
const LAY = `
attribute vec4 ballA; attribute vec4 ballB; attribute vec4 ballC; attribute vec4 ballD; attribute vec3 tone; varying vec3 vTone;
vec3 outward() {
  vec3 along = ballB.xyz - ballA.xyz; along /= max(length(along), 1e-5);
  vec3 other = abs(along.y) < 0.95 ? vec3(0.0, 1.0, 0.0) : vec3(1.0, 0.0, 0.0);
  vec3 one = normalize(cross(other, along)), two = cross(one, along);
  return one * position.x + along * position.y + two * position.z;
}
vec3 laid(vec3 away) {
  vec4 best = ballA; float far = dot(ballA.xyz, away) + ballA.w, next = dot(ballB.xyz, away) + ballB.w;
  if (next > far) { best = ballB; far = next; }
  next = dot(ballC.xyz, away) + ballC.w; if (next > far) { best = ballC; far = next; }
  next = dot(ballD.xyz, away) + ballD.w; if (next > far) { best = ballD; }
  return best.xyz + best.w * away;
}
`;

function withHulls(material) {
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

const depth = withHulls(new THREE.MeshDepthMaterial({ depthPacking: THREE.RGBADepthPacking }));
const linear = (colour) => new THREE.Color().setRGB(colour[0] / 255, colour[1] / 255, colour[2] / 255, THREE.SRGBColorSpace);

/** The drawn figure; `copies` of it stand where `set` put them. */
class Drawn {
  constructor(track, drawn, copies, material) {
    this.track = track;
    this.drawn = drawn;
    this.shape = hull(drawn.length * copies);
    this.mesh = new THREE.Mesh(this.shape, material);
    this.mesh.frustumCulled = false;
    this.mesh.customDepthMaterial = depth;
    for (const name of BALLS) this.shape.attributes[name].setUsage(THREE.DynamicDrawUsage);
    this.dye(null);
  }

  /** Colours; with an accent, trunk and head take it. */
  dye(accent) {
    const { tone } = this.shape.attributes, mark = accent && new THREE.Color(accent);
    for (let k = 0; k < tone.count; k++) {
      const part = this.drawn[k % this.drawn.length];
      const colour = mark && part.trunk ? mark : linear(part.colour);
      tone.setXYZ(k, colour.r, colour.g, colour.b);
    }
    tone.needsUpdate = true;
  }

  set(copy) {
    const { points, scale } = this.track, from = copy * this.drawn.length;
    BALLS.forEach((name, which) => {
      const { array } = this.shape.attributes[name];
      let k = 4 * from;
      for (const { balls, radii } of this.drawn) {
        const at = which < balls.length ? which : 0, ball = 3 * balls[at];
        array[k++] = points[ball]; array[k++] = points[ball + 1]; array[k++] = points[ball + 2];
        array[k++] = radii[at] * scale;
      }
      this.shape.attributes[name].needsUpdate = true;
    });
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
    this.drawn = new Drawn(track, drawn, 1, withHulls(new THREE.MeshStandardMaterial(solid)));
    this.skinShape = wardrobe.shape(track);
    this.bodyMaterial = new THREE.MeshStandardMaterial({ ...solid, vertexColors: true });
    this.body = new Skinned(track, this.skinShape, this.bodyMaterial);
    this.drawn.mesh.castShadow = this.body.mesh.castShadow = true;
    this.faint = [withHulls(new THREE.MeshStandardMaterial(faint)),
      new THREE.MeshStandardMaterial({ ...faint, vertexColors: true })];
    this.group.add(this.drawn.mesh, this.body.mesh);
    this.style = "skeleton";
    this.ghosts = null;
    this.parts = drawn;
    this.show("skeleton", false);
  }

  /** Ghosts are made when they are first asked for, at even times; they do not move. */
  conjure() {
    const { track } = this, count = Math.min(GHOSTS, track.frames);
    const drawn = new Drawn(track, this.parts, count, this.faint[0]);
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

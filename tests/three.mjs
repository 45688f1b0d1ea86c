// A file as three.js's own loaders read it, with none of this project's code beside it.
//   bundled for a page by tests/test_three.py; the page then has window.look(base64, fps, ending)
import { AmbientLight, AnimationMixer, Color, DirectionalLight, Group, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { BVHLoader } from "three/addons/loaders/BVHLoader.js";
import { FBXLoader } from "three/addons/loaders/FBXLoader.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { USDLoader } from "three/addons/loaders/USDLoader.js";

/** What a file holds: its scene in metres, and its first animation. */
const loaded = {
  glb: async (bytes) => { const file = await new GLTFLoader().parseAsync(bytes.buffer, ""); return [file.scene, file.animations[0], file.scene]; },
  bvh: async (bytes) => {
    const { skeleton, clip } = new BVHLoader().parse(new TextDecoder().decode(bytes)), scene = new Group();
    scene.scale.setScalar(0.01); // a BVH names no unit
    scene.add(skeleton.bones[0]);
    return [scene, clip, skeleton.bones[0]];
  },
  fbx: async (bytes) => {
    const scene = new FBXLoader().parse(bytes.buffer, "");
    scene.scale.multiplyScalar((scene.userData.unitScaleFactor ?? 1) / 100); // FBX counts centimetres
    return [scene, scene.animations[0], scene];
  },
  usda: async (bytes) => { const scene = new USDLoader().parse(new TextDecoder().decode(bytes)); return [scene, scene.animations[0], scene]; },
};

/** Frames of the first clip: names of the bones, and where each is in the world; the scene stays to be drawn. */
window.look = async (base64, fps, ending = "glb") => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const [world, clip, moved] = await loaded[ending](bytes);
  let mesh = null;
  const bones = [];
  world.traverse((one) => { if (one.isSkinnedMesh) mesh = one; else if (one.isBone) bones.push(one); });
  const mixer = new AnimationMixer(moved), frames = [];
  mixer.clipAction(clip).play();
  const at = (frame) => { mixer.setTime(Math.min(frame / fps, clip.duration - 1e-6)); world.updateMatrixWorld(true); };
  const count = Math.round(clip.duration * fps) + 1, point = new Vector3();
  for (let frame = 0; frame < count; frame++) {
    at(frame);
    frames.push(bones.map((bone) => bone.getWorldPosition(point).toArray()));
  }
  window.skin = (frame, vertices) => { at(frame); return vertices.map((n) => mesh.getVertexPosition(n, point).applyMatrix4(mesh.matrixWorld).toArray()); };
  window.draw = (frame, { size, eye, middle, angle }) => {
    at(frame);
    const renderer = new WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
    renderer.setSize(size, size);
    document.body.replaceChildren(renderer.domElement);
    document.body.style.margin = "0";
    const scene = new Scene(), camera = new PerspectiveCamera(angle, 1, 0.05, 50);
    scene.background = new Color(0xf2f4f7);
    scene.add(world, new AmbientLight(0xffffff, 1.4));
    const sun = new DirectionalLight(0xffffff, 2.6);
    sun.position.set(2, 4, 3);
    scene.add(sun);
    camera.position.set(...eye);
    camera.lookAt(...middle);
    mesh.frustumCulled = false;
    renderer.render(scene, camera);
  };
  return { names: bones.map((bone) => bone.name), frames, duration: clip.duration };
};

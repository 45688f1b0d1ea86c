// A GLB as three.js's own loader reads it, with none of this project's code beside it.
//   bundled for a page by tests/test_three.py; the page then has window.look(base64, fps)
import { AmbientLight, AnimationMixer, Box3, Color, DirectionalLight, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

/** Frames of the first clip: names of the bones, and where each is in the world; the scene stays to be drawn. */
window.look = async (base64, fps) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const gltf = await new GLTFLoader().parseAsync(bytes.buffer, "");
  let mesh = null;
  gltf.scene.traverse((one) => { if (one.isSkinnedMesh) mesh = one; });
  const clip = gltf.animations[0], mixer = new AnimationMixer(gltf.scene), frames = [];
  mixer.clipAction(clip).play();
  const at = (frame) => { mixer.setTime(Math.min(frame / fps, clip.duration - 1e-6)); gltf.scene.updateMatrixWorld(true); };
  const count = Math.round(clip.duration * fps) + 1, point = new Vector3();
  for (let frame = 0; frame < count; frame++) {
    at(frame);
    frames.push(mesh.skeleton.bones.map((bone) => bone.getWorldPosition(point).toArray()));
  }
  window.skin = (frame, vertices) => { at(frame); return vertices.map((n) => mesh.getVertexPosition(n, point).applyMatrix4(mesh.matrixWorld).toArray()); };
  window.draw = (frame, width, height) => {
    at(frame);
    const renderer = new WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
    renderer.setSize(width, height);
    document.body.replaceChildren(renderer.domElement);
    document.body.style.margin = "0";
    const scene = new Scene(), box = new Box3(), camera = new PerspectiveCamera(32, width / height, 0.05, 50);
    scene.background = new Color(0xf2f4f7);
    scene.add(gltf.scene, new AmbientLight(0xffffff, 1.4));
    const sun = new DirectionalLight(0xffffff, 2.6);
    sun.position.set(2, 4, 3);
    scene.add(sun);
    mesh.skeleton.bones.forEach((bone) => box.expandByPoint(bone.getWorldPosition(point)));
    box.expandByScalar(0.15); // hands and soles reach further than their joints
    const middle = box.getCenter(new Vector3());
    camera.position.copy(middle).add(new Vector3(1.7, 0.75, 3.7));
    camera.lookAt(middle);
    mesh.frustumCulled = false;
    renderer.render(scene, camera);
  };
  return { names: mesh.skeleton.bones.map((bone) => bone.name), frames, duration: clip.duration };
};

// Motions of the conversation: how one gets to its numbers and files, also when the server has forgotten it.
import { Trouble, bytes, fetched, upload } from "./api.js";
import { keep, kept } from "./store.js";

/** What each file is good for. */
export const FORMATS = {
  ".bvh": "Blender, Maya, MotionBuilder", ".glb": "any 3D viewer, Unity, Unreal, the web", ".usda": "Omniverse, Houdini, USD",
  ".fbx": "game engines, Maya", ".npz": "hftrainer, with seed and settings", ".npy": "the plain numbers", ".csv": "spreadsheets, MuJoCo",
  ".mp4": "a video", ".gif": "a moving picture", ".webp": "a small moving picture", ".png": "the whole motion on one sheet",
  ".html": "an offline page that plays it", ".ply": "a mesh",
};

export class Motions {
  constructor(memory) {
    this.memory = memory;
    this.again = new Map();
  }

  of(key) { return this.memory.motions[key]; }

  /** A file that somebody brings. */
  async bring(file, about = {}) {
    const found = await upload(file, file.name, about);
    const key = this.memory.add(found, found.caption || file.name.replace(/\.[^.]+$/, ""));
    this.memory.motions[key].from = { name: file.name, ...about };
    await keep("files", key, file);
    return key;
  }

  /** A motion that the server made; its numbers are fetched so that it can be brought again. */
  made(about, called) {
    const key = this.memory.add(about, called);
    if (about.files[".npz"])
      fetched(about.files[".npz"]).then((answer) => answer.blob()).then((file) => keep("files", key, file))
        .catch((error) => console.info(`this motion is kept by the server only: ${error.message}`));
    return key;
  }

  /** Do something with a motion; where the server has forgotten it, it is brought again first. */
  async with(key, act) {
    try {
      return await act(this.of(key));
    } catch (error) {
      if (error.status !== 404) throw error;
      await this.revive(key);
      return act(this.of(key));
    }
  }

  revive(key) {
    if (!this.again.has(key)) this.again.set(key, this.bringAgain(key).finally(() => this.again.delete(key)));
    return this.again.get(key);
  }

  async bringAgain(key) {
    const file = await kept("files", key), motion = this.of(key), { name = "motion.npz", ...about } = motion.from ?? {};
    if (!file) throw new Trouble("The server no longer has this motion, and neither has this browser. Make it again.", 404);
    const found = await upload(file, name, about);
    Object.assign(motion, { id: found.id, files: found.files, player: found.player });
    this.memory.save();
  }

  /** What the player reads. */
  async track(key) {
    const had = await kept("tracks", key);
    if (had) return had;
    const got = await this.with(key, (motion) => bytes(motion.player));
    keep("tracks", key, got);
    return got;
  }

  /** Give somebody a file of it. */
  async download(key, ending) {
    const [blob, name] = await this.with(key, async (motion) => {
      const url = motion.files[ending], answer = await fetched(url);
      return [await answer.blob(), decodeURIComponent(url.split("/").pop())];
    });
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
}

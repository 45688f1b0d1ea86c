// What the browser keeps: the conversation as text, and the files of its motions, so that a reload, or a server that
// forgot them, loses nothing.

const TURNS = "hftrainer.turns", CHOICES = "hftrainer.choices", MOST = 80;
const memory = { files: new Map(), tracks: new Map() }; // where the browser keeps nothing

const database = new Promise((go) => {
  try {
    const open = indexedDB.open("hftrainer", 1);
    open.onupgradeneeded = () => { for (const name of ["files", "tracks"]) open.result.createObjectStore(name); };
    open.onsuccess = () => go(open.result);
    open.onerror = open.onblocked = () => go(null);
  } catch (error) {
    console.info(`motions are kept until this page closes: ${error.message}`);
    go(null);
  }
});

async function within(shelf, mode, what) {
  const base = await database;
  if (!base) return what(null);
  return new Promise((go, fail) => {
    const asked = what(base.transaction(shelf, mode).objectStore(shelf));
    asked.onsuccess = () => go(asked.result);
    asked.onerror = () => fail(asked.error);
  });
}

/** `shelf` is "files" (what can be uploaded again) or "tracks" (what the player reads). */
export const kept = (shelf, key) => within(shelf, "readonly", (it) => (it ? it.get(key) : memory[shelf].get(key)));
export const keep = (shelf, key, value) => within(shelf, "readwrite", (it) => (it ? it.put(value, key) : memory[shelf].set(key, value)))
  .catch((error) => { console.info(`not kept: ${error.message}`); memory[shelf].set(key, value); });
const keys = (shelf) => within(shelf, "readonly", (it) => (it ? it.getAllKeys() : [...memory[shelf].keys()]));
const forget = (shelf, key) => within(shelf, "readwrite", (it) => (it ? it.delete(key) : memory[shelf].delete(key)));

const read = (name, other) => {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? other;
  } catch (error) {
    if (error instanceof SyntaxError) return other;
    throw error;
  }
};

export const name = () => [...crypto.getRandomValues(new Uint8Array(9))].map((b) => b.toString(36).padStart(2, "0")).join("");

/** The conversation: `turns` in order, `motions` by key, and what was chosen. */
export class Memory {
  constructor() {
    const { turns = [], motions = {} } = read(TURNS, {});
    Object.assign(this, { turns, motions, choices: { tab: "chat", model: null, samples: 1, ...read(CHOICES, {}) } });
  }

  save() {
    if (this.turns.length > MOST) this.turns.splice(0, this.turns.length - MOST);
    const used = new Set(this.turns.flatMap((turn) => [...turn.motions, ...turn.made]));
    const motions = Object.fromEntries(Object.entries(this.motions).filter(([key]) => used.has(key)));
    localStorage.setItem(TURNS, JSON.stringify({ turns: this.turns, motions }));
    localStorage.setItem(CHOICES, JSON.stringify(this.choices));
  }

  /** Files that no turn shows any more go. */
  async sweep() {
    const used = new Set(this.turns.flatMap((turn) => [...turn.motions, ...turn.made]));
    for (const shelf of ["files", "tracks"])
      for (const key of await keys(shelf)) if (!used.has(key)) await forget(shelf, key);
  }

  /** A motion as the server told of it, under a key of our own. */
  add(about, called) {
    const key = name();
    this.motions[key] = { ...about, name: called };
    return key;
  }
}

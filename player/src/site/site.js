// The page: what was said is kept, what is asked goes to the server, what comes of it plays.
import { Trouble, drop, fetched, follow, get, keyFrom, post } from "./api.js";
import { el } from "../page.js";
import { Composer } from "./composer.js";
import { chooser } from "./controls.js";
import { Motions } from "./motions.js";
import { screen } from "./screen.js";
import { Memory, name } from "./store.js";
import { Turn } from "./turns.js";
import { TABS, VERBS, asked, body } from "./verbs.js";
import { button } from "./widgets.js";

const at = (id) => document.getElementById(id);
const memory = new Memory();

const app = {
  memory, motions: new Motions(memory), models: [], defaults: {}, formats: [".npz", ".npy", ".bvh"], turns: new Map(), following: new Set(),

  verbName: (verb) => VERBS[verb]?.tab ?? verb,
  can: (verb) => !app.models.length || app.models.some((model) => model.verbs.includes(verb)),
  /** The model that would do it: the chosen one where it can, else the server's choice. */
  model(verb) {
    const named = (one) => app.models.find((model) => model.name === one && model.verbs.includes(verb));
    return named(memory.choices.model) ?? named(app.defaults[verb]) ?? app.models.find((model) => model.verbs.includes(verb)) ?? null;
  },
  recent: (count) => [...new Set(memory.turns.flatMap((turn) => [...turn.motions, ...turn.made]).reverse())].filter((key) => app.motions.of(key)).slice(0, count),

  say(text) { at("says").textContent = text; },
  complain(error) { app.composer.complain(error.message); },

  /** A new turn of the conversation. */
  ask(verb, text, motions = [], knobs = {}, more = {}) {
    const { choices } = memory, model = app.model(verb), wanted = choices.model;
    const settings = { ...choices.fine?.[model?.name] };
    const turn = { id: name(), verb, text, motions, knobs: verb === "generate" ? { seconds: choices.seconds ?? null, ...knobs } : knobs, made: [], captions: null, state: "waiting", job: null,
      model: model?.name, seed: choices.seed ?? Math.floor(Math.random() * 1e6), samples: choices.samples, settings, ...more,
      said: wanted && model && model.name !== wanted ? `${wanted} cannot do this; ${model.name} did.` : "" };
    if (choices.tab !== "chat" && choices.tab !== verb) app.tab("chat");
    memory.turns.push(turn);
    memory.save();
    app.show(turn);
    app.reveal(app.turns.get(turn.id).node);
    app.run(turn);
  },

  /** The same once more, with another seed or as it was. */
  repeat(turn, fresh) {
    app.ask(turn.verb, turn.text, turn.motions, turn.knobs, { samples: turn.samples, settings: turn.settings, model: turn.model,
      seed: fresh ? Math.floor(Math.random() * 1e6) : turn.seed });
  },

  /** Ask the server and follow the job to its end. */
  async run(turn) {
    if (app.following.has(turn.id)) return;
    app.following.add(turn.id);
    const view = app.turns.get(turn.id);
    try {
      if (!turn.job) {
        const request = () => post(`/api/${turn.verb}`, body(turn.verb, { ...turn, ids: turn.motions.map((key) => app.motions.of(key).id) }));
        try {
          turn.job = await request();
        } catch (error) {
          if (error.status !== 404 || !turn.motions.length) throw error;
          for (const key of turn.motions) await app.motions.revive(key); // a server that was started anew
          turn.job = await request();
        }
        memory.save();
        if (turn.stop) await drop(`/api/jobs/${turn.job.id}`);
      }
      let told = "";
      const job = await follow(turn.job.id, (seen) => {
        turn.job = seen;
        view.update();
        const word = seen.state === "queued" && seen.position > 0 ? `Waiting, ${seen.position} before` : seen.state === "running" ? "Working" : "";
        if (word && word !== told) app.say(told = word);
      });
      app.end(turn, job);
    } catch (error) {
      const lost = error.status === 404 && turn.job;
      turn.state = "failed";
      turn.error = lost ? "The server was started anew and no longer knows this request. Ask again." : error.message;
      if (error.after) turn.error += ` (in ${error.after} s)`;
      if (!(error instanceof Trouble)) console.info(error);
      app.say(turn.error);
    }
    app.following.delete(turn.id);
    memory.save();
    view.update();
    app.composer.refresh();
    if (view.node === at("feed").lastElementChild) app.reveal(view.node);
  },

  /** Scroll to a turn: all of it between header and question or, where it is too tall, its beginning. */
  reveal(node, behavior = "smooth") {
    requestAnimationFrame(() => {
      const box = node.getBoundingClientRect(), top = document.querySelector("header").offsetHeight + 8, bottom = at("ask").getBoundingClientRect().top - 4;
      const by = box.height > bottom - top ? box.top - top : box.bottom - bottom;
      if (by > 0 || box.top < top) window.scrollBy({ top: by, behavior });
    });
  },

  end(turn, job) {
    turn.state = job.state;
    turn.error = job.error?.message ?? null;
    if (job.state === "failed") return app.say(turn.error);
    if (job.state === "cancelled") return app.say("Cancelled");
    turn.captions = job.result.captions ?? null;
    const called = turn.text || asked(turn.verb, turn.knobs, turn.motions.length), made = job.result.motions ?? [];
    turn.made = made.map((motion, k) => app.motions.made(motion, made.length > 1 ? `${called} (${k + 1})` : called));
    turn.job = { id: job.id };
    app.say(turn.captions ? turn.captions.map(([first]) => first).join("; ") : `Done: ${made.map((motion) => `${motion.seconds.toFixed(1)} seconds`).join(", ")}`);
  },

  async cancel(turn) {
    turn.stop = true;
    try {
      if (turn.job) await drop(`/api/jobs/${turn.job.id}`);
    } catch (error) {
      if (error.status !== 404) app.complain(error);
    }
  },

  /** A motion of the conversation to the next request. */
  take(key, verb) {
    if (verb === "caption") return app.ask("caption", "", [key]);
    if (!["chat", verb].includes(memory.choices.tab)) app.tab("chat");
    app.composer.take(key, verb);
  },

  /** The whole player, over the page. */
  async full(keys) {
    const files = await Promise.all(keys.map((key) => app.motions.track(key))), box = at("full");
    window.hftrainerFull = { files, theme: document.documentElement.dataset.theme, close: () => box.close() };
    box.querySelector("iframe")?.remove();
    box.append(el("iframe", { src: "/assets/full.html", title: "the whole player", onload: (event) => event.target.contentWindow.focus() }));
    box.showModal();
  },

  show(turn) {
    const view = new Turn(app, turn);
    app.turns.set(turn.id, view);
    at("feed").append(view.node);
    app.filter();
  },

  tab(name) {
    memory.choices.tab = name;
    memory.save();
    for (const one of at("tabs").children) one.setAttribute("aria-selected", String(one.dataset.tab === name));
    app.composer.picked = null;
    app.composer.given.length = Math.min(app.composer.given.length, name === "chat" ? 4 : VERBS[name].most);
    app.filter();
    app.composer.refresh();
  },

  /** A tab shows its own turns; with none there is a word of welcome. */
  filter() {
    const { tab } = memory.choices;
    let seen = 0;
    for (const { node } of app.turns.values()) seen += !(node.hidden = tab !== "chat" && node.dataset.verb !== tab);
    at("welcome").hidden = seen > 0;
    document.body.dataset.empty = seen ? "no" : "yes";
    at("headline").textContent = tab === "chat" ? "What should they do?" : VERBS[tab].title;
    at("under").textContent = tab === "chat" ? "Say it in a sentence and watch it move. Or bring a motion, and have it described, continued, joined or changed." : VERBS[tab].hint;
    at("examples").hidden = !["chat", "generate"].includes(tab);
  },

  clear() {
    const [turns, motions] = [memory.turns, memory.motions];
    if (!turns.length) return app.composer.words.focus();
    Object.assign(memory, { turns: [], motions: {} });
    for (const view of app.turns.values()) view.remove();
    app.turns.clear();
    memory.save();
    app.filter();
    const back = button("text", null, "Undo", () => {
      Object.assign(memory, { turns: [...turns, ...memory.turns], motions: { ...motions, ...memory.motions } });
      memory.save();
      for (const view of app.turns.values()) view.remove();
      app.turns.clear();
      memory.turns.forEach(app.show);
      toast.hidden = true;
    }, true), toast = at("toast");
    toast.replaceChildren(el("span", {}, "The conversation is cleared."), back);
    toast.hidden = false;
    setTimeout(() => { toast.hidden = true; }, 12000);
    app.composer.words.focus();
  },
};

function theme(name) {
  document.documentElement.dataset.theme = name;
  for (const film of screen.films) film.theme();
}

/** A server that wants a key: one question. */
keyFrom((wrong) => new Promise((go) => {
  const box = at("key"), field = box.querySelector("input");
  box.querySelector("p").textContent = wrong ? "That key is not the one. Try another." : "This server asks for a key. Whoever runs it can tell you.";
  box.onclose = () => go(box.returnValue === "yes" ? field.value.trim() : null);
  box.returnValue = "";
  if (!box.open) box.showModal();
}));

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const chosen = () => memory.choices.theme ?? (dark.matches ? "dark" : "light");
theme(chosen());
dark.addEventListener("change", () => theme(chosen()));
app.composer = new Composer(app);
app.chooser = chooser(app);
at("ask").append(app.composer.node);
at("tools").append(app.chooser.node, button("icon", "fresh", "new conversation", app.clear),
  button("icon", "sun", "dark or light", () => { memory.choices.theme = chosen() === "dark" ? "light" : "dark"; memory.save(); theme(chosen()); }));
for (const name of TABS) at("tabs").append(el("button", { type: "button", role: "tab", "data-tab": name, "aria-selected": "false", onclick: () => app.tab(name) }, name === "chat" ? "Chat" : VERBS[name].tab));
at("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...at("tabs").children], next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
  next.focus();
  app.tab(next.dataset.tab);
});
memory.turns.forEach(app.show);
app.tab(TABS.includes(memory.choices.tab) ? memory.choices.tab : "chat");
memory.sweep();
for (const turn of memory.turns) if (turn.state === "waiting") app.run(turn);
if (memory.turns.length) app.reveal(at("feed").lastElementChild, "instant");
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !(event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    app.composer.words.focus();
  }
});

/** A picture of an example; the server may still be making it. */
async function thumb(picture, url, tries = 0) {
  try {
    const answer = await fetched(url), coming = answer.status === 202;
    if (!coming || !tries) picture.src = URL.createObjectURL(await answer.blob());
    picture.parentNode.dataset.state = coming ? "coming" : "here";
    if (coming && tries < 300) setTimeout(() => thumb(picture, url, tries + 1), 1000 * (Number(answer.headers.get("Retry-After")) || 2));
  } catch (error) {
    console.info(`no picture: ${error.message}`);
  }
}

/** What the server has; each by itself, so that a slow one holds nothing up. */
async function learn() {
  const tell = (error) => { console.info(error.message); app.complain(error); };
  const health = get("/api/health").then((said) => {
    if (said.speech) app.composer.speech();
    at("speech").textContent = said.speech ? "" : "Speech needs whisper, which this server was started without; type instead.";
  });
  const formats = get("/api/formats").then((said) => { app.formats = said.uploads ?? said.data; });
  const models = get("/api/models").then((said) => { app.models = said.models; app.defaults = said.default; });
  const examples = get("/api/examples").then((said) => at("examples").replaceChildren(...said.examples.map(({ prompt, thumbnail }) => {
    const picture = el("img", { alt: "", width: 160, height: 160 });
    const example = el("button.example", { type: "button", onclick: () => app.ask("generate", prompt) }, picture, el("span", {}, prompt));
    thumb(picture, thumbnail);
    return example;
  })));
  const done = await Promise.allSettled([health, formats, models, examples].map((one) => one.then(() => app.composer.refresh())));
  const failed = done.find((one) => one.status === "rejected");
  if (failed) tell(failed.reason);
  document.body.dataset.ready = "yes";
}
learn();

// What a test, or somebody curious, may ask.
window.hftrainerPage = { memory, film: (k) => [...document.querySelectorAll(".film")].at(k).film, screen };

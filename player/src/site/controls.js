// What can be set: the model, and for each of the five things its own few numbers.
import { el } from "../page.js";
import { partName, seconds } from "./verbs.js";
import { button, popup, slider } from "./widgets.js";

const share = (value) => `${Math.round(100 * value)} %`;

/** Numbers to begin with, for a verb and the motions it is about. */
export function begin(verb, motions, model) {
  const most = model ? model.frames[1] / model.fps : 9.8, long = motions[0]?.seconds ?? 4;
  switch (verb) {
    case "generate": return { seconds: null };
    case "predict": {
      const room = most - long, keep = room >= 1 ? 1 : Math.min(0.5, Math.max(0.2, (0.5 * most) / long));
      return { keep, total: Math.round(10 * Math.min(most, room >= 1 ? long + 3 : Math.max(long, 2))) / 10 };
    }
    case "inbetween": return motions.length > 1 ? { gap: 1 } : { start: 0.25, end: 0.25 };
    case "edit": return { part: model?.parts.includes("upper_body") ? "upper_body" : model?.parts[0] ?? null, from: 0, to: null };
    default: return {};
  }
}

/** The few numbers of a verb, as they stand beside the words. */
export function knobs(verb, values, motions, model) {
  const set = (name) => (value) => { values[name] = value; };
  const long = motions[0]?.seconds ?? 4, most = model ? Math.floor((10 * model.frames[1]) / model.fps) / 10 : 9.8;
  if (verb === "predict") return [
    slider("Keep the first", values.keep, [0.05, 1, 0.05], (v) => seconds(v * long), set("keep")),
    slider("Whole length", values.total, [Math.min(2, most), most, 0.1], seconds, set("total"))];
  if (verb === "inbetween" && motions.length > 1) return [slider("Time between them", values.gap, [0.4, Math.max(1, Math.min(4, most)), 0.1], seconds, set("gap"))];
  if (verb === "inbetween") return [
    slider("Keep at the start", values.start, [0.05, 0.45, 0.05], share, set("start")),
    slider("Keep at the end", values.end, [0.05, 0.45, 0.05], share, set("end"))];
  if (verb !== "edit") return [];
  const parts = model?.parts ?? [];
  const pick = parts.length ? el("label.pick", {}, el("span", {}, "What changes"), el("select", { onchange: (event) => { event.target.dataset.chosen = "yes"; values.part = event.target.value || null; } },
    ...parts.map((part) => el("option", { value: part, selected: part === values.part }, partName(part))),
    el("option", { value: "", selected: !values.part }, "the whole body"))) : null;
  return [pick, slider("From", values.from, [0, Math.max(long - 0.2, 0.1), 0.1], seconds, set("from")),
    slider("Until", values.to ?? Math.round(10 * long) / 10, [0.2, Math.floor(10 * long) / 10, 0.1], seconds, set("to"))].filter(Boolean);
}

const NAMES = { guidance: ["Guidance", "how closely it follows the words", [1, 10, 0.1], (v) => v.toFixed(1)],
  temperature: ["Freedom", "low is usual, high is bold", [0.1, 2, 0.05], (v) => v.toFixed(2)], steps: ["Steps", "more is finer and slower", [5, 200, 1], String] };

/** The button with length, number, seed and what else the model has. */
export function settings(app) {
  const by = button("pill.quiet", "tune", "Settings", null, true), words = by.lastChild;
  const label = () => {
    const { choices } = app.memory, said = [];
    const verb = app.composer?.verb ?? "generate";
    if (verb === "generate") said.push(choices.seconds ? seconds(choices.seconds) : "Any length");
    if (verb === "generate" && choices.samples > 1) said.push(`${choices.samples} motions`);
    if (verb !== "caption" && choices.seed !== null && choices.seed !== undefined) said.push(`seed ${choices.seed}`);
    words.textContent = said.join(" · ") || "Settings";
    by.setAttribute("aria-label", `Settings: ${words.textContent}`);
  };
  const fill = () => {
    const { choices } = app.memory, verb = app.composer.verb, model = app.model(verb), rows = [];
    const set = (name) => (value) => { choices[name] = value; app.memory.save(); label(); };
    if (verb === "generate" && model) {
      const [least, most] = model.frames.map((frames) => frames / model.fps), from = Math.ceil(10 * least) / 10, to = Math.floor(10 * most) / 10;
      rows.push(slider("Length", choices.seconds ?? from - 0.1, [from - 0.1, to, 0.1], (v) => (v < from ? "as it likes" : seconds(v)), (v) => set("seconds")(v < from ? null : Math.round(10 * v) / 10)));
    }
    if (verb === "generate") rows.push(slider("Motions", choices.samples, [1, 4, 1], String, set("samples")));
    if (verb !== "caption") {
      const number = el("input", { type: "text", inputmode: "numeric", "aria-label": "Seed", placeholder: "new each time", value: choices.seed ?? "", maxlength: 12,
        oninput: () => { number.value = number.value.replace(/\D/g, ""); set("seed")(number.value ? +number.value : null); } });
      rows.push(el("label.field", {}, el("span", {}, "Seed"), number));
      rows.push(el("p.hint", {}, "The same words with the same seed give the same motion."));
      for (const [name, [title, hint, range, says]] of Object.entries(NAMES)) {
        const usual = model?.settings[name];
        if (typeof usual !== "number") continue;
        const [min, max, step] = [Math.min(range[0], usual), Math.max(range[1], usual), range[2]], mine = choices.fine?.[model.name]?.[name] ?? usual;
        const row = slider(title, mine, [min, max, step], says, (value) => {
          choices.fine = { ...choices.fine, [model.name]: { ...choices.fine?.[model.name], [name]: value === usual ? null : value } };
          app.memory.save();
        });
        row.title = hint;
        rows.push(row);
      }
    }
    if (!rows.length) rows.push(el("p.hint", {}, "A description needs no settings."));
    return [el("h2", {}, "Settings"), ...rows];
  };
  label();
  return { node: popup(by, fill, "settings", ".settings"), label };
}

/** The button with the model, and what each can do. */
export function chooser(app) {
  const by = button("pill.model", null, "Automatic", null, true);
  const words = el("span", {}, "Automatic");
  by.replaceChildren(words, button("none", "down", "").firstChild);
  const label = () => {
    words.textContent = app.memory.choices.model ?? "Automatic";
    by.setAttribute("aria-label", `Model: ${words.textContent}`);
  };
  const fill = (shut) => {
    const pick = (name) => { app.memory.choices.model = name; app.memory.save(); label(); app.composer.refresh(); shut(); };
    const entry = (name, about, facts) => el("button.entry.tall", { type: "button", "aria-pressed": String((app.memory.choices.model ?? null) === name), onclick: () => pick(name) },
      el("b", {}, name ?? "Automatic"), el("span", {}, about), facts.length ? el("span.tags", {}, ...facts.map((fact) => el("i", {}, fact))) : null);
    const all = app.models.map((model) => entry(model.name, model.about, [...model.verbs.map((verb) => app.verbName(verb)),
      `${+(model.frames[0] / model.fps).toFixed(1)}–${+(model.frames[1] / model.fps).toFixed(1)} s`]));
    return [el("h2", {}, "Model"), entry(null, "For each task the model that is best at it.", []), ...all,
      ...(all.length ? [] : [el("p.hint", {}, "The models are still being loaded.")])];
  };
  label();
  return { node: popup(by, fill, "model", ".models"), label };
}

// The five things that can be done: what each needs, which one is meant, and what the server is asked.

export const VERBS = {
  generate: { tab: "Generate", least: 0, most: 0, words: "needs", send: "Make it move",
    title: "A sentence becomes a motion", hint: "Say what the person does, for example “a person walks in a circle”.",
    ask: "Describe a movement" },
  caption: { tab: "Describe", least: 1, most: 4, words: "none", send: "Describe it",
    title: "A motion becomes a sentence", hint: "Drop a motion file below, or take a motion you made.", ask: "" },
  predict: { tab: "Continue", least: 1, most: 1, words: "may", send: "Continue it",
    title: "A beginning becomes a whole", hint: "Keep as much of a motion as you like; the rest is made anew.",
    ask: "What should follow? You may leave this empty" },
  inbetween: { tab: "In-between", least: 1, most: 2, words: "none", send: "Fill it",
    title: "Two ends become one motion", hint: "Give two motions to join them, or one to have its middle made anew.", ask: "" },
  edit: { tab: "Edit", least: 1, most: 1, words: "may", send: "Change it",
    title: "Change a part, keep the rest", hint: "Choose a part of the body or a span of time, and say what it should do.",
    ask: "What should it do instead? For example “waves the left arm”" },
};
export const TABS = ["chat", ...Object.keys(VERBS)];

const WORDS = {
  caption: /\?\s*$|\b(describe|caption|what (is|does|are)|what's|say what|tell me|in words|explain)\b/i,
  inbetween: /\b(in.?between|fill|middle|gap|join|connect|blend|transition|link)\b/i,
  predict: /\b(continue|goes? on|carry on|predict|what (comes|happens) next|afterwards|then|extend|longer|keep going|next)\b/i,
};

/** What somebody means who says `text` and holds `count` motions. */
export function guess(text, count) {
  if (!count) return "generate";
  if (count > 1) return WORDS.caption.test(text) || count > 2 ? "caption" : "inbetween";
  if (!text.trim()) return "caption";
  return Object.keys(WORDS).find((verb) => WORDS[verb].test(text)) ?? "edit";
}

/** Words that only name the verb ("continue it", "what is this?") say nothing about the movement. */
const bare = (text) => /^\W*(please\s+)?(can you\s+)?(continue|go on|carry on|predict|extend|change)?\s*(it|this|that|the (motion|rest|clip))?\W*$/i.test(text);

/** The body of a request; `knobs` are those of `controls.js`, `ids` what the server calls the motions. */
export function body(verb, { text, ids, model, seed, samples, knobs, settings }) {
  const said = text.trim(), base = { model, ...(verb === "caption" ? {} : { seed }) };
  const extra = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null && value !== undefined));
  const prompt = said && !bare(said) ? { prompt: said } : {};
  switch (verb) {
    case "generate": return { ...base, ...extra, prompt: said, samples, ...(knobs.seconds ? { seconds: knobs.seconds } : {}) };
    case "caption": return { ...base, motions: ids };
    case "predict": return { ...base, ...extra, motion: ids[0], keep: knobs.keep, seconds: knobs.total, ...prompt };
    case "inbetween": return ids.length > 1 ? { ...base, ...extra, motions: ids, gap: knobs.gap }
      : { ...base, ...extra, motion: ids[0], keep: [knobs.start, knobs.end] };
    default: return { ...base, ...extra, motion: ids[0], ...prompt, ...(knobs.part ? { part: knobs.part } : {}),
      ...(knobs.from > 0 ? { start: knobs.from } : {}), ...(knobs.to ? { end: knobs.to } : {}) };
  }
}

/** Shares of a result's time line that were made anew, [[from, to], …]. */
export function madeAnew(verb, knobs, given, result) {
  const long = result.seconds;
  switch (verb) {
    case "predict": return [[Math.min((knobs.keep * given[0].seconds) / long, 1), 1]];
    case "inbetween": return given.length > 1 ? [[given[0].seconds / long, 1 - given[1].seconds / long]] : [[knobs.start, 1 - knobs.end]];
    case "edit": return [[knobs.from / long, (knobs.to || long) / long]];
    default: return [];
  }
}

export const seconds = (value) => `${Number(value).toFixed(1)} s`;
export const partName = (part) => part.replaceAll("_", " ");
/** A sentence that says what was asked, for turns without words of their own. */
export function asked(verb, knobs, count) {
  switch (verb) {
    case "caption": return count > 1 ? "What are these?" : "What is this?";
    case "predict": return `Keep the first ${Math.round(100 * knobs.keep)} % and continue`;
    case "inbetween": return count > 1 ? `Join them with ${seconds(knobs.gap)} in between` : `Keep the first ${Math.round(100 * knobs.start)} % and the last ${Math.round(100 * knobs.end)} %, make the middle anew`;
    case "edit": return `Change the ${knobs.part ? partName(knobs.part) : "motion"}`;
    default: return "";
  }
}

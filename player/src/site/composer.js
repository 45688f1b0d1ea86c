// Where one asks: words, motions, which of the five things is meant, and its few numbers.
import { el } from "../page.js";
import { begin, knobs, settings } from "./controls.js";
import { microphone } from "./speech.js";
import { VERBS, guess, partName } from "./verbs.js";
import { button } from "./widgets.js";

export class Composer {
  constructor(app) {
    Object.assign(this, { app, given: [], picked: null, values: {}, numbersFor: "" });
    this.words = el("textarea", { rows: 1, maxlength: 500, "aria-label": "What shall happen", enterkeyhint: "send",
      oninput: () => { this.grow(); this.refresh(); },
      onkeydown: (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.send(); }
        if (event.key === "Backspace" && !this.words.value && this.given.length) this.leave(this.given.length - 1);
      } });
    this.file = el("input", { type: "file", multiple: true, hidden: true, tabindex: "-1", onchange: () => { this.bring([...this.file.files]); this.file.value = ""; } });
    this.chips = el("div.chips", {});
    this.verbs = el("div.verbs", { role: "group", "aria-label": "what to do with it" });
    this.place = el("div.place", {});
    this.knobs = el("div.knobs", {});
    this.notice = el("p.notice", { role: "alert", hidden: true });
    this.settings = settings(app);
    this.go = el("button.send", { type: "submit" }, ...button("none", "send", "").childNodes, el("span", {}, ""));
    this.mic = null;
    this.left = el("div.group", {}, button("pill.quiet", "plus", "Motion", () => this.file.click(), true), this.settings.node);
    this.node = el("form.composer", { "aria-label": "ask", novalidate: true, onsubmit: (event) => { event.preventDefault(); this.send(); } }, this.notice,
      el("div.box", {}, this.chips, this.verbs, this.place, this.words, this.knobs, el("div.row", {}, this.left, this.go)), this.file);
    this.dropping();
  }

  /** The verb that would be asked for now. */
  get verb() {
    const { tab } = this.app.memory.choices;
    if (tab !== "chat") return tab;
    if (!this.given.length) return "generate";
    return this.picked && this.fits(this.picked) ? this.picked : guess(this.words.value, this.given.length);
  }

  fits(verb) {
    const { least, most } = VERBS[verb];
    return this.given.length >= least && this.given.length <= most && this.app.can(verb);
  }

  get motions() { return this.given.map(({ key }) => this.app.motions.of(key)).filter(Boolean); }

  grow() {
    if (this.words.hidden) return;
    this.words.style.height = "auto";
    this.words.style.height = `${Math.min(this.words.scrollHeight, 180)}px`;
  }

  /** Everything as it now stands. */
  refresh() {
    const { app, given, verb } = this, { tab } = app.memory.choices, chat = tab === "chat", about = VERBS[verb];
    this.file.accept = app.formats.join(",");
    this.words.placeholder = chat ? (given.length ? "Say what to do with it, or choose above" : window.innerWidth < 560 ? "Describe a movement" : "Describe a movement, or drop a motion file") : about.ask;
    this.words.hidden = !chat && about.words === "none";
    this.chips.replaceChildren(...given.map(({ key, name, state }, k) => el("span.chip", { "data-state": state ?? "here" },
      el("span", {}, name), state ? el("i.turning", {}) : el("small", {}, `${app.motions.of(key).seconds.toFixed(1)} s`),
      button("none", "close", `leave ${name} out`, () => this.leave(k)))));
    this.chips.hidden = !given.length;
    const choices = chat && given.length ? ["caption", "predict", "inbetween", "edit"].filter((one) => this.fits(one)) : [];
    const held = this.verbs.contains(document.activeElement) ? document.activeElement.dataset.verb : null;
    this.verbs.replaceChildren(...choices.map((one) => el("button.pill", { type: "button", "data-verb": one, "aria-pressed": String(one === verb),
      onclick: () => { this.picked = one; this.refresh(); } }, one === "inbetween" && given.length > 1 ? "Join" : app.verbName(one))));
    this.verbs.querySelector(`[data-verb="${held}"]`)?.focus();
    this.verbs.hidden = !choices.length;
    this.offer();
    const model = app.model(verb), stamp = [verb, model?.name, ...given.map(({ key }) => key)].join(" ");
    if (stamp !== this.numbersFor && given.every(({ state }) => !state)) {
      this.values = begin(verb, this.motions, model);
      this.numbersFor = stamp;
      this.knobs.replaceChildren(...(given.length ? knobs(verb, this.values, this.motions, model) : []));
      this.knobs.hidden = !this.knobs.children.length;
    }
    if (verb === "edit") this.partOf(model);
    this.grow(); // a field that was hidden had no height
    this.settings.label();
    const does = verb === "inbetween" && given.length > 1 ? "Join them" : about.send;
    this.go.lastChild.textContent = does;
    this.go.setAttribute("aria-label", does);
    this.go.disabled = !this.ready;
  }

  /** The part of the body that the words name is the one that changes, until somebody chooses another. */
  partOf(model) {
    const select = this.knobs.querySelector("select"), words = this.words.value.toLowerCase();
    const named = model?.parts.find((part) => words.includes(partName(part)));
    if (select && named && !select.dataset.chosen) select.value = this.values.part = named;
  }

  get ready() {
    const { least, words } = VERBS[this.verb];
    if (this.given.length < least || this.given.some(({ state }) => state)) return false;
    return words !== "needs" || this.words.value.trim() !== "";
  }

  /** In a tab that needs motions: where to put them, and those of the conversation. */
  offer() {
    const { app, given, verb } = this, { least, most } = VERBS[verb];
    const wanted = app.memory.choices.tab !== "chat" && least > 0 && given.length < (verb === "inbetween" ? 2 : 1);
    const recent = wanted ? app.recent(5).filter((key) => !given.some((one) => one.key === key)) : [];
    this.place.hidden = !wanted;
    this.place.classList.toggle("slim", app.memory.turns.some((turn) => turn.verb === verb)); // the answers want the room
    this.place.replaceChildren(...(wanted ? [el("button.target", { type: "button", onclick: () => this.file.click() },
      el("b", {}, given.length ? "Drop a second motion, or fill the middle of this one" : most === 2 ? "Drop two motions here, or one" : "Drop a motion here"), el("span", {}, `or choose a file: ${app.formats.join("  ")}`)),
    recent.length ? el("div.recent", {}, el("span", {}, "or one of yours"), ...recent.map((key) => el("button.chip", { type: "button", onclick: () => this.take(key) }, app.motions.of(key).name))) : null].filter(Boolean) : []));
    this.most = most;
  }

  /** Files for the next request. */
  async bring(files, about = {}) {
    this.complain("");
    for (const file of files) {
      const most = this.app.memory.choices.tab === "chat" ? 4 : Math.max(1, VERBS[this.verb].most);
      if (this.app.memory.choices.tab === "generate") this.app.tab("chat");
      if (this.given.length >= most) this.given.pop();
      const entry = { name: file.name, state: "reading" };
      this.given.push(entry);
      this.refresh();
      try {
        entry.key = await this.app.motions.bring(file, about);
        entry.name = this.app.motions.of(entry.key).name;
        delete entry.state;
        this.app.say(`${entry.name} is read`);
      } catch (error) {
        this.given = this.given.filter((one) => one !== entry);
        this.unread(file, error);
      }
      this.refresh();
    }
    this.words.hidden ? this.go.focus() : this.words.focus();
  }

  /** A file that was refused; bare numbers may only need a word on what they mean. */
  unread(file, error) {
    this.complain(`${file.name}: ${error.message}`);
    if (error.status !== 422 || !/representation|--from|\.npy/i.test(error.message)) return;
    const kinds = ["joints", "hml263", "joints_kit", "kit251", "motion135", "motion272", "interhuman262", "dart276", "babel135", "hymotion201"];
    const kind = el("select", { "aria-label": "representation" }, ...kinds.map((one) => el("option", { value: one }, one)));
    const fps = el("input", { type: "text", inputmode: "decimal", "aria-label": "frames per second", placeholder: "fps", size: 4 });
    this.notice.append(el("span.mend", {}, "Its numbers are ", kind, " at ", fps, button("pill", null, "Read it so", () => this.bring([file], { representation: kind.value, fps: fps.value.replace(",", ".") }), true)));
  }

  /** A motion of the conversation for the next request. */
  take(key, verb = null) {
    const { choices } = this.app.memory, most = choices.tab === "chat" ? 4 : Math.max(1, VERBS[this.verb].most);
    if (verb) this.given = [];
    if (this.given.length >= most) this.given.pop();
    this.given.push({ key, name: this.app.motions.of(key).name });
    this.picked = verb ?? this.picked;
    this.refresh();
    this.words.hidden ? this.go.focus() : this.words.focus();
  }

  leave(k) {
    this.given.splice(k, 1);
    if (!this.given.length) this.picked = null;
    this.refresh();
    this.words.focus();
  }

  complain(text) {
    this.notice.hidden = !text;
    this.notice.replaceChildren(...(text ? [el("span", {}, text), button("none", "close", "close", () => this.complain(""))] : []));
  }

  send() {
    if (!this.ready) return this.words.hidden ? this.file.click() : this.words.focus();
    this.complain("");
    this.app.ask(this.verb, this.words.value.trim(), this.given.map(({ key }) => key), { ...this.values });
    this.words.value = "";
    this.given = [];
    this.picked = null;
    this.grow();
    this.refresh();
    this.words.focus();
  }

  /** Files may be dropped anywhere. */
  dropping() {
    const veil = el("div.veil", { hidden: true, "aria-hidden": "true" }, el("p", {}, "Drop your motion"));
    document.body.append(veil);
    let depth = 0;
    const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    window.addEventListener("dragenter", (event) => { if (files(event)) { event.preventDefault(); depth += 1; veil.hidden = false; } });
    window.addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
    window.addEventListener("dragleave", (event) => { if (files(event) && --depth <= 0) { depth = 0; veil.hidden = true; } });
    window.addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      depth = 0;
      veil.hidden = true;
      this.bring([...event.dataTransfer.files]);
    });
    window.addEventListener("paste", (event) => { if (event.clipboardData?.files.length) { event.preventDefault(); this.bring([...event.clipboardData.files]); } });
  }

  /** A microphone, where the server understands speech. */
  speech() {
    if (this.mic || !navigator.mediaDevices || !window.MediaRecorder) return;
    this.mic = microphone({ complain: (text) => this.complain(text), say: (text) => this.app.say(text), heard: (text) => {
      this.words.value = `${this.words.value} ${text}`.trim().slice(0, 500);
      this.grow();
      this.refresh();
      this.words.focus();
    } });
    this.left.append(this.mic);
  }
}

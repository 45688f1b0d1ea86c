// Small parts of the page: icons, a button that opens a panel, a slider with its value in words.
import { ICONS, el, icon } from "../page.js";

Object.assign(ICONS, {
  send: "M12 4.2 5.2 11l1.5 1.5 4.2-4.2V20h2.2V8.3l4.2 4.2 1.5-1.5z", plus: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  close: "m6.6 5.2 5.4 5.4 5.4-5.4 1.4 1.4-5.4 5.4 5.4 5.4-1.4 1.4-5.4-5.4-5.4 5.4-1.4-1.4 5.4-5.4-5.4-5.4z",
  down: "m6.4 8.6 5.6 5.6 5.6-5.6 1.4 1.4-7 7-7-7z", save: "M11 4h2v8.2l3.1-3.1 1.4 1.4L12 16l-5.5-5.5 1.4-1.4 3.1 3.1zM5 18h14v2H5z",
  tune: "M4 7h9.2a2.8 2.8 0 0 1 5.5 0H20v2h-1.3a2.8 2.8 0 0 1-5.5 0H4zm0 8h1.3a2.8 2.8 0 0 1 5.5 0H20v2h-9.2a2.8 2.8 0 0 1-5.5 0H4z",
  again: "M12 5a7 7 0 0 1 6.2 3.8V5.5h2V12h-6.5v-2h3A5 5 0 1 0 17 13.5l2 .6A7 7 0 1 1 12 5z",
  fresh: "M5 4h9v2H6v12h12v-8h2v9a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zm13.600-1.400 2.800 2.800-8.400 8.400H10.200v-2.800z",
  mic: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5.500 11h2a4.500 4.500 0 0 0 9 0h2a6.500 6.500 0 0 1-5.500 6.400V20h-2v-2.600A6.500 6.500 0 0 1 5.500 11z",
  check: "m9.500 15.700 9-9 1.400 1.400L9.500 18.500 4.100 13.100l1.400-1.400z", figure: "M13.800 3.200a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM9.300 8.600l4-.7 1.900 3 2.800.3-.1 1.800-3.700-.3-1-1.600-1.300 2.600 3 1.700-.8 4.600h-2l.6-3.500-3.300-1.900-1.600 3-3.300.6-.2-1.800 2.300-.5 3-5.500-1.500.3-1.200 2.300-1.600-.8z",
});

/** A button with a sign and, for those who see no signs, a name. */
export const button = (kind, name, label, act, shown = false) => el(`button.${kind}`, { type: "button", title: shown ? null : label, "aria-label": shown ? null : label, onclick: act },
  name ? icon(name) : null, shown ? label : null);

let open = null;
const shut = (focus) => {
  if (!open) return;
  const { panel, by } = open;
  open = null;
  panel.hidden = true;
  by.setAttribute("aria-expanded", "false");
  if (focus) by.focus();
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && open) {
    event.preventDefault();
    event.stopPropagation();
    shut(true);
  }
}, true);
document.addEventListener("pointerdown", (event) => { if (open && !open.holder.contains(event.target)) shut(false); });
document.addEventListener("focusin", (event) => { if (open && !open.holder.contains(event.target)) shut(false); });

/** A button and the panel that it opens; `fill` says what is in the panel each time. */
export function popup(by, fill, label, kind = "") {
  const panel = el("div.popup" + kind, { role: "group", "aria-label": label, hidden: true });
  const holder = el("div.holder", {}, by, panel);
  by.setAttribute("aria-expanded", "false");
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target instanceof HTMLInputElement) { event.preventDefault(); shut(true); } // set, not sent
  });
  by.addEventListener("click", () => {
    const mine = open?.panel === panel;
    shut(false);
    if (mine) return;
    panel.replaceChildren(...fill(() => shut(true)));
    panel.hidden = false;
    by.setAttribute("aria-expanded", "true");
    open = { panel, by, holder };
    panel.classList.remove("up");
    const box = panel.getBoundingClientRect();
    if (box.bottom > window.innerHeight - 8 && by.getBoundingClientRect().top > box.height + 8) panel.classList.add("up");
    panel.querySelector("input, select, button, a")?.focus({ preventScroll: true });
  });
  return holder;
}

/** A slider; `says` puts its value in words. */
export function slider(label, value, [min, max, step], says, changed) {
  const shown = el("output", {}, says(value));
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label, "aria-valuetext": says(value) });
  const fill = () => input.style.setProperty("--gone", `${(100 * (input.value - min)) / Math.max(max - min, 1e-9)}%`);
  input.addEventListener("input", () => {
    changed(+input.value);
    shown.textContent = says(+input.value);
    input.setAttribute("aria-valuetext", says(+input.value));
    fill();
  });
  fill();
  return el("label.slider", {}, el("span", {}, label), input, shown);
}

// The whole player in a frame of the page, which hands it its motions.
const { files, theme, close } = window.parent.hftrainerFull;
window.hftrainerMotions = files;
window.hftrainerTheme = theme;
window.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) close();
});
await import("../main.js");

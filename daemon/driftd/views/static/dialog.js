// A dialog with a heading: modal, closed by Escape, and the focus goes back to what opened it.
import { make } from "./dom.js";

/** Open a dialog; it is taken off the page when it closes. */
export function open(heading, ...content) {
  const before = document.activeElement;
  const key = before?.dataset?.key; // the page may have been drawn anew meanwhile
  const box = make("dialog", { class: "ask", "aria-labelledby": "dialog-heading" }, make("h2", { id: "dialog-heading" }, heading), ...content);
  box.addEventListener("close", () => {
    box.remove();
    const back = before?.isConnected ? before : key ? document.querySelector(`[data-key="${CSS.escape(key)}"]`) : null;
    (back ?? document.getElementById("main")).focus({ preventScroll: true });
  });
  document.body.append(box);
  box.showModal();
  return box;
}

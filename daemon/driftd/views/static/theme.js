// Light, dark, or as the system has it; remembered where the browser allows that.

const NEXT = { system: "light", light: "dark", dark: "system" };
let button = null;

/** Take up the remembered theme; `at` is the button that changes it. */
export function begin(at) {
  button = at;
  button.addEventListener("click", () => choose(NEXT[chosen()]));
  apply(chosen());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/** The value of a colour of the theme now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function chosen() {
  try { return localStorage.getItem("theme") ?? "system"; } catch { return document.documentElement.dataset.theme ?? "system"; }
}

function choose(which) {
  try { localStorage.setItem("theme", which); } catch { /* a private window forgets it */ }
  apply(which);
  changed();
}

function apply(which) {
  if (which === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = which;
  const words = document.createElement("span");
  words.className = "words";
  words.textContent = ` ${which}`;
  button.replaceChildren("◐", words);
  button.setAttribute("aria-label", `Theme: ${which}. Change to ${NEXT[which]}`);
}

function changed() {
  document.dispatchEvent(new CustomEvent("driftd-theme"));
}

// The button at the top: who is logged in, and the dialog that asks for a token.
import { make } from "./dom.js";
import { open } from "./dialog.js";
import * as session from "./session.js";

let button = null;

/** Take up the tab's token; `at` is the button at the top. */
export function begin(at) {
  button = at;
  button.addEventListener("click", () => (session.who.name ? session.drop() : ask()));
  document.addEventListener("driftd-session", show);
  show();
  session.refresh().catch(() => {}); // nobody answers: the page says so itself
}

/** Ask for a token. */
export function ask() {
  const field = make("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false", "aria-describedby": "token-note" });
  const said = make("p", { class: "late", role: "alert" });
  const send = make("button", { type: "submit", class: "act" }, "Log in");
  const form = make("form", {
    submit: async (event) => {
      event.preventDefault();
      send.disabled = true;
      try { await session.logIn(field.value.trim()); box.close(); } catch (error) { said.textContent = error.message; field.select(); } finally { send.disabled = false; }
    },
  }, make("label", { for: "token" }, "Token"), field,
  make("p", { class: "dim", id: "token-note" }, "One of the file of http.token_file. This tab keeps it until it is closed; one with role=operate may act."), said,
  make("p", { class: "buttons" }, send, make("button", { type: "button", class: "quiet", click: () => box.close() }, "Cancel")));
  const box = open("Log in", form);
  field.focus();
}

function show() {
  const { name, operates } = session.who;
  const words = name ? `${name} (${operates ? "operates" : "looks"})` : "";
  button.replaceChildren(name ? `${words} · log out` : "Log in");
  button.setAttribute("aria-label", name ? `Logged in as ${words}. Log out` : "Log in with a token");
}

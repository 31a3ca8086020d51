// Looks that a child process of the daemon takes: begun by a click, asked after until they are done, and kept while the page is open.
import { make } from "./dom.js";
import * as session from "./session.js";

const found = new Map(); // by question: {status, sentence, value}
const MOST = 12, EVERY = 700, PATIENCE = 400; // milliseconds between questions, and how many of them

/** A box for one look: a button, then what comes of it. `draw(value)` makes the nodes. */
export function look(question, label, draw) {
  const box = make("div", { class: "look" });
  const show = () => {
    const known = found.get(question);
    const begin = (words) => make("button", { type: "button", class: "act", "data-key": `look-${question}`, click: () => start(question, show) }, words);
    if (!known) box.replaceChildren(begin(label));
    else if (known.status === "working") box.replaceChildren(make("p", { class: "dim", role: "status" }, `A child process of the daemon reads the rows … ${known.sentence ?? ""}`));
    else if (known.status === "done") box.replaceChildren(...[draw(known.value)].flat(3).filter(Boolean));
    else box.replaceChildren(make("p", { class: "late", role: "status" }, known.sentence), begin("Try again"));
  };
  waiting.set(question, show); // the newest box of a question is the one that is on the page
  show();
  return box;
}

const waiting = new Map();

async function start(question, show) {
  keep(question, { status: "working" });
  show();
  for (let tries = 0; tries < PATIENCE; tries += 1) {
    const answer = await once(question);
    if (answer.status !== "working") { keep(question, answer); waiting.get(question)?.(); return; }
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
  keep(question, { status: "failed", sentence: "It takes too long; ask again later." });
  waiting.get(question)?.();
}

async function once(question) {
  try {
    const response = await fetch(question, { headers: session.headers(), cache: "no-store" });
    const answer = await response.json();
    if (response.status === 503) return { status: "working" }; // others come first
    return response.ok ? answer : { status: "failed", sentence: `${answer.error ?? `driftd answers with ${response.status}`}.` };
  } catch {
    return { status: "failed", sentence: "driftd does not answer." };
  }
}

function keep(question, answer) {
  found.delete(question);
  found.set(question, answer);
  if (found.size > MOST) found.delete(found.keys().next().value);
}

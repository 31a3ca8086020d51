// Which version served on a day: the day is asked for, and the answer is one sentence.
import { make } from "./dom.js";
import { ask } from "./asking.js";
import { moment } from "./words.js";

const days = new Map(); // by model, the day that was asked for: it stays when the page is drawn anew
const DAY = 86400;

/** A field for a day and the sentence that answers it. */
export function served(model) {
  const name = model.model;
  const answer = make("p", { role: "status", class: "served" });
  const field = make("input", { type: "date", id: "served-on", "data-key": "served-on", value: days.get(name), input: () => { days.set(name, field.value); tell(name, field.value, answer); } });
  if (days.get(name)) tell(name, days.get(name), answer);
  return make("div", { class: "served" }, make("p", { class: "buttons" }, make("label", { for: "served-on" }, "What served on"), field), answer);
}

async function tell(name, day, answer) {
  const begin = new Date(`${day}T00:00:00`).getTime() / 1000;
  if (!Number.isFinite(begin)) { answer.replaceChildren(); return; }
  const look = async (at) => (await ask(`api/models/${encodeURIComponent(name)}/served?at=${at}`)).data;
  try {
    const [first, last] = [await look(begin), await look(begin + DAY - 1)];
    if (days.get(name) === day) answer.replaceChildren(...sentence(first, last));
  } catch (error) {
    answer.replaceChildren(error.message);
  }
}

function sentence(first, last) {
  if (!last?.version) return ["No version was under watch on that day."];
  const why = [" ", make("a", { href: `#/decision/${last.decision}` }, "Why"), last.approved_by ? `; let serve by ${last.approved_by}` : ""];
  const since = ["since ", moment(last.since), last.until ? [" until ", moment(last.until)] : ""].flat(2);
  if (first?.version === last.version) return [`Version ${last.version} served all of that day, `, ...since, ".", ...why];
  return [first?.version ? `Version ${first.version} served first, then version ${last.version}, ` : `Version ${last.version} served, `, ...since, ".", ...why];
}

// Until when an order stands: a few usual ends, or a date of one's own. Times are those of the reader's zone.
import { make } from "./dom.js";
import { said } from "./words.js";

const DAY = 86400;

/** The usual ends: [words, epoch seconds]; Friday is its end, and on a Friday that of the next. */
export function presets(now = new Date()) {
  const midnight = (days) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + days).getTime() / 1000;
  const toFriday = ((5 - now.getDay() + 7) % 7) || 7;
  return [
    ["tomorrow", now.getTime() / 1000 + DAY],
    ["until Friday", midnight(toFriday + 1) - 60],
    ["7 days", now.getTime() / 1000 + 7 * DAY],
    ["30 days", now.getTime() / 1000 + 30 * DAY],
  ];
}

/** Radios with the usual ends and a date: {nodes, value()}; `chosen` is the words of the one that is chosen first. */
export function until(chosen, changed) {
  const date = make("input", { type: "datetime-local", id: "until-date", "aria-label": "Until this date and time", input: () => { own.checked = true; changed(); } });
  const own = make("input", { type: "radio", name: "until", value: "date", id: "until-own", change: changed });
  const ends = presets();
  const radios = ends.map(([words, at]) => make("label", { class: "choice" },
    make("input", { type: "radio", name: "until", value: at, checked: words === chosen, change: changed }), ` ${words} `, make("span", { class: "dim" }, `(${said(at)})`)));
  const box = make("fieldset", null, make("legend", null, "Until"), radios, make("label", { class: "choice" }, own, " a date "), date);
  const value = () => {
    const found = box.querySelector("input[name=until]:checked");
    if (found?.value === "date") return date.value ? new Date(date.value).getTime() / 1000 : null;
    return found ? Number(found.value) : null;
  };
  return { nodes: box, value };
}

// A sample of the rows of some windows, and the same as CSV: only where the config allows it, and for who is logged in.
import { make, table } from "./dom.js";
import { figure, moment } from "./words.js";
import * as session from "./session.js";

/** The rows that the `rows` job drew; `question` is where they come from. */
export function rows(value, question) {
  if (!value.rows.length) return make("p", { class: "empty" }, "These windows have no rows, or they are no longer kept.");
  const times = new Set(["at", "label at"].map((name) => value.columns.indexOf(name)));
  const cells = value.rows.map((row) => row.map((one, place) => (one === null ? "–" : times.has(place) && one > 1e8 ? moment(one) : typeof one === "number" ? figure(one) : String(one))));
  return [
    make("p", { class: "dim" }, `${figure(value.rows.length)} rows, drawn evenly${value.windows < value.asked ? ` from ${figure(value.windows)} of these ${figure(value.asked)} windows` : ""}.`),
    table("A sample of rows", value.columns, cells),
    make("p", { class: "buttons" }, make("button", { type: "button", class: "quiet", "data-key": "rows-csv", click: (event) => download(question, event.target) }, "Download as CSV")),
  ];
}

async function download(question, button) {
  const [path, query] = question.split("?");
  const response = await fetch(`${path}.csv?${query}`, { headers: session.headers(), cache: "no-store" }).catch(() => null);
  if (!response || response.status !== 200) { button.textContent = "Not downloaded: ask for the rows again"; return; }
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "rows.csv";
  const link = make("a", { href: URL.createObjectURL(await response.blob()), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

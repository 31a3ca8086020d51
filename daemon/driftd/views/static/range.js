// Which stretch of time is shown: the usual spans, or any from and to. The address holds the choice, in UTC.
import { make } from "./dom.js";
import { capital, figure, moment, said } from "./words.js";

/** Epoch seconds of a choice in the address; null for none. */
export function secondsOf(text) {
  const at = text ? Date.parse(text) / 1000 : NaN;
  return Number.isFinite(at) ? at : null;
}

/** The part of a question that asks for what the address chooses. */
export function asked(query) {
  const given = new URLSearchParams();
  const [from, to] = [secondsOf(query.get("from")), secondsOf(query.get("to"))];
  if (from !== null) given.set("from", from);
  if (to !== null) given.set("to", to);
  if (!given.size && query.get("span")) given.set("span", query.get("span"));
  return given.size ? `?${given}` : "";
}

/** The choice: links to spans, and two fields; `address(changes)` is the address with other choices. */
export function range(model, query, address) {
  const { extent: shown } = model;
  const field = (name, label) => make("input", { type: "datetime-local", id: `range-${name}`, "data-key": `range-${name}`, "aria-label": label, value: local(secondsOf(query.get(name))) });
  const from = field("from", "From"), to = field("to", "To");
  const go = (event) => {
    event.preventDefault();
    location.hash = address({ span: null, windows: null, from: utc(from.value), to: utc(to.value) });
  };
  return make("div", { class: "range" },
    make("nav", { class: "spans", "aria-label": "Span of time" },
      model.spans.map((one) => make("a", { href: address({ span: one.name, from: null, to: null, windows: null }), "aria-current": one.name === shown.span ? "true" : null }, capital(one.name))),
      model.merged > 1 ? make("span", { class: "dim" }, ` each point is ${model.merged} windows`) : null),
    make("form", { class: "spans", "aria-label": "Any range", submit: go }, make("label", { for: "range-from" }, "From"), from, make("label", { for: "range-to" }, "to"), to,
      make("button", { type: "submit", class: "quiet", "data-key": "range-show" }, "Show")));
}

/** That a chosen range has nothing, and what there is; null where it has something. */
export function emptiness(model, query) {
  const { extent: shown } = model;
  if (shown.span !== "range" || shown.first <= shown.last) return null;
  const [from, to] = [secondsOf(query.get("from")), secondsOf(query.get("to"))];
  const chosen = `${from === null ? "" : ` from ${said(from)}`}${to === null ? "" : ` to ${said(to)}`}`;
  return make("p", { class: "empty", role: "status" }, `No window was checked in the range that you chose${chosen}. `,
    shown.held_since === null ? "None is kept at all." : ["What is kept reaches from ", moment(shown.held_since), " to ", moment(shown.held_until), "."]);
}

/** The windows that the address names: [first, last]; null for none. */
export function windowsOf(query) {
  const found = /^(-?\d{1,15})\.\.(-?\d{1,15})$/.exec(query.get("windows") ?? "");
  return found ? [Number(found[1]), Number(found[2])] : null;
}

/** Some windows in words, by their times where they have them. */
export function windowWords(model, [first, last]) {
  const every = model.window_seconds;
  const count = last - first + 1;
  const what = count === 1 ? "one window" : `${figure(count)} windows`;
  return every ? `${what}, ${said(first * every)} to ${said((last + 1) * every)}` : `${what}, ${figure(first)} to ${figure(last)} in order of arrival`;
}

function utc(value) {
  const at = value ? new Date(value).getTime() : NaN;
  return Number.isFinite(at) ? new Date(at).toISOString().slice(0, 16) + "Z" : null;
}

function local(at) {
  if (at === null) return null;
  const date = new Date(at * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

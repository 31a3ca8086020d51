// How times and figures are said. Times stand in the reader's zone; UTC is in the title.
import { make } from "./dom.js";

/** A replay that is over stands still at its end: times are told as of then. Null while a daemon runs. */
export const present = { ended: null };

/** The present, epoch seconds. */
export function now() {
  return present.ended ?? Date.now() / 1000;
}

const SECOND = 1, MINUTE = 60, HOUR = 3600, DAY = 86400;

/** A moment as `<time>`: in the reader's zone, UTC on hover. */
export function moment(at, { short = false } = {}) {
  if (!at) return make("span", { class: "dim" }, "–");
  const date = new Date(at * 1000);
  const utc = date.toISOString().slice(0, 19).replace("T", " ") + " UTC";
  return make("time", { datetime: date.toISOString(), title: utc }, said(at, short));
}

/** A moment as text in the reader's zone. */
export function said(at, short = false) {
  const date = new Date(at * 1000);
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const year = !present.ended && date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  const options = { month: "short", day: "numeric", ...year, ...(short && year.year ? {} : clock) };
  return new Intl.DateTimeFormat(undefined, options).format(date);
}

/** How long ago, kept up to date by `tick`. */
export function ago(at) {
  const date = new Date(at * 1000);
  const title = `${said(at)} here, ${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return make("time", { datetime: date.toISOString(), title, "data-ago": at }, since(at));
}

/** Refresh every "ago" on the page. */
export function tick() {
  for (const one of document.querySelectorAll("[data-ago]")) {
    const text = since(Number(one.dataset.ago));
    if (one.textContent !== text) one.textContent = text;
  }
}

function since(at) {
  const seconds = now() - at;
  return seconds < -MINUTE ? `in ${span(-seconds)}` : seconds < 10 ? "just now" : `${span(seconds)} ago`;
}

/** A length of time in one or two words. */
export function span(seconds) {
  for (const [unit, name] of [[365 * DAY, "year"], [DAY, "day"], [HOUR, "hour"], [MINUTE, "minute"], [SECOND, "second"]]) {
    const count = Math.floor(seconds / unit);
    if (count >= (unit === HOUR || unit === MINUTE || unit === DAY ? 2 : 1) || unit === SECOND) {
      return `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
}

/** A number in four digits at most; a dash for none. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e6 || (size > 0 && size < 1e-4) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** Evidence multiplies; beyond a million only that is told. */
export function evidence(value) {
  if (value === null || value >= 1e6) return "over a million";
  return value >= 100 ? Math.round(value).toLocaleString("en") : figure(Number(value.toPrecision(3)));
}

/** The logarithmic share of the way from 1 to the limit, 0 .. 1. */
export function share(value, limit) {
  if (value === null) return 1;
  return limit <= 1 || value <= 1 ? 0 : Math.min(1, Math.log(value) / Math.log(limit));
}

const KINDS = { harm: "estimated performance", quality: "data quality", prediction: "predictions" };

/** A kind of evidence as people say it; what is stored keeps its name. */
export function kind(name) {
  return KINDS[name] ?? plain(name);
}

/** `awaiting_approval` as people say it. */
export function plain(word) {
  return String(word).replaceAll("_", " ");
}

/** A word that begins a sentence. */
export function capital(word) {
  const text = plain(word);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

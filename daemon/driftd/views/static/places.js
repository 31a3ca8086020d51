// What the address after # asks for: the questions to the daemon, which begin at once, and the view, which is fetched beside.
import { asked, windowsOf } from "./range.js";

const VIEWS = [
  { name: "fleet", pattern: /^\/?$/, questions: () => ["api/fleet"], load: () => import("./fleet.js") },
  { name: "model", pattern: /^\/model\/([^/]+)$/, questions: ofModel, load: () => import("./model.js") },
  { name: "compare", pattern: /^\/model\/([^/]+)\/compare$/, questions: compared, load: () => import("./compare.js") },
  { name: "decision", pattern: /^\/(decision|alarm)\/(\d+)$/, questions: ({ parts: [what, number] }) => [`api/${what}s/${number}`], load: () => import("./decision.js") },
  { name: "config", pattern: /^\/config$/, questions: () => ["api/config"], load: () => import("./config.js") },
];

function ofModel({ parts: [name], query }) {
  const base = `api/models/${encodeURIComponent(name)}`;
  const feature = query.get("feature"), windows = windowsOf(query), choice = asked(query);
  const questions = [`${base}${choice}`, `${base}/scores${choice}`];
  const which = windows ? `&first=${windows[0]}&last=${windows[1]}` : "";
  return feature ? [...questions, `${base}/distribution?feature=${encodeURIComponent(feature)}${which}`] : questions;
}

function compared({ parts: [name], query }) {
  const asked = new URLSearchParams({ a: query.get("a") ?? "", b: query.get("b") ?? "" });
  return [`api/models/${encodeURIComponent(name)}/compare?${asked}`];
}

/** {view, where}; the view is null where there is none. */
export function place() {
  const [path, query] = (location.hash.replace(/^#/, "") || "/").split("?");
  for (const view of VIEWS) {
    const found = view.pattern.exec(path);
    if (found) return { view, where: { parts: found.slice(1).map(decoded), query: new URLSearchParams(query ?? ""), path } };
  }
  return { view: null, where: { parts: [], query: new URLSearchParams(), path } };
}

function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

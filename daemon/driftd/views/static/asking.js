// Questions to the daemon. An answer that has not changed is not sent again (ETag), and is told apart here.
import * as session from "./session.js";
import { present } from "./words.js";

const kept = new Map(); // by question: {tag, data}
const MOST = 40;
export const pulse = { answered: 0, round: 0 };

/** Ask one question: {data, isNew, status}. Throws TypeError when nobody answers, an error with `unanswered` on 5xx. */
export async function ask(question) {
  const before = kept.get(question);
  const response = await fetch(question, { headers: session.headers(before?.tag ? { "If-None-Match": before.tag } : {}), cache: "no-store" });
  pulse.round = Number(response.headers.get("Driftd-Last-Round")) || pulse.round;
  present.ended = Number(response.headers.get("Driftd-Ended")) || null;
  if (response.status === 304) { answered(); return { data: before.data, isNew: false, status: 200 }; }
  if (response.status === 401 || response.status === 403) {
    if (session.token()) await session.refresh();
    throw Object.assign(new Error("driftd asks for a token before it shows this page."), { unanswered: true });
  }
  const data = await response.json().catch(() => null);
  if (response.status === 404) {
    answered();
    kept.set(question, { tag: null, data: null });
    return { data: null, isNew: !before || before.data !== null, status: 404 };
  }
  if (!response.ok || data === null) {
    throw Object.assign(new Error(data?.error ?? `driftd answers with ${response.status}.`), { unanswered: true });
  }
  answered();
  kept.set(question, { tag: response.headers.get("ETag"), data });
  if (kept.size > MOST) kept.delete(kept.keys().next().value);
  return { data, isNew: true, status: 200 };
}

function answered() {
  pulse.answered = Date.now() / 1000;
}

// Who is logged in: a token that this tab keeps until it is closed, and that goes along in a header that no other site's page can set.
const KEY = "driftd-token";
let forgotten = ""; // why the last token was let go, for the reader
export let who = { name: null, operates: false, has_tokens: true, known: false };

/** The token of this tab; null where there is none. */
export function token() {
  try { return sessionStorage.getItem(KEY); } catch { return kept; }
}
let kept = null; // where the browser gives no storage: until the page is left

/** The headers of a question or a request. */
export function headers(more = {}) {
  const found = token();
  return found ? { ...more, Authorization: `Bearer ${found}` } : more;
}

/** Ask who this tab's token is. */
export async function refresh() {
  const response = await fetch("api/v1/session", { headers: headers(), cache: "no-store" });
  if (response.status === 401 && token()) { drop("Your token is not known any more. Log in again."); return refresh(); }
  if (!response.ok) return;
  tell({ ...(await response.json()), known: true });
}

/** Log in; throws an error with the daemon's sentence where the token is not known. */
export async function logIn(given) {
  const response = await fetch("api/v1/session", { headers: { Authorization: `Bearer ${given}` }, cache: "no-store" });
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(`Not logged in: ${found.error ?? `driftd answers with ${response.status}`}.`);
  keep(given);
  forgotten = "";
  tell({ ...found, known: true });
}

/** Let the token go; `why` is told to the reader. */
export function drop(why = "") {
  keep(null);
  forgotten = why;
  tell({ ...who, name: null, operates: false });
}

/** How to get the right to act, in one sentence; empty for who has it. */
export function obstacle() {
  if (who.operates) return "";
  if (!who.has_tokens) return "Actions need a token that may operate, and this daemon knows none: set http.token_file in the config.";
  if (who.name) return `${who.name} may only look. Have role=operate written behind your token in the file of http.token_file.`;
  return `${forgotten || "You may only look."} Log in with a token that may operate.`;
}

/** Whether a token would help. */
export function mayLogIn() {
  return who.has_tokens && !who.name;
}

function keep(given) {
  kept = given;
  try { if (given) sessionStorage.setItem(KEY, given); else sessionStorage.removeItem(KEY); } catch { /* a private window: `kept` has it */ }
}

function tell(found) {
  const isNew = JSON.stringify(found) !== JSON.stringify(who);
  who = found;
  if (isNew) document.dispatchEvent(new CustomEvent("driftd-session"));
}

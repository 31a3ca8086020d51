// The dialog before an action: what follows from it in one sentence, why, and then what became of the request.
import { make } from "./dom.js";
import { open } from "./dialog.js";
import { until as ends } from "./until.js";
import { plain, said } from "./words.js";
import * as session from "./session.js";

const SOON = 400, LATER = 3000, PATIENCE = 60; // milliseconds between looks, and after how many looks it becomes rare
const PAUSABLE = ["checks", "retraining", "promotion"];

/** Ask for the fields of an action, tell its consequence, send it and follow its answer. */
export function confirm({ kind, action, model, given, preset, versions }) {
  const values = { ...given, end: null };
  const consequence = make("p", { class: "consequence", role: "status", id: "consequence" });
  const reason = make("textarea", { id: "reason", rows: 2, maxlength: 1000, required: Boolean(action.needsReason) });
  const answer = make("p", { class: "answer", role: "status" });
  const send = make("button", { type: "submit", class: `act ${kind}`, "aria-describedby": "consequence" });
  const close = make("button", { type: "button", class: "quiet", click: () => box.close() }, "Cancel");
  const end = action.fields?.includes("until") ? ends(given.until, () => tell()) : null;
  const fields = (action.fields ?? []).filter((name) => name !== "until" && !(name in preset)).map((name) => FIELDS[name]({ model, values, versions, changed: () => tell() }));
  const part = make("fieldset", { class: "plain" }, fields, end?.nodes, make("label", { for: "reason" }, action.needsReason ? "Why (needed, for the history)" : "Why (for the history)"), reason);
  const tell = () => {
    values.end = end ? end.value() : null;
    const words = { ...values, until: end ? (values.end ? said(values.end) : "a time that you choose") : null };
    consequence.textContent = action.consequence(model, words);
    send.textContent = action.title(model, { ...values });
  };
  let key = newKey(), sent = "";
  const form = make("form", {
    submit: async (event) => {
      event.preventDefault();
      if (end && !values.end) { answer.textContent = "Choose a date."; return; }
      const body = bodyOf(action, values, reason.value);
      if (body !== sent) { key = newKey(); sent = body; } // what is sent again is the same request; what was changed is another
      part.disabled = send.disabled = true;
      try {
        const found = await post(model.model, kind, body, key);
        close.textContent = "Close";
        close.focus();
        await follow(found, answer, box);
      } catch (error) {
        answer.className = "answer late";
        answer.textContent = error.message;
        part.disabled = send.disabled = false;
      }
    },
  }, consequence, part, answer, make("p", { class: "buttons" }, send, close));
  tell();
  const box = open(`${action.title(model, preset)}: ${model.model}`, form);
  (action.needsReason ? reason : send).focus();
}

const FIELDS = {
  version: ({ values, versions, changed }) => choice("Version that is to serve", versions.map((one) => [one, `version ${one}`]), values, "version", changed, Number),
  feature: ({ model, values, changed }) => choice("Feature", (model.features ?? [values.feature]).map((one) => [one, one]), values, "feature", changed, String),
  alarm: ({ model, values, changed }) => choice("Alarm", model.choices.alarms.filter((one) => one.opens_builds).map((one) => [one.id, `${one.id}, of ${one.kind}`]), values, "alarm", changed, Number),
  what: ({ values, changed }) => make("fieldset", null, make("legend", null, "What is held"), PAUSABLE.map((name) => make("label", { class: "choice" },
    make("input", { type: "checkbox", value: name, checked: values.what.includes(name), change: (event) => {
      values.what = event.target.checked ? [...values.what, name] : values.what.filter((one) => one !== name);
      changed();
    } }), ` ${plain(name)}`))),
};

function choice(label, options, values, name, changed, read) {
  const box = make("select", { id: `choose-${name}`, change: () => { values[name] = read(box.value); changed(); } },
    options.map(([value, words]) => make("option", { value, selected: value === values[name] }, words)));
  return [make("label", { for: `choose-${name}` }, label), box];
}

function bodyOf(action, values, reason) {
  const named = Object.fromEntries(["version", "feature", "alarm", "what"].filter((name) => values[name] !== undefined).map((name) => [name, values[name]]));
  return JSON.stringify({ ...named, ...(values.end ? { until: new Date(values.end * 1000).toISOString() } : {}), reason });
}

async function post(model, kind, body, key) {
  const response = await fetch(`api/v1/models/${encodeURIComponent(model)}/${kind}`, {
    method: "POST", body, cache: "no-store", headers: session.headers({ "Content-Type": "application/json", "Idempotency-Key": key }),
  }).catch(() => { throw new Error("driftd does not answer: nothing is known of this request. Send it again; it is not asked twice."); });
  const found = await response.json().catch(() => ({}));
  if (response.status === 401) session.drop("Your token is not known any more.");
  if (!response.ok) throw new Error(`Not taken: ${found.error ?? `driftd answers with ${response.status}`}.`);
  return found;
}

/** Tell what becomes of a request until it is answered or the dialog is closed. */
async function follow(request, answer, box) {
  answer.className = "answer";
  answer.textContent = `Waiting: kept as request ${request.id}; the main loop answers it at its next round.`;
  for (let looks = 0; box.open; looks += 1) {
    await new Promise((resolve) => setTimeout(resolve, looks < PATIENCE ? SOON : LATER));
    const response = await fetch(`api/v1/requests/${request.id}`, { headers: session.headers(), cache: "no-store" }).catch(() => null);
    const found = response?.ok ? await response.json() : null;
    if (found && found.status !== "waiting") {
      answer.className = `answer ${found.status}`;
      answer.textContent = `${found.status === "done" ? "Done" : "Refused"}: ${found.outcome}`;
      document.dispatchEvent(new CustomEvent("driftd-answered"));
      return;
    }
  }
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
}

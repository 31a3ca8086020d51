// What a person may ask of a model: each with its fields, its consequence in one sentence, and the request that it sends.
import { make } from "./dom.js";
import { confirm } from "./confirm.js";
import { ask as logIn } from "./login.js";
import { capital, plain, present } from "./words.js";
import * as session from "./session.js";

const served = (model) => (model.version ? `version ${model.version} goes on serving` : "no version serves");
const stands = (order) => `${order.kind === "pause" ? plain(order.subject) + " paused" : order.kind === "silence" ? `${order.subject} silent` : `alarm ${order.subject} acknowledged`}`;

/** Every action: {kind, title, fields, needsReason, consequence(model, given), done}. `of(model)` is whether it makes sense now. */
const ACTIONS = {
  approve: {
    title: (model) => `Approve version ${model.choices.awaits_approval}`,
    of: (model) => model.choices.awaits_approval !== null,
    given: (model) => ({ version: model.choices.awaits_approval }),
    consequence: (model, { version }) => model.is_external
      ? `Version ${version} is handed over to the system that serves ${model.model}, in place of version ${model.version}.`
      : `Version ${version} serves ${model.model} after a last check of its files, in place of ${model.version ? `version ${model.version}` : "none"}.`,
  },
  reject: {
    title: (model) => `Reject version ${model.choices.awaits_approval}`,
    of: (model) => model.choices.awaits_approval !== null,
    given: (model) => ({ version: model.choices.awaits_approval }),
    consequence: (model, { version }) => `Version ${version} is turned down and barred: it is not served by itself any more; ${served(model)}.`,
  },
  confirm: {
    title: (model) => `Confirm version ${model.choices.hand_over}`,
    of: (model) => model.choices.hand_over !== null,
    given: (model) => ({ version: model.choices.hand_over }),
    consequence: (model, { version }) => `driftd takes it that the other system serves version ${version} from now on.`,
  },
  retrain: {
    title: (model) => (model.choices.can_train ? "Retrain" : "Ask for a new version"),
    of: (model) => !model.choices.awaits_approval,
    consequence: (model) => !model.choices.can_train
      ? `No trainer is configured, so nothing is built: a new version is asked for where the model is trained; ${served(model)}.`
      : model.blocked
      ? `A build is wanted, and waits until the data pipeline is whole (${model.blocked}); ${served(model)}.`
      : `A build begins, past the cool-down and the budget; ${served(model)} until a new one wins its gate.`,
  },
  rollback: {
    title: () => "Roll back",
    of: (model) => model.version !== null && earlier(model).length > 0,
    fields: ["version"],
    given: (model) => ({ version: earlier(model).includes(model.choices.previous) ? model.choices.previous : earlier(model)[0] }),
    consequence: (model, { version }) => `Version ${version} serves in place of version ${model.version}, and version ${model.version} is barred: it is not served by itself any more.`,
  },
  acknowledge: {
    title: (_, { alarm } = {}) => (alarm ? `Acknowledge alarm ${alarm}` : "Acknowledge"),
    of: (model) => model.choices.alarms.some((one) => one.opens_builds),
    fields: ["alarm", "until"], needsReason: true,
    given: (model) => ({ alarm: model.choices.alarms.find((one) => one.opens_builds)?.id, until: "7 days" }),
    consequence: (model, { alarm, until }) => `Nothing is built for alarm ${alarm} until ${until}; the alarm stands, and ${served(model)}.`,
  },
  silence: {
    title: (_, { feature } = {}) => (feature ? `Silence ${feature}` : "Silence a feature"),
    of: (model) => (model.features?.length ?? 0) > 0 || drifted(model).length > 0,
    fields: ["feature", "until"], needsReason: true,
    given: (model) => ({ feature: drifted(model)[0] ?? model.features?.[0], until: "7 days" }),
    consequence: (model, { feature, until }) => `${feature} raises no alarm until ${until}; what it gathers meanwhile is kept, and other features are watched as before.`,
  },
  pause: {
    title: () => "Pause",
    of: () => true,
    fields: ["what", "until"], needsReason: true,
    given: () => ({ what: ["retraining"], until: "7 days" }),
    consequence: (model, { what, until }) => `${what.length ? capital(what.join(", ")) : "Checks, retraining and promotion"} of ${model.model} ${what.length === 1 && what[0] !== "checks" ? "is" : "are"} held until ${until}; ${served(model)}.`,
  },
  resume: {
    title: () => "Resume",
    of: (model) => model.orders.length > 0,
    consequence: (model) => `This ends now: ${model.orders.map(stands).join("; ")}. What the config's override asks for stays.`,
  },
};

/** The features that standing alarms point at. */
export function drifted(model) {
  const known = model.features ? new Set(model.features) : null;
  const names = model.choices.alarms.filter((one) => one.kind === "data").map((one) => one.leader);
  return [...new Set(names)].filter((name) => known === null || known.has(name));
}

/** The versions that a rollback may go to, newest first. */
function earlier(model) {
  return (model.versions ?? []).filter((one) => !one.error && one.version !== model.version && one.version !== model.build?.number).map((one) => one.version);
}

/** A button for one action; `preset` names a field's value, which is then not asked for. */
export function button(model, kind, preset = {}) {
  const action = ACTIONS[kind];
  const given = { ...(action.given?.(model) ?? {}), ...preset };
  const words = action.title(model, preset);
  return make("button", {
    type: "button", class: `act ${kind}`, "data-key": `act-${model.model}-${kind}-${preset.feature ?? preset.alarm ?? ""}`,
    // Off, and yet reached by the keyboard: whoever looks learns why, and how to get the right.
    "aria-disabled": session.who.operates ? null : "true", "aria-describedby": session.who.operates ? null : "obstacle",
    click: () => {
      if (session.who.operates) confirm({ kind, action, model, given, preset, versions: earlier(model) });
      else if (session.mayLogIn()) logIn();
    },
  }, words);
}

/** What makes sense of a model now, on the first screen: what waits for a person. */
export function urgent(model) {
  if (!model.choices || present.ended) return [];
  const waits = ["approve", "reject", "confirm"].filter((kind) => ACTIONS[kind].of(model)).map((kind) => button(model, kind));
  return [...waits, ...drifted(model).slice(0, 2).map((feature) => button(model, "silence", { feature }))];
}

/** Everything that may be asked of a model, with how to get the right where it is lacking. */
export function actions(model) {
  if (present.ended) return [make("p", { class: "dim" }, "This replay is over: nothing can be asked of it.")];
  const kinds = Object.keys(ACTIONS).filter((kind) => ACTIONS[kind].of(model));
  return [make("p", { class: "buttons" }, kinds.map((kind) => button(model, kind))), obstacle()];
}

/** The sentence below buttons that are off, with the way in; nothing for who may act. */
export function obstacle() {
  if (present.ended) return null;
  const why = session.who.known ? session.obstacle() : "";
  if (!why) return null;
  return make("p", { class: "dim obstacle", id: "obstacle" }, why, " ", session.mayLogIn() ? make("button", { type: "button", class: "quiet", "data-key": "obstacle-login", click: logIn }, "Log in") : null);
}


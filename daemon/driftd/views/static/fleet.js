// The fleet: one sentence on all, then every model, the most urgent first.
import { draw, make } from "./dom.js";
import { ago, capital, evidence, figure, kind as said, moment, plain, share } from "./words.js";
import { obstacle, urgent } from "./actions.js";

export const title = () => "Fleet";

export function render([fleet]) {
  return [
    make("h1", { class: `headline ${fleet.headline.level}` }, fleet.headline.sentence),
    fleet.models.length === 0
      ? make("p", null, "Name a model in the config and run ", make("code", null, "driftd init"), "; it appears here within seconds.")
      : listed(fleet.models),
    fleet.models.some((one) => urgent(one).length) ? obstacle() : null,
    make("section", { "aria-labelledby": "decided" }, make("h2", { id: "decided" }, "Decided last"), decisions(fleet.decisions, true)),
  ];
}

const MANY = 12; // models from which on they can be filtered
const PAGE = 50; // models that are drawn at once: of a thousand, all would take seconds at each change
let wanted = "", most = PAGE; // what the reader filters by, and how many are drawn: they stay when the page is drawn anew

/** The models, or the first of those that the filter leaves. */
function listed(models) {
  const list = make("ul", { class: "models", id: "models" }), more = make("p", { class: "buttons" }), count = make("span", { class: "dim", role: "status" });
  const fill = () => {
    const found = models.filter(matches);
    list.replaceChildren(...found.slice(0, most).map(row));
    count.textContent = wanted ? `${found.length} of ${models.length} models` : `${models.length} models`;
    const left = found.length - most;
    more.replaceChildren(...(left > 0 ? [make("button", { type: "button", class: "quiet", "data-key": "fleet-more", click: () => { most += PAGE; fill(); } }, `Show ${Math.min(PAGE, left)} more of ${left}`)] : []));
  };
  const field = make("input", { type: "search", id: "fleet-filter", "data-key": "fleet-filter", value: wanted, autocomplete: "off", "aria-controls": "models",
    input: () => { wanted = field.value; most = PAGE; fill(); }, focus: () => field.setSelectionRange(field.value.length, field.value.length) });
  fill();
  return [models.length > MANY ? make("p", { class: "filter" }, make("label", { for: "fleet-filter" }, "Find"), field, count) : null, list, more];
}

/** Whether every word of the filter is in the name, the phase, the verdict or the sentence of a model. */
function matches(one) {
  const text = [one.model, plain(one.phase), one.worst, one.attention.sentence].join(" ").toLowerCase();
  return wanted.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function row(one) {
  const link = `#/model/${encodeURIComponent(one.model)}`;
  return make("li", { class: `model ${one.attention.level}` },
    make("div", { class: "who" },
      make("h2", null, make("a", { href: link }, one.model)),
      make("p", { class: "chips" }, chips(one))),
    make("div", { class: "why" }, attention(one), standing(one)),
    make("div", { class: "how" }, spark(one), nearest(one)),
  );
}

/** The alarms that stand, each a link to what it says, and what may be done about them here. */
function standing(one) {
  const buttons = urgent(one), alarms = one.choices?.alarms.slice(0, 3) ?? [];
  if (!buttons.length && !alarms.length) return null;
  return make("p", { class: "buttons" },
    alarms.map((each) => make("a", { href: `#/alarm/${each.id}`, class: "alarm" }, `Alarm ${each.id}: ${each.leader}`)), buttons);
}

/** The first lines of a model: the sentence, what it rests on, what to type. */
export function attention(one) {
  const { sentence, detail, command, runbook, also } = one.attention;
  return [
    make("p", { class: "sentence" }, sentence),
    detail ? make("p", { class: "detail" }, detail) : null,
    command || runbook ? make("p", { class: "detail" }, command ? make("code", null, command) : null, " ", runbook ? make("a", { href: `runbook#${runbook}` }, "What to do") : null) : null,
    ...also.map((each) => make("p", { class: "late" }, each)),
  ];
}

/** Phase, version, verdict, last check. */
export function chips(one) {
  return [
    make("span", { class: "chip" }, plain(one.phase)),
    one.is_external ? make("span", { class: "chip" }, "served elsewhere") : null,
    one.version ? make("span", { class: "chip" }, `version ${one.version}${one.pinned ? ", pinned" : ""}`) : null,
    one.worst && one.worst !== "-" ? make("span", { class: `chip verdict ${one.worst}` }, one.worst) : null,
    one.last_check ? make("span", { class: "dim" }, "checked ", ago(one.last_check)) : null,
  ];
}

function nearest(one) {
  const kinds = Object.entries(one.evidence ?? {}).map(([kind, found]) => [kind, share(found.evidence, found.threshold), found]);
  if (!kinds.length) return null;
  const [kind, part, found] = kinds.reduce((a, b) => (b[1] > a[1] ? b : a));
  return make("p", { class: "nearest" }, bar(part, found.verdict, `${said(kind)}: evidence ${evidence(found.evidence)} of ${evidence(found.threshold)}`),
    make("span", { class: "dim" }, part > 0 ? `${said(kind)} ${evidence(found.evidence)} of ${evidence(found.threshold)}` : "no evidence"));
}

/** A bar of a share in 0 .. 1 with words for who does not see it. */
export function bar(part, verdict, words) {
  return draw("svg", { class: `meter ${verdict}`, viewBox: "0 0 100 8", width: 100, height: 8, role: "img", "aria-label": words, preserveAspectRatio: "none" },
    draw("rect", { class: "rest", width: 100, height: 8, rx: 2 }), draw("rect", { class: "full", width: Math.max(part * 100, part > 0 ? 2 : 0), height: 8, rx: 2 }));
}

const WIDTH = 200, HEIGHT = 44;

function spark(one) {
  const data = one.spark;
  if (!data || !data.at.length) return make("p", { class: "dim empty" }, "No performance yet.");
  if (data.kind === "verdicts") return make("p", { class: "dim empty" }, "No labels were evaluated yet: performance is shown once feedback comes.");
  const known = [...data.value, ...data.baseline, ...data.tolerated].filter((value) => value !== null);
  const low = Math.min(...known), high = Math.max(...known), reach = high - low || 1;
  const x = (place) => (data.at.length > 1 ? place / (data.at.length - 1) : 0.5) * (WIDTH - 6) + 3;
  const y = (value) => HEIGHT - 4 - ((value - low) / reach) * (HEIGHT - 8);
  const path = (values) => values.map((value, place) => value === null ? "" : `${place && values[place - 1] !== null ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const { value: last, baseline, version } = data.now;
  const isBefore = version !== null && one.version !== null && version !== one.version; // no label of this version yet
  const over = data.now.over && !isBefore, of = isBefore ? ` of version ${version}` : "";
  const words = `${data.metric ?? "loss"}${of} ${figure(last)}${isBefore ? "" : " now"}, ${figure(baseline)} on the reference${over ? ", more loss than is tolerated" : ""}`;
  return make("div", { class: "spark" },
    draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": words, preserveAspectRatio: "none" },
      draw("path", { class: "baseline", d: path(data.baseline) }), draw("path", { class: "tolerated", d: path(data.tolerated) }),
      draw("path", { class: "value", d: path(data.value) })),
    make("p", null, make("strong", { class: over ? "over" : null }, figure(last)), ` ${data.metric ?? "loss"}${of}`, make("span", { class: "dim" }, isBefore ? `; no labels of version ${one.version} were evaluated yet` : `, usually ${figure(baseline)}${over ? "; not tolerated" : ""}`)));
}

/** Lines of history, newest first. */
export function decisions(lines, withModel) {
  if (!lines.length) return make("p", { class: "dim" }, "Nothing was decided yet. The first line comes when a model is taken under watch.");
  return make("ol", { class: "decisions" }, lines.map((one) => make("li", null,
    make("span", { class: "at" }, moment(one.at, { short: true })),
    make("a", { href: `#/decision/${one.id}`, class: `event ${one.event}` }, withModel ? `${one.model}: ` : "", withModel ? plain(one.event) : capital(one.event)),
    make("span", { class: "reason" }, one.sentence))));
}

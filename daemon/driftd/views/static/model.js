// One model: what is wrong first, then performance, evidence, features, versions, and what was decided.
import { fold, make } from "./dom.js";
import { capital, evidence, figure, kind as said, moment, plain, present, share } from "./words.js";
import { attention, bar, chips, decisions } from "./fleet.js";
import { aligned, chart } from "./charts.js";
import { heat } from "./heat.js";
import { distribution } from "./distribution.js";
import { list } from "./decision.js";
import { actions } from "./actions.js";
import { served } from "./served.js";
import { emptiness, range, windowWords, windowsOf } from "./range.js";
import { look } from "./looks.js";
import { quality } from "./quality.js";
import { rows } from "./rows.js";
import * as session from "./session.js";

const KINDS = { performance: "series-1", data: "series-2", prediction: "series-3", quality: "series-4", harm: "series-5" };

const STATUS = { promote: "served before", reject: "lost its gate", candidate: "not judged yet", inconclusive: "never clearly better" };

export const title = ({ parts: [name] }) => name;

export function render([model, scores, found], where) {
  const head = [
    make("p", { class: "crumbs" }, make("a", { href: "#/" }, "Fleet")),
    make("div", { class: `head ${model.attention.level}` }, make("h1", null, model.model), make("p", { class: "chips" }, chips(model)), attention(model),
      model.rows_sentence ? make("p", { class: "dim" }, `${capital(model.rows_sentence)}.`) : null,
      model.watched ? actions(model) : null),
  ];
  if (!model.watched) return head;
  const nothing = emptiness(model, where.query);
  return [
    ...head,
    model.spans.length ? range(model, where.query, (changes) => address(where, changes)) : null,
    ...(nothing ? [nothing] : over(model, scores, found, where)),
    section("alarms", "Alarms", alarms(model)),
    section("versions", "Versions", versions(model)),
    section("history", "Decided", decisions(model.decisions, false)),
  ];
}

/** What is shown of the windows of the range. */
function over(model, scores, found, where) {
  return [
    section("performance", "Performance", performance(model)),
    section("evidence", "Evidence against its limit", against(model)),
    section("quality", "Quality and segments", measured(model, where)),
    section("features", "Features over time", scores ? features(model, scores, found, where) : null),
    section("rows", "Rows", sample(model, where)),
  ];
}

function section(name, heading, content) {
  return make("section", { "aria-labelledby": name }, make("h2", { id: name }, heading), content);
}

/** The address of this view with other choices. */
function address(where, changes) {
  const query = new URLSearchParams(where.query);
  for (const [name, value] of Object.entries(changes)) if (value === null) query.delete(name); else query.set(name, value);
  const text = query.toString();
  return `#/model/${encodeURIComponent(where.parts[0])}${text ? `?${text}` : ""}`;
}

function performance(model) {
  const { performance: told, estimate } = model;
  if (!told.at.length && !estimate.at.length) {
    return make("p", { class: "empty" }, "No labels were evaluated yet. Send feedback with the true labels; the first point comes when enough labels of a window are known (at least 20).");
  }
  const { x, columns: [real, guess] } = aligned([
    { at: told.at, values: [told.value, told.low, told.high, told.baseline, told.tolerated] },
    { at: estimate.at, values: [estimate.value, estimate.low, estimate.high] },
  ]);
  const metric = told.metric ?? "loss";
  const better = told.higher_is_better ? "higher is better" : "lower is better";
  const last = told.value.at(-1);
  const words = last === undefined ? `${metric}, ${better}; estimated only.` : `${metric}, ${better}: ${figure(last)} ${model.extent.span === "range" ? "at the end of the range" : model.merged > 1 ? `over the last ${model.merged} windows` : "in the last window"}, ${figure(told.baseline.at(-1))} on the reference, ${figure(told.tolerated.at(-1))} is tolerated.`;
  const series = [
    { name: metric, values: real[0], band: [real[1], real[2]], colour: "series-1", width: 2, points: x.length < 60 },
    { name: "baseline", values: real[3], colour: "dim", dash: [2, 3], steps: true },
    { name: "tolerated", values: real[4], colour: "drift", dash: [6, 4], steps: true },
  ];
  if (estimate.at.length) series.push({ name: "estimated without labels", values: guess[0], band: [guess[1], guess[2]], colour: "series-5", dash: [4, 2] });
  return [
    chart({ name: "performance", label: "Realised performance", words, x, series, marks: model.marks }),
    told.coverage.length ? make("p", { class: "dim" }, `Labels of ${figure(Math.round((told.coverage.at(-1) ?? 0) * 100))} % of the last evaluated window that is shown, ${figure(told.labels.at(-1))} in all. The band is the 95 % confidence interval.`) : null,
  ];
}

function against(model) {
  const kinds = Object.keys(model.evidence_over_time);
  if (!kinds.length) return make("p", { class: "empty" }, model.learning ? `Nothing is weighed yet: ${model.learning}.` : "No window was checked yet; the first comes when a window is complete.");
  const now = make("ul", { class: "kinds" }, Object.entries(model.evidence).map(([kind, found]) => make("li", null,
    make("span", { class: "kind" }, capital(said(kind))),
    bar(share(found.evidence, found.threshold), found.verdict, `${said(kind)}: ${evidence(found.evidence)} of ${evidence(found.threshold)}`),
    make("span", { class: `verdict ${found.verdict}` }, found.verdict),
    make("span", { class: "reason" }, found.sentence))));
  const { x, columns } = aligned(kinds.map((kind) => {
    const one = model.evidence_over_time[kind];
    return { at: one.at, values: [one.evidence.map((value, place) => share(value, one.limit[place]) * 100)] };
  }));
  const series = kinds.map((kind, place) => ({ name: said(kind), values: columns[place][0], colour: KINDS[kind] ?? "series-1" }));
  const isPast = model.extent.span === "range"; // what is said of this moment would contradict a chart of another
  return [isPast ? null : now, chart({
    name: "evidence", label: "The way to an alarm", words: "In percent of the limit, by logarithms: evidence multiplies. An alarm is 100 %.", x, marks: [],
    series: [...series, { name: "limit", values: x.map(() => 100), colour: "drift", dash: [6, 4] }], format: (value) => `${Math.round(value)} %`, range: [0, 108],
  })];
}

function features(model, scores, found, where) {
  const chosen = where.query.get("feature");
  const choose = (name, windows = chosenWindows(where)) => {
    const to = address(where, { feature: name, windows });
    if (location.hash === to) dispatchEvent(new HashChangeEvent("hashchange")); else location.replace(to);
  };
  return [
    heat(scores, chosen, choose),
    chosen ? distribution(found, chosen, () => choose(null, null)) : make("p", { class: "dim" }, "Choose a feature to see its values now over those of the reference."),
  ];
}

const chosenWindows = (where) => where.query.get("windows");

/** The windows that looks are about: those that were chosen, else all that are shown. */
function lookedAt(model, where) {
  return windowsOf(where.query) ?? [model.extent.first, model.extent.last];
}

function question(model, what, [first, last]) {
  return `api/models/${encodeURIComponent(model.model)}/${what}?first=${first}&last=${last}`;
}

function about(model, where) {
  const chosen = windowsOf(where.query);
  return make("p", { class: "dim" }, chosen ? ["Of the chosen ", windowWords(model, chosen), ". ", make("a", { href: address(where, { windows: null }) }, "All that is shown")] : `Of all that is shown: ${windowWords(model, lookedAt(model, where))}. Choose a cell of the map of features for fewer.`);
}

function measured(model, where) {
  return [about(model, where), look(question(model, "quality", lookedAt(model, where)), "Measure by segment, curve and metric", quality)];
}

function sample(model, where) {
  if (present.ended) return make("p", { class: "dim" }, "Rows are not shown of a replay.");
  const asked = question(model, "rows", lookedAt(model, where));
  const text = session.who.name ? null : make("p", { class: "dim" }, "Rows are the data of your users: they are shown only to who is logged in, and where the config allows it.");
  return [about(model, where), text, look(asked, "Show a sample of rows", (value) => rows(value, asked))];
}

function alarms(model) {
  if (!model.alarms.length) return make("p", { class: "dim" }, model.extent.span === "range" ? "None in this range." : "None so far.");
  return make("ol", { class: "decisions" }, model.alarms.map((one) => make("li", null,
    make("span", { class: "at" }, moment(one.happened_at, { short: true })),
    make("a", { href: `#/alarm/${one.id}`, class: "event alarm" }, `${capital(said(one.kind))}${one.subject !== one.kind ? `: ${one.subject}` : ""}`),
    make("span", { class: "reason" }, one.sentence, one.absorbed_at ? " Accepted as the new normal." : "",
      one.report ? [" ", make("a", { href: `reports/${encodeURIComponent(model.model)}/${one.id}`, target: "_blank", rel: "noopener" }, "Evidently's report")] : ""))));
}

function versions(model) {
  if (!model.versions.length) return make("p", { class: "empty" }, "No version stands in the registry.");
  const [b, a] = [model.versions.find((one) => one.serves) ?? model.versions[0], model.versions.find((one) => !one.serves)];
  const compare = a ? make("p", { class: "buttons" }, make("a", { href: compared(model, Math.min(a.version, b.version), Math.max(a.version, b.version)) }, `Compare versions ${Math.min(a.version, b.version)} and ${Math.max(a.version, b.version)}`)) : null;
  return [served(model), compare, make("ol", { class: "lane" }, model.versions.map((one) => make("li", { class: one.serves ? "serves" : one.barred ? "barred" : null },
    make("h3", null, `Version ${one.version}`, " ", one.serves ? make("span", { class: "chip verdict ok" }, "serves") : one.barred ? make("span", { class: "chip verdict drift" }, "barred") : make("span", { class: "chip" }, one.version === model.choices.awaits_approval ? "waits for approval" : STATUS[one.status] ?? plain(one.status ?? "unreadable"))),
    one.error ? make("p", { class: "late" }, one.error) : lineage(one, model))))];
}

function compared(model, a, b) {
  return `#/model/${encodeURIComponent(model.model)}/compare?a=${a}&b=${b}`;
}

function lineage(one, model) {
  const { data, code } = one;
  const rows = data.rows === null || data.rows === undefined ? "" : `${data.sampled ? `a sample of ${figure(data.sampled)} of ` : ""}${figure(data.rows)} rows${data.chosen ? ` (${plain(data.chosen)})` : ""}, `;
  const metrics = Object.entries(one.metrics).map(([name, value]) => `${plain(name)} ${figure(value)}`).join(", ");
  return [
    make("p", { class: "dim" }, "made ", moment(one.created_at), `, because of ${plain(one.trigger)}`),
    make("p", null, one.gate.sentence ? `Gate: ${one.gate.sentence}` : one.reason),
    fold(`lineage-${model.model}-${one.version}`, "Lineage", () => list([
      ["Parent", one.parent ? [`version ${one.parent}, `, make("a", { href: compared(model, one.parent, one.version) }, "compare")] : "none"],
      ["Reason", one.reason],
      ["Data", [rows, "snapshot ", make("code", { title: data.snapshot }, data.snapshot.slice(0, 12)), data.last_at ? [", up to ", moment(data.last_at)] : ""]],
      ["Code", [make("code", null, code.trainer), ", source ", make("code", { title: code.fingerprint }, code.fingerprint.slice(0, 12)), code.commit ? [", commit ", make("code", null, code.commit.slice(0, 10)), code.dirty ? " with uncommitted changes" : ""] : ""]],
      ["Parameters", Object.keys(one.parameters).length ? make("code", null, JSON.stringify(one.parameters)) : "the trainer's own"],
      ["Seed", String(one.seed)],
      ["On held-out rows", metrics || "–"],
      ["Let serve by", one.approved_by ? (one.approved_by === "driftd" ? "driftd itself, by its gate" : one.approved_by) : "nobody: it never was promoted"],
    ])),
  ];
}

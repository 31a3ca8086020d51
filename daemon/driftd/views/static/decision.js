// One decision: the sentence, the figures, the rows counted, the config in force, what led to it and what followed.
import { fold, make, table } from "./dom.js";
import { evidence, figure, kind, moment, plain } from "./words.js";

export const title = ({ parts: [what, number] }) => `${what === "alarm" ? "Alarm" : "Decision"} ${number}`;

export function render([told]) {
  const { decision, alarm } = told;
  const model = decision?.model ?? alarm.model;
  return [
    make("p", { class: "crumbs" }, make("a", { href: "#/" }, "Fleet"), " / ", make("a", { href: `#/model/${encodeURIComponent(model)}` }, model)),
    make("h1", { class: `headline ${told.severity}` }, told.title),
    said(told),
    decision?.meaning ? make("p", { class: "dim" }, decision.meaning) : null,
    forwarded(decision, alarm),
    facts(told),
    alarm ? seen(told) : null,
    told.actions.length ? done(told.actions) : null,
    told.version ? version(told.version) : null,
    told.stages?.length ? stages(told.stages) : null,
    told.story.length ? story(told.story, decision) : null,
    told.config ? config(told.config, model) : null,
  ];
}

/** What changed, how sure that is, what happens next, as far as that still holds; the figures on demand. */
function said({ decision, alarm, now, story: lines }) {
  const isPast = lines.some((line) => line.id > decision?.id);
  const parts = decision?.parts ?? { what: alarm.sentence };
  return [
    make("p", { class: "sentence big" }, parts.what),
    parts.sure ? make("p", null, parts.sure) : null,
    now ? make("p", null, now) : parts.next ? make("p", null, isPast ? `Said then: ${parts.next}` : parts.next) : null,
    parts.figures ? fold(`figures-${decision.id}`, alarm ? "Evidence and threshold" : "The figures", () => make("p", { class: "dim" }, parts.figures)) : null,
  ];
}

/** The same on one screen, as a file without scripts. */
function forwarded(decision, alarm) {
  const address = alarm && (!decision || decision.event.startsWith("alarm")) ? `alarms/${alarm.id}/report` : `decisions/${decision.id}/report`;
  return make("p", null, make("a", { href: address, target: "_blank", rel: "noopener" }, "Report to forward"), " (one page, a new tab)");
}

function facts({ decision, alarm, rows, window_by: by }) {
  const pairs = [];
  if (decision) {
    // A replay, or a daemon that was away, looks at a window long after it ended.
    if (alarm && by !== "rows") pairs.push(["Happened until", moment(alarm.window_end)]);
    pairs.push([alarm && by !== "rows" ? "Seen by driftd" : "When", moment(decision.at)], ["Model", decision.model], ["Decided by", decision.by]);
    pairs.push(["Phase", decision.phase_from === decision.phase_to ? plain(decision.phase_to) : `${plain(decision.phase_from)} → ${plain(decision.phase_to)}`]);
    for (const [name, value] of Object.entries(decision.figures)) {
      if (value === null || (alarm && ["alarm", "kind", "evidence", "threshold"].includes(name))) continue;
      pairs.push([plain(name), name.endsWith("_at") && typeof value === "number" ? moment(value) : typeof value === "object" ? JSON.stringify(value) : figure(value)]);
    }
  }
  if (rows !== undefined && rows !== null) pairs.push(["Rows counted", figure(rows)]);
  return make("section", { "aria-label": "Figures" }, list(pairs));
}

/** Names and values, side by side; a whole sentence takes a row of its own. */
export function list(pairs) {
  return make("dl", { class: "facts" }, pairs.map(([name, value]) =>
    make("div", { class: String(value).length > 90 ? "wide" : null }, make("dt", null, name), make("dd", null, value))));
}

function seen({ alarm, report, window_by: by }) {
  const where = by === "rows"
    ? `rows ${figure(alarm.window_start)} to ${figure(alarm.window_end)} in order of arrival`
    : [moment(alarm.window_start), " to ", moment(alarm.window_end)];
  return make("section", null, make("h2", null, "What was seen"),
    list([
      ["Alarm", `${alarm.id}, of ${kind(alarm.kind)}, against version ${alarm.version ?? "–"}`],
      ["Window", where],
      ["Evidence", `${evidence(alarm.evidence)}, over the limit of ${evidence(alarm.threshold)}`],
      alarm.change_start && by !== "rows" ? ["Most likely since", moment(alarm.change_start)] : null,
      alarm.absorbed_at ? ["Accepted as the new normal", moment(alarm.absorbed_at)] : null,
    ].filter(Boolean)),
    alarm.leaders.length ? table(alarm.kind === "performance" ? "Where the rise comes from" : "Where the evidence comes from", ["Subject", "Share"], alarm.leaders.slice(0, 10).map(([subject, part]) => [subject, `${Math.round(part * 100)} %`])) : null,
    (alarm.second_opinion ?? []).map((one) => make("p", null, "Second opinion: ", one.sentence ?? JSON.stringify(one))),
    report ? shownReport(alarm) : make("p", { class: "dim" }, "Evidently's report of this alarm is not rendered yet."));
}

function shownReport(alarm) {
  const address = `reports/${encodeURIComponent(alarm.model)}/${alarm.id}`;
  return [
    make("p", null, make("a", { href: address, target: "_blank", rel: "noopener" }, "Evidently's report of this alarm"), " (a new tab)"),
    fold(`report-${alarm.id}`, "Show it here", () => make("iframe", { src: address, title: `Evidently's report of alarm ${alarm.id}`, sandbox: "allow-scripts", loading: "lazy" })),
  ];
}

function done(actions) {
  return make("section", null, make("h2", null, "What was done"),
    make("ol", { class: "plainlist" }, actions.map((one) => make("li", null, make("strong", null, plain(one.kind)), `: ${one.status}`,
      one.result?.sentence || one.result?.error ? make("span", { class: "reason" }, ` ${one.result.sentence ?? one.result.error}`) : null))));
}

function version(manifest) {
  const gate = manifest.gate ?? {};
  return make("section", null, make("h2", null, `Version ${manifest.version}`), list([
    ["Data", `snapshot ${manifest.snapshot.slice(0, 12)}, ${figure(manifest.data?.rows ?? null)} rows`],
    ["Code", `${manifest.trainer.reference}, source ${manifest.trainer.fingerprint.slice(0, 12)}${manifest.trainer.commit ? `, commit ${manifest.trainer.commit.slice(0, 10)}` : ""}`],
    ["Parameters", Object.keys(manifest.parameters ?? {}).length ? JSON.stringify(manifest.parameters) : "the trainer's own"],
    ["Seed", String(manifest.seed)],
    gate.decision ? ["Gate", `${gate.decision}: ${gate.sentence}`] : null,
  ].filter(Boolean)));
}

function stages(lines) {
  return make("section", null, make("h2", null, "The stages of its build"),
    make("ol", { class: "plainlist" }, lines.map((one) => make("li", null,
      make("strong", null, plain(one.stage)), `: ${one.result}${one.attempt > 1 ? ` at attempt ${one.attempt}` : ""} `,
      one.ended_at ?? one.started_at ? moment(one.ended_at ?? one.started_at, { short: true }) : null,
      one.sentence ? make("span", { class: "reason" }, ` ${one.sentence}`) : null,
      one.details.output ? fold(`output-${one.stage}-${one.attempt}`, "The end of what it printed", () => make("pre", { tabindex: "0" }, one.details.output)) : null))));
}

function story(lines, decision) {
  return make("section", null, make("h2", null, "How it came about, and what followed"),
    make("ol", { class: "decisions" }, lines.map((one) => make("li", { "aria-current": decision && one.id === decision.id ? "true" : null },
      make("span", { class: "at" }, moment(one.at, { short: true })),
      make("a", { href: `#/decision/${one.id}`, class: `event ${one.event}` }, plain(one.event)),
      make("span", { class: "reason" }, one.sentence)))));
}

function config({ hash, at, model }, name) {
  return make("section", null, make("h2", null, "The config in force"),
    make("p", null, make("code", null, hash), ", applied ", moment(at)),
    fold(`config-${hash}`, `Its section of ${name}`, () => make("pre", { tabindex: "0" }, model)));
}

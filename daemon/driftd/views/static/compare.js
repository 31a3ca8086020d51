// Two versions side by side: metrics, segments, and what of data, code and parameters differs.
import { fold, make, table } from "./dom.js";
import { capital, figure, moment, plain } from "./words.js";

// Two figures from different rows are no comparison: what was measured on the same rows is told apart.
const DIFFERENT_ROWS = "The figures of the two are of different rows, those of the time at which each was made: a higher one may mean that the world became harder.";
const PARTS = { data: "Data", code: "Code", parameters: "Parameters", schema: "Schema", quality: "Quality" };

export const title = ({ parts: [name], query }) => `${name}: ${query.get("a")} and ${query.get("b")}`;

export function render([told], { query }) {
  const model = told.model, link = `#/model/${encodeURIComponent(model)}`;
  const head = [
    make("p", { class: "crumbs" }, make("a", { href: "#/" }, "Fleet"), " / ", make("a", { href: link }, model)),
    make("h1", null, "Two versions side by side"),
    chooser(told, query),
  ];
  if (told.missing) return [...head, make("p", { class: "empty" }, `These two cannot be compared: ${told.missing}.`)];
  const parts = {};
  for (const one of told.diff.differences) (parts[one.part] ??= []).push(one);
  return [
    ...head,
    make("p", { class: "sentence" }, summary(told)),
    told.b.gate?.sentence ? make("p", null, `Judged on the same rows, when version ${told.b.version} was made${told.b.parent === told.a.version ? "" : ` (beside version ${told.b.parent ?? "–"})`}: ${told.b.gate.sentence}.`) : null,
    section("Metrics", table("Metrics of both versions", ["Metric", name(told.a), name(told.b)],
      told.metrics.map((one) => [plain(one.name), figure(one.a), figure(one.b)])),
    make("p", { class: "dim" }, DIFFERENT_ROWS)),
    segments(told),
    judged(told),
    ...Object.keys({ ...PARTS, ...parts }).filter((part) => parts[part] || PARTS[part]).map((part) => section(PARTS[part] ?? capital(part),
      parts[part]
        ? table(`${PARTS[part] ?? capital(part)} that differ`, ["What", name(told.a), name(told.b)], parts[part].map((one) => [plain(one.name), value(one.name, one.a), value(one.name, one.b)]))
        : make("p", { class: "dim" }, "Alike."))),
    sources(told.diff),
  ];
}

const name = (line) => `Version ${line.version}${line.serves ? " (serves)" : line.barred ? " (barred)" : ""}`;

function summary({ a, b, diff }) {
  const parts = [...new Set(diff.differences.map((one) => one.part))];
  const unlike = parts.length ? `differ in ${parts.map((one) => plain(one)).join(", ")}` : "are alike";
  return `Versions ${a.version} and ${b.version} ${unlike}.`;
}

function chooser(told, query) {
  const go = () => {
    const to = `#/model/${encodeURIComponent(told.model)}/compare?a=${a.value}&b=${b.value}`;
    if (location.hash !== to) location.hash = to;
  };
  const box = (which) => make("select", { "data-key": `compare-${which}`, id: `compare-${which}`, change: () => go() },
    [...new Set([Number(query.get(which)), ...told.versions])].sort((x, y) => y - x).map((one) => make("option", { value: one, selected: String(one) === query.get(which) }, `version ${one}`)));
  const a = box("a"), b = box("b");
  return make("p", { class: "buttons" }, make("label", { for: "compare-a" }, "Compare"), a, make("label", { for: "compare-b" }, "with"), b);
}

function section(heading, ...content) {
  return make("section", null, make("h2", null, heading), ...content);
}

function segments(told) {
  if (!told.segments.length) return section("Segments", make("p", { class: "dim" }, told.note ? `${capital(told.note)}.` : "None."));
  const cell = (level) => (level ? `${figure(level.value)} (${figure(level.rows)} rows)` : "–");
  return section("Segments", table(`${told.metric} by segment`, ["Segment", name(told.a), name(told.b)],
    told.segments.map((one) => [one.segment || "all rows", cell(one.a), cell(one.b)])),
  make("p", { class: "dim" }, `${told.metric}, each on the labelled rows of its own reference; a segment that one of them does not have, or has too few rows of, has no other side. ${DIFFERENT_ROWS}`));
}

/** What the gate, or a job, measured of both on the same rows; nothing where neither did. */
function judged({ diff }) {
  const found = diff.measured?.segments?.length ? diff.measured : diff.judged?.length ? { metric: diff.judged_metric, segments: diff.judged } : null;
  if (!found) return null;
  const span = (low, high) => (low === null || low === undefined ? "" : ` (${figure(low)} to ${figure(high)})`);
  return section("On the same rows", table(`Loss (${found.metric ?? "the gate's"}) by segment on the same rows`, ["Segment", "Rows", `Version ${diff.a}`, `Version ${diff.b}`, "Gain"],
    found.segments.map((one) => [one.segment || "all rows", figure(one.rows), figure(one.other_loss), `${figure(one.loss)}${span(one.lower, one.upper)}`, `${figure(one.gain)}${span(one.gain_lower, one.gain_upper)}`])));
}

function sources({ code, code_note: note }) {
  if (!code?.length && !note) return null;
  return section("Source", note ? make("p", { class: "dim" }, `${capital(note)}.`) : null,
    (code ?? []).map((one) => fold(`source-${one.file}`, one.file, () => make("pre", { tabindex: "0" }, one.diff))));
}

/** A moment where the name says that it is one; else the text, as it stands in the manifests. */
function value(name, text) {
  if (text === null) return "–";
  if (name === "snapshot" || name === "fingerprint") return make("code", { title: text }, text.slice(0, 12));
  return /_(at|from|until)$/.test(name) && Number(text) > 1e8 ? moment(Number(text)) : text;
}

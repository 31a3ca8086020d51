// Charts over time, by uPlot: lines with a band, what happened as vertical marks, keys for who has no mouse.
import uPlot from "./uplot/uPlot.esm.js";
import { fold, make, table } from "./dom.js";
import { figure, kind, moment, plain, said } from "./words.js";
import { colour } from "./theme.js";

const HEIGHT = 230;
const TABLE_ROWS = 60;
const LISTED = 40; // marks below a chart, and those that may bear numbers
const AFTER = 0.1; // share of the axis by which marks may lie behind the last point
const MARKS = { alarm: "drift", quality_fault: "drift", build_started: "busy", build_failed: "drift", challenger_rejected: "watch", promoted: "ok", rolled_back: "drift", pinned: "watch", adopted: "ok", confirmed: "ok" };
const living = new Set(); // charts on the page: those that were taken off are destroyed at the next drawing

/**
 * A chart as a figure with its words and its table.
 * `x`: epoch seconds; `series`: [{name, values, colour, dash, width, band: [low, high]}]; `marks`: [{at, event, id}].
 */
export function chart({ name, label, words, x, series, marks = [], format = figure, range = null }) {
  const box = make("div", { class: "plot", tabindex: "0", role: "img", "aria-label": `${label}. ${words} Left and right move along it; the table below tells every point.`, "data-key": name });
  sweep();
  const drawn = within(marks, x);
  const bands = series.flatMap((one) => (one.band ? one.band : []));
  const data = [x, ...series.map((one) => one.values), ...bands];
  const options = {
    width: 600, height: HEIGHT, padding: [14, 8, 0, 0],
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { live: true, markers: { width: 2 } },
    scales: { x: { time: true, range: (_, least, most) => [least, Math.max(most, ...drawn.map((one) => one.at))] }, y: { range: range ?? undefined } },
    axes: [axis({ size: 48, values: (_, ticks) => ticks.map((at, place) => tickWords(at, ticks[place - 1], ticks)) }), axis({ size: 56, values: (_, ticks) => ticks.map(format) })],
    series: [{ value: (_, at) => (at === null ? "–" : said(at)) }, ...series.map((one) => line(one, format)), ...bands.map(() => ({ show: true, label: "", class: "unsaid", width: 0, points: { show: false } }))],
    bands: bandsOf(series),
    hooks: { draw: [(plot) => drawMarks(plot, drawn)], ready: [(plot) => plot.setLegend({ idx: latest(x, series) })] },
  };
  const start = () => {
    if (!box.isConnected || box.clientWidth === 0) return;
    const plot = new uPlot({ ...options, width: box.clientWidth }, data, box);
    living.add({ box, plot });
    new ResizeObserver(() => { if (box.isConnected && box.clientWidth) plot.setSize({ width: box.clientWidth, height: HEIGHT }); }).observe(box);
    box.addEventListener("keydown", (event) => step(event, plot, x));
  };
  requestAnimationFrame(start);
  return make("figure", { class: "chart" },
    make("figcaption", null, make("strong", null, label), " ", make("span", { class: "dim" }, words)),
    box, markList(marks, drawn),
    fold(`table-${name}`, "As a table", () => asTable(label, x, series, format)));
}

/** The marks that belong into the chart: an axis of old windows is not stretched to what a replay decides today. */
function within(marks, x) {
  const end = x.at(-1) + (x.at(-1) - x[0]) * AFTER;
  return marks.filter((one) => one.at <= end);
}

/** The place of the last point that the first series has: later ones may still wait for their labels. */
function latest(x, series) {
  const last = series[0].values.findLastIndex((one) => one !== null && one !== undefined);
  return last < 0 ? x.length - 1 : last;
}

function sweep() {
  for (const one of living) if (!one.box.isConnected) { one.plot.destroy(); living.delete(one); }
}

function axis(more) {
  return { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif", ...more };
}

/** Hours within a day, the day where it begins, the month over longer spans. */
function tickWords(at, before, ticks) {
  const date = new Date(at * 1000);
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  if (ticks.length > 1 && ticks[1] - ticks[0] >= 86400) return day.format(date);
  const isNew = before === undefined || new Date(before * 1000).getDate() !== date.getDate();
  const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(date);
  return isNew ? `${hour}\n${day.format(date)}` : hour;
}

function line(one, format) {
  return { label: one.name, stroke: colour(one.colour), width: one.width ?? 1.5, dash: one.dash, spanGaps: true, paths: one.steps ? uPlot.paths.stepped({ align: 1 }) : undefined, points: { show: one.points ?? false, size: 4 }, value: (_, value) => (value === null || value === undefined ? "–" : format(value)) };
}

function bandsOf(series) {
  let place = series.length + 1;
  const bands = [];
  for (const one of series) {
    if (!one.band) continue;
    bands.push({ series: [place + 1, place], fill: colour(`${one.colour}-band`) });
    place += 2;
  }
  return bands;
}

function step(event, plot, x) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || !x.length) return;
  event.preventDefault();
  const place = Math.min(x.length - 1, Math.max(0, (plot.cursor.idx ?? x.length) + by));
  plot.setCursor({ left: plot.valToPos(x[place], "x"), top: 10 });
}

function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = 1 * devicePixelRatio;
  let said = -Infinity; // where the last number stands: marks that are close share one
  for (const [place, one] of marks.entries()) {
    const left = plot.valToPos(one.at, "x", true);
    if (left < bbox.left - 1 || left > bbox.left + bbox.width + 1) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(MARKS[one.event] ?? "dim");
    ctx.setLineDash(one.event === "build_started" ? [3 * devicePixelRatio, 3 * devicePixelRatio] : []);
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    if (marks.length <= LISTED && left - said > 16 * devicePixelRatio) {
      said = left;
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = "center";
      ctx.fillText(String(place + 1), Math.max(left, bbox.left + 8), bbox.top - 4 * devicePixelRatio);
    }
  }
  ctx.restore();
}

function markList(marks, drawn) {
  if (!marks.length) return null;
  const shown = marks.slice(-LISTED), numbered = drawn.length <= LISTED;
  const some = shown.length < marks.length ? make("li", { class: "dim" }, `The latest ${LISTED} of ${marks.length} decisions:`) : null;
  return make("ol", { class: "marks", "aria-label": "Marked in the chart" }, some, shown.map((one) => make("li", { class: MARKS[one.event] ?? "" },
    make("span", { class: "number" }, numbered && drawn.includes(one) ? drawn.indexOf(one) + 1 : ""),
    make("a", { href: `#/decision/${one.id}` }, `${plain(one.event)}${one.kind ? ` (${kind(one.kind)})` : ""}${one.event === "promoted" && one.version ? ` ${one.version}` : ""}`),
    " ", make("span", { class: "dim" }, moment(one.at, { short: true })))));
}

function asTable(label, x, series, format) {
  const from = Math.max(0, x.length - TABLE_ROWS);
  const rows = [];
  for (let place = x.length - 1; place >= from; place -= 1) {
    rows.push([moment(x[place]), ...series.map((one) => one.values[place] === null ? "–" : format(one.values[place]) + (one.band && one.band[0][place] !== null ? ` (${format(one.band[0][place])} to ${format(one.band[1][place])})` : ""))]);
  }
  return [table(label, ["When", ...series.map((one) => one.name)], rows), from ? make("p", { class: "dim" }, `The latest ${TABLE_ROWS} of ${x.length} points; a shorter span shows all.`) : null].reduce((box, one) => { if (one) box.append(one); return box; }, make("div"));
}

/** Put several series on one axis of time: [xs, values...] with null where one has no point. */
export function aligned(parts) {
  const x = [...new Set(parts.flatMap((one) => one.at))].sort((a, b) => a - b);
  const place = new Map(x.map((at, index) => [at, index]));
  const spread = (at, values) => {
    const out = new Array(x.length).fill(null);
    at.forEach((one, index) => { out[place.get(one)] = values[index]; });
    return out;
  };
  return { x, columns: parts.map((one) => one.values.map((values) => spread(one.at, values))) };
}

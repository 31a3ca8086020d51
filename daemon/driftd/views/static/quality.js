// How good the predictions of some windows were: metrics by window, segments, and the curves that the task has.
import { draw, fold, make, table } from "./dom.js";
import { chart } from "./charts.js";
import { figure } from "./words.js";

const COLOURS = ["series-1", "series-2", "series-3", "series-4", "series-5"];
const WORSE = 0.1; // share of the usual value from which a segment is marked

/** Everything that the `quality` job found; `model` is whose it is. */
export function quality(value) {
  if (!value.rows) return make("p", { class: "empty" }, "There are no predictions in these windows, or they are no longer kept.");
  if (!value.labels) return make("p", { class: "empty" }, `${figure(value.rows)} predictions and no label yet: quality is known once labels come.`);
  return [
    make("p", { class: "dim" }, sentence(value)),
    segments(value),
    metrics(value),
    curves(value.charts, value.positive),
    value.charts.confusion ? confusion(value.charts.confusion) : null,
    value.charts.residuals ? residuals(value.charts.residuals) : null,
  ];
}

function sentence(value) {
  const some = value.windows < value.asked ? ` an even choice of ${figure(value.windows)} of ${figure(value.asked)} windows,` : "";
  const weighted = value.weighted ? " Each label counts for those like it that are still to come." : "";
  return `Of${some} ${figure(value.rows)} predictions, ${figure(value.labels)} with their label.${weighted}`;
}

function segments(value) {
  const higher = isHigherBetter(value);
  const rows = value.segments.map((one) => {
    const worse = one.value === null || one.usual === null ? null : (higher ? one.usual - one.value : one.value - one.usual) / Math.max(Math.abs(one.usual), 1e-12);
    const broke = worse !== null && worse > WORSE && one.labels >= 20;
    return [one.segment || "all rows", figure(one.rows), figure(one.labels), make("span", { class: broke ? "broke" : null }, figure(one.value)), figure(one.usual),
      worse === null ? "–" : make("span", { class: broke ? "broke" : null }, `${Math.abs(worse) < 0.005 ? "as usual" : `${Math.round(Math.abs(worse) * 100)} % ${worse > 0 ? "worse" : "better"}`}`)];
  });
  const first = value.segments.find((one) => one.segment);
  const none = first ? null : make("p", { class: "dim" }, "No segments are watched: name columns in detect.segments.");
  return make("div", null, make("h3", null, `${value.metric} by segment`), table(`${value.metric} by segment, the worst first`, ["Segment", "Rows", "Labels", value.metric, "On the reference", "Change"], rows), none);
}

function isHigherBetter(value) {
  return ["accuracy", "roc_auc", "f1", "precision", "recall", "balanced_accuracy", "r2"].includes(value.metric);
}

function metrics(value) {
  const names = Object.keys(value.metrics);
  return make("div", null, make("h3", null, "Metrics"),
    value.positive ? make("p", { class: "dim" }, `Precision, recall, F1 and the curves below are of the class ${value.positive}; a score is its probability.`) : null,
    table("Metrics of all these rows", ["Metric", "All these rows"], names.map((name) => [name, figure(value.metrics[name].all)])),
    value.at.length > 1 ? make("div", { class: "multiples" }, names.map((name, place) => chart({
      name: `quality-${name}`, label: name, words: "by window", x: value.at,
      series: [{ name, values: value.metrics[name].by_window, colour: COLOURS[place % COLOURS.length], points: value.at.length < 60 }],
    }))) : null);
}

function curves({ roc, precision_recall: pr, calibration }, positive) {
  const found = [
    roc ? curve("ROC", "false positive rate", "true positive rate", roc.x, roc.y, true) : null,
    pr ? curve("Precision and recall", "recall", "precision", pr.x, pr.y, false) : null,
    calibration ? curve("Calibration", "mean score", `share of ${positive}`, calibration.map((one) => one.score), calibration.map((one) => one.share), true, true) : null,
  ].filter(Boolean);
  return found.length ? make("div", { class: "multiples" }, found) : null;
}

const SIDE = 220, PAD = 30;

/** A curve in the unit square, with the diagonal where that means chance or a perfect promise. */
function curve(label, across, up, x, y, diagonal, dots = false) {
  const at = (value) => PAD + value * (SIDE - PAD - 6), top = (value) => SIDE - PAD - value * (SIDE - PAD - 6);
  const path = x.map((value, place) => `${place ? "L" : "M"}${at(value).toFixed(1)} ${top(y[place]).toFixed(1)}`).join("");
  const ticks = [0, 0.5, 1];
  return make("figure", { class: "chart square" }, make("figcaption", null, make("strong", null, label)),
    draw("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": `${label}: ${up} over ${across}; the table below tells every point` },
      draw("path", { class: "frame", d: `M${at(0)} ${top(1)}V${top(0)}H${at(1)}` }),
      diagonal ? draw("path", { class: "diagonal", d: `M${at(0)} ${top(0)}L${at(1)} ${top(1)}` }) : null,
      draw("path", { class: "line", d: path }),
      dots ? x.map((value, place) => draw("circle", { class: "dot", cx: at(value), cy: top(y[place]), r: 3 })) : null,
      ticks.map((tick) => [draw("text", { x: at(tick), y: SIDE - PAD + 13, "text-anchor": "middle" }, String(tick)), draw("text", { x: PAD - 5, y: top(tick) + 4, "text-anchor": "end" }, String(tick))]),
      draw("text", { x: (SIDE + PAD) / 2, y: SIDE - 3, "text-anchor": "middle" }, across)),
    make("p", { class: "dim" }, `${up.charAt(0).toUpperCase()}${up.slice(1)} over ${across}.`),
    fold(`table-${label}`, "As a table", () => table(label, [across, up], x.map((value, place) => [figure(value), figure(y[place])]))));
}

function confusion({ classes, counts }) {
  const kept = classes.map((_, place) => place).filter((place) => place < classes.length - 1 || counts.some((row) => row[place]) || counts[place].some(Boolean));
  const rows = kept.map((place) => {
    const total = counts[place].reduce((sum, one) => sum + one, 0);
    return [classes[place], ...kept.map((other) => {
      const share = total ? counts[place][other] / total : 0;
      return make("span", { class: place === other ? "hit" : share > 0.1 ? "broke" : null }, `${figure(Math.round(counts[place][other]))} (${Math.round(share * 100)} %)`);
    })];
  });
  return make("div", null, make("h3", null, "Confusion"), table("Labels (rows) by what was predicted (columns)", ["True class", ...kept.map((place) => `predicted ${classes[place]}`)], rows));
}

function residuals({ edges, weights, mean, sd, by_prediction: by }) {
  const most = Math.max(...weights, 1e-12), width = 600 / weights.length;
  const zero = ((0 - edges[0]) / (edges.at(-1) - edges[0])) * 600;
  return make("div", null, make("h3", null, "Residuals"),
    make("figure", { class: "chart" }, make("figcaption", null, make("strong", null, "Label minus prediction"), make("span", { class: "dim" }, ` mean ${figure(mean)}, standard deviation ${figure(sd)}; from ${figure(edges[0])} to ${figure(edges.at(-1))}, the ends hold what lies beyond.`)),
      draw("svg", { class: "histogram", viewBox: "0 0 600 120", preserveAspectRatio: "none", role: "img", "aria-label": `Histogram of residuals: mean ${figure(mean)}, standard deviation ${figure(sd)}` },
        weights.map((one, place) => draw("rect", { class: "current", x: place * width, y: 118 - (one / most) * 112, width: Math.max(width - 1, 1), height: (one / most) * 112 })),
        zero > 0 && zero < 600 ? draw("path", { class: "diagonal", d: `M${zero} 0V120` }) : null)),
    fold("residuals-by-prediction", "By tenths of the prediction", () => table("Mean residual by tenths of the prediction", ["Mean prediction", "Mean residual"], by.map(([at, off]) => [figure(at), figure(off)]))));
}

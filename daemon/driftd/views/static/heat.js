// Features x time: how far each feature was from what is usual, or how much evidence it has gathered. A click, or Enter on a name, opens its distributions.
import { fold, make, table } from "./dom.js";
import { evidence, figure, moment, said } from "./words.js";
import { colour } from "./theme.js";

const ROW = 24;
const FIRST = 16; // rows before "all features"
const IN_SD = new Set(["location", "spread", "proportion", "missing", "outside"]); // shares as 2 asin sqrt(share): of unit variance too
let all = false;

/** The map of `scores` (as the API tells them); `chosen` is the feature that is open, `choose(name)` opens one. */
export function heat(scores, chosen, choose) {
  const subjects = all ? scores.subjects : scores.subjects.slice(0, FIRST);
  if (!subjects.length) return make("p", { class: "empty" }, "No scores yet. They come with the first window that has enough rows (at least 30).");
  const canvas = make("canvas", { class: "cells", role: "img", "aria-label": "Heat map of scores; the table below tells the latest" });
  const tip = make("p", { class: "tip", role: "status" }, "Point at a cell, or move along a row with the arrow keys; a click, or w, chooses its windows.");
  const box = make("div", { class: "heat" },
    make("div", { class: "names" }, subjects.map((one, row) => make("button", {
      type: "button", class: "name", "data-key": `heat-${one.kind}-${one.subject}`, "aria-pressed": String(one.subject === chosen), title: one.subject,
      click: () => choose(one.subject),
      keydown: (event) => walk(event, row),
    }, one.subject))),
    make("div", { class: "grid" }, canvas, make("p", { class: "ends dim" }, moment(first(scores.at), { short: true }), make("span", null, moment(scores.at.findLast((at) => at !== null), { short: true })))));
  let at = scores.at.length - 1;
  const tell = (row, column) => {
    const one = subjects[row];
    if (!one || column < 0 || column >= scores.at.length) return;
    const parts = Object.entries(one.components).filter(([, values]) => values[column] !== null).map(([name, values]) => `${name.replaceAll("_", " ")} ${figure(Number(values[column].toPrecision(2)))} ${IN_SD.has(name) ? "sd" : "sds of chance"}`);
    const gathered = one.evidence[column] > 1 ? `; evidence ${evidence(one.evidence[column])}` : "";
    tip.textContent = `${one.subject}, ${scores.at[column] === null ? "no window" : said(scores.at[column])}: ${parts.join(", ") || "nothing to say"}${gathered}`;
    paint(canvas, subjects, scores.at.length, { row, column });
  };
  const walk = (event, row) => {
    if (event.key === "w") { choose(subjects[row].subject, windowsAt(at)); return; }
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    at = Math.min(scores.at.length - 1, Math.max(0, at + by));
    tell(row, at);
  };
  const cell = (event) => {
    const area = canvas.getBoundingClientRect();
    return [Math.floor((event.clientY - area.top) / ROW), Math.floor(((event.clientX - area.left) / area.width) * scores.at.length)];
  };
  canvas.addEventListener("pointermove", (event) => tell(...cell(event)));
  canvas.addEventListener("pointerdown", (event) => tell(...cell(event)));
  const windowsAt = (column) => {
    const begin = scores.first + column * scores.merged;
    return `${begin}..${Math.min(begin + scores.merged - 1, scores.last)}`;
  };
  canvas.addEventListener("click", (event) => {
    const [row, column] = cell(event);
    if (subjects[row] && column >= 0 && column < scores.at.length) choose(subjects[row].subject, windowsAt(column));
  });
  canvas.addEventListener("pointerleave", () => paint(canvas, subjects, scores.at.length, null));
  const again = () => { if (canvas.isConnected) paint(canvas, subjects, scores.at.length, null); };
  requestAnimationFrame(() => { again(); new ResizeObserver(again).observe(canvas); });
  return make("div", null, box, tip, scale(scores),
    scores.subjects.length > FIRST ? make("p", null, make("button", { type: "button", class: "quiet", "data-key": "heat-all", click: () => { all = !all; document.dispatchEvent(new CustomEvent("driftd-redraw")); } }, all ? `Only the ${FIRST} that moved most` : `All ${scores.subjects.length} features`)) : null,
    fold("table-heat", "As a table", () => latest(scores)));
}

function first(times) {
  return times.find((at) => at !== null);
}

function paint(canvas, subjects, columns, mark) {
  const width = canvas.clientWidth, height = subjects.length * ROW;
  if (!width) return;
  const dense = devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  canvas.setAttribute("height", canvas.height);
  canvas.style.height = `${height}px`;
  const ink = canvas.getContext("2d");
  ink.scale(dense, dense);
  const step = width / columns;
  const steps = [0, 1, 2, 3, 4, 5].map((one) => colour(`heat-${one}`));
  const none = colour("line");
  subjects.forEach((one, row) => one.heat.forEach((value, column) => {
    if (value === null) { ink.fillStyle = none; ink.fillRect(column * step, row * ROW + ROW / 2, step, 1); return; }
    ink.fillStyle = steps[Math.min(5, Math.floor(value * 6))];
    ink.fillRect(column * step, row * ROW + 1, Math.max(1, step + 0.4), ROW - 2);
  }));
  if (mark) {
    ink.strokeStyle = colour("text");
    ink.lineWidth = 1.5;
    ink.strokeRect(mark.column * step, mark.row * ROW + 1, Math.max(3, step), ROW - 2);
  }
}

function scale(scores) {
  return make("p", { class: "scale dim" }, "as usual ", [0, 1, 2, 3, 4, 5].map((one) => make("span", { class: `step heat-${one}` })), ` half an sd, or 6 sds of chance, beyond it, or evidence enough for an alarm${scores.merged > 1 ? `; a column is the mean of ${scores.stride > 1 ? `${Math.ceil(scores.merged / scores.stride)} of its ${scores.merged}` : scores.merged} windows` : ""}`);
}

function latest(scores) {
  const rows = scores.subjects.map((one) => [one.subject, ...["location", "spread", "rest", "chi_square", "missing", "outside"].map((name) => {
    const value = one.components[name]?.findLast((at) => at !== null);
    return value === undefined ? "–" : figure(Number(value.toPrecision(3)));
  })]);
  return table("The latest score of every feature", ["Feature", "Location (sd)", "Spread (sd)", "Rest (sds of chance)", "Chi-square (sds of chance)", "Missing (sd)", "Never held (sd)"], rows);
}

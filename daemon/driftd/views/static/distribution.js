// One feature: the reference and the latest windows on the same bins, bar over bar, as a table that everybody can read.
import { draw, make } from "./dom.js";
import { figure, moment } from "./words.js";

/** The distributions of a feature; `close` goes back to the map alone. */
export function distribution(found, feature, close) {
  const head = make("div", { class: "row" }, make("h3", null, feature), make("button", { type: "button", class: "quiet", "data-key": "close-feature", click: close }, "Close"));
  if (!found) return make("div", { class: "inset" }, head, make("p", null, "This is no column of the reference; it is a score over several of them."));
  if (!found.bins) return make("div", { class: "inset" }, head, make("p", null, found.missing));
  const most = Math.max(...found.bins.map((one) => Math.max(one.reference, one.current)), 0.01);
  const nothing = Boolean(found.missing);
  return make("div", { class: "inset" }, head,
    make("p", { class: "dim" }, nothing ? `${found.missing}; this is the reference of version ${found.version}.`
      : [`${found.chosen ? "The chosen" : "The last"} ${found.windows === 1 ? "window" : `${figure(found.windows)} windows`} (${figure(found.rows)} rows`, found.since ? [found.chosen ? ", from " : ", since ", moment(found.since), found.chosen && found.until > found.since ? [" to that of ", moment(found.until)] : ""] : "", `) over the reference of version ${found.version} (${figure(found.reference_rows)} rows).`]),
    make("p", { class: "legend" }, make("span", { class: "key reference" }), "reference ", make("span", { class: "key current" }), found.chosen ? "chosen windows" : "now"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Distributions of ${feature}` }, make("table", { class: "bins" },
      make("caption", { class: "hidden" }, `Shares of rows by value of ${feature}`),
      make("thead", null, make("tr", null, ["Value", "", "Reference", found.chosen ? "Chosen" : "Now"].map((one) => make("th", { scope: "col" }, one || make("span", { class: "hidden" }, "Bars"))))),
      make("tbody", null, found.bins.map((one) => make("tr", { class: one.usual ? null : "unusual" },
        make("th", { scope: "row", title: one.name }, one.name),
        make("td", { class: "bars" }, bars(one.reference / most, nothing ? 0 : one.current / most)),
        make("td", null, percent(one.reference)), make("td", { class: !nothing && Math.abs(one.current - one.reference) > 0.05 ? "moved" : null }, nothing ? "–" : percent(one.current))))))));
}

function bars(reference, current) {
  return draw("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "reference", x: 0, y: 1, width: reference * 100, height: 14 }),
    draw("rect", { class: "current", x: 0, y: 5, width: current * 100, height: 6 }));
}

function percent(value) {
  return value === 0 ? "0" : value < 0.001 ? "< 0.1 %" : `${(value * 100).toFixed(1)} %`;
}

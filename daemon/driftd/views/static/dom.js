// Everything that came from data becomes a text node or an attribute value here, never markup.

/** Make an element: `make("a", {href: "#/"}, "text", child)`. Functions become listeners, null is left out. */
export function make(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function draw(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** A table: headings, and rows of cells (text or nodes); the first cell of a row is its heading. */
export function table(caption, headings, rows, attributes) {
  const head = make("tr", null, headings.map((one) => make("th", { scope: "col" }, one)));
  const body = rows.map((cells) =>
    make("tr", null, cells.map((cell, place) => place === 0 ? make("th", { scope: "row" }, cell) : make("td", null, cell))));
  const inner = make("table", attributes, make("caption", { class: "hidden" }, caption), make("thead", null, head), make("tbody", null, body));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, inner);
}

/** What is opened on demand; `fill` makes the content the first time, and `name` keeps it open over updates. */
const opened = new Set();
export function fold(name, title, fill, attributes) {
  const box = make("details", attributes, make("summary", null, title));
  let full = false;
  const show = () => {
    if (box.open && !full) { full = true; box.append(fill()); }
    if (box.open) opened.add(name); else opened.delete(name);
  };
  box.addEventListener("toggle", show);
  if (opened.has(name)) { box.open = true; show(); }
  return box;
}

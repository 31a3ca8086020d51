// The page: which view is shown, how it stays up to date, and what is said when the daemon is not well.
import { make } from "./dom.js";
import { moment, now, present, said, span, tick } from "./words.js";
import { ask, pulse } from "./asking.js";
import * as theme from "./theme.js";
import { place } from "./places.js";
import * as login from "./login.js";

const EVERY = 5000; // milliseconds from one look to the next
const QUIET = 180; // seconds without a round of the main loop, after which the page says so
const main = document.getElementById("main");
const notices = document.getElementById("notices");

let shown = null; // {view, where, data}: what stands on the page now
let timer = 0;
let turn = 0; // answers to earlier questions are dropped

/** Look once, show what is new, and look again later. */
async function look({ moved = false } = {}) {
  clearTimeout(timer);
  const mine = ++turn;
  const { view, where } = place();
  if (moved) markView(view);
  try {
    if (view === null) { show(missing(where.path), view, where, null, moved); return; }
    const questions = view.questions(where);
    const [drawn, ...answers] = await Promise.all([view.load(), ...questions.map((one) => ask(one))]);
    if (mine !== turn) return;
    const key = questions.join(" ");
    const isNew = moved || shown?.key !== key || answers.some((one) => one.isNew);
    if (isNew) {
      const gone = answers[0].status === 404;
      show(gone ? missing(where.path) : drawn.render(answers.map((one) => one.data), where), drawn, where, key, moved);
    }
    notice(answers[0].data?.config ?? (view.name === "config" ? answers[0].data : null), answers[0], null, answers[0].data?.host ?? []);
  } catch (error) {
    if (mine !== turn) return;
    if (!(error instanceof TypeError || error.unanswered)) { console.error(error); }
    notice(null, null, error);
  } finally {
    if (mine === turn) timer = setTimeout(look, document.hidden ? EVERY * 6 : EVERY);
  }
}

/** Put a view on the page, and the focus and the scroll back where they were. */
function show(nodes, view, where, key, moved) {
  const focused = focusKey();
  const scroll = window.scrollY;
  const title = view?.title(where);
  document.title = title ? `${title} · driftd` : "driftd";
  main.replaceChildren(...[nodes].flat(3).filter(Boolean));
  if (moved && shown !== null) main.focus({ preventScroll: true });
  shown = { view, where, key };
  if (moved) window.scrollTo(0, 0);
  else {
    window.scrollTo(0, scroll);
    if (focused) refocus(focused);
  }
}

function focusKey() {
  const at = document.activeElement;
  if (!at || !main.contains(at) || at === main) return null;
  if (at.dataset.key) return `[data-key="${CSS.escape(at.dataset.key)}"]`;
  const href = at.getAttribute("href");
  return href ? `a[href="${CSS.escape(href)}"]` : null;
}

function refocus(selector) {
  main.querySelector(selector)?.focus({ preventScroll: true });
}

function markView(view) {
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === view?.name) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
}

function missing(path) {
  return [
    make("h1", null, "There is nothing here"),
    make("p", null, `Nothing is known of ${path}. It may be of a model or a decision that was removed. `, make("a", { href: "#/" }, "To the fleet")),
  ];
}

/** The bands above every view: a daemon that is silent, a refused config, the override. */
function notice(standing, answer, error, host = []) {
  const bands = [];
  if (present.ended) {
    bands.push(band("over", "This is a finished replay.", ["It ended on ", moment(present.ended, { short: true }), ", and all times are told as of then. No daemon runs: it only shows."]));
  }
  if (error) {
    const last = pulse.answered;
    bands.push(band("act", error.unanswered ? error.message : "driftd does not answer.",
      last ? ["What you see is from ", moment(last), "; it may have changed since. ", make("code", null, "systemctl status driftd")] : "Is it running?"));
  }
  const round = pulse.round;
  const quiet = round ? Date.now() / 1000 - round : 0;
  if (!error && quiet > QUIET) {
    bands.push(band("act", `The main loop has not been round for ${span(quiet)}.`, "It may be in a long check, or stuck: see its log."));
  }
  bands.push(...host.map((one) => band("act", one.sentence, [one.detail, " ", make("code", null, one.command)])));
  if (standing?.refused) {
    bands.push(band("act", "The config file was refused; the one before stays in force.", [standing.refused.split("\n")[0], " ", make("a", { href: "#/config" }, "All of it")]));
  }
  const override = standing?.override;
  if (override && !(override.expires && Date.parse(override.expires) / 1000 < now())) {
    const until = override.expires ? [" Until ", moment(Date.parse(override.expires) / 1000), "."] : "";
    bands.push(band("watch", `Override in force: ${override.sentence}.`, [override.reason ?? "", until]));
  }
  const text = bands.map((one) => one.textContent).join("\n");
  if (notices.dataset.text !== text) { notices.dataset.text = text; notices.replaceChildren(...bands); }
  document.body.classList.toggle("stale", Boolean(error));
  const state = document.getElementById("pulse");
  const words = error ? "no answer" : present.ended ? "finished replay" : quiet > QUIET ? "main loop quiet" : "live";
  state.textContent = words;
  state.className = `pulse ${error || quiet > QUIET ? "act" : present.ended ? "" : "ok"}`;
  document.getElementById("session").hidden = Boolean(present.ended);
  state.title = answer ? `Last answer ${said(pulse.answered)}; looked at every ${EVERY / 1000} s` : "";
}

function band(level, sentence, detail) {
  return make("div", { class: `notice ${level}` }, make("strong", null, sentence), " ", detail);
}

window.addEventListener("hashchange", () => look({ moved: place().where.path !== shown?.where.path }));
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
for (const changed of ["driftd-theme", "driftd-session", "driftd-answered", "driftd-redraw"]) {
  document.addEventListener(changed, () => { shown = { ...shown, key: null }; look(); });
}
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
setInterval(tick, 1000);
theme.begin(document.getElementById("theme"));
login.begin(document.getElementById("session"));
look({ moved: true });

// The config in force: its hash and time, the override, the last refusal, and every config that was read.
import { fold, make, table } from "./dom.js";
import { moment, now } from "./words.js";

export const title = () => "Config";

export function render([config]) {
  if (!config.in_force) {
    return [make("h1", { class: "headline wait" }, "No config was applied yet."), make("p", null, config.sentence)];
  }
  const level = config.refused ? "act" : config.file === config.in_force ? "ok" : "watch";
  const head = { act: "The config file was refused.", ok: "The config file is in force.", watch: "The config file has changed and is not taken up yet." }[level];
  return [
    make("h1", { class: `headline ${level}` }, head),
    make("dl", { class: "facts" },
      fact("File", make("code", null, config.path)),
      fact("In force", [make("code", null, config.in_force), " since ", moment(config.since)]),
      fact("On disk", make("code", null, config.file ?? "cannot be read"))),
    config.refused ? make("section", null, make("h2", null, "Why it was refused"), make("p", null, "At ", moment(config.refused_at), ". Correct these lines; the file is read again within seconds."), make("pre", { class: "errors", tabindex: "0" }, config.refused)) : null,
    override(config.override),
    make("section", null, make("h2", null, "What it says"), make("p", { class: "dim" }, "Keys that differ from their defaults; secrets are hidden."), make("pre", { tabindex: "0" }, config.set)),
    fold("whole", "The whole config with every default", () => make("pre", { tabindex: "0" }, config.whole)),
    make("section", null, make("h2", null, "Read so far"),
      table("Configs that were read", ["When", "Hash", "Outcome"], config.read.map((one) => [moment(one.at), make("code", null, one.hash), one.error ? `refused: ${one.error.split("\n")[0]}` : "applied"]))),
  ];
}

function fact(name, value) {
  return make("div", null, make("dt", null, name), make("dd", null, value));
}

function override(found) {
  const heading = make("h2", null, "Override");
  if (!found) return make("section", null, heading, make("p", { class: "dim" }, "None. A person can pause, pin, silence, approve or reject in the section ", make("code", null, "override"), " of the config file."));
  const lapsed = found.expires && Date.parse(found.expires) / 1000 < now();
  return make("section", null, heading, make("p", { class: "sentence" }, lapsed ? "Lapsed: " : "In force: ", found.sentence),
    make("p", null, found.reason ?? "", found.expires ? [lapsed ? " It ended " : " It ends by itself ", moment(Date.parse(found.expires) / 1000), "."] : " It has no end: it stays until it is taken out."));
}

"""The commands that look: status, history, versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from driftd.cli.options import chosen_model, config_option, json_option, opened
from driftd.cli.printing import Cell, console, number, print_json, print_table, say, when
from driftd.cli.standing import config_standing, override_in_force
from driftd.config.durations import seconds
from driftd.config.model import Config
from driftd.places import Places
from driftd.records import ModelState, Phase
from driftd.registry import ManifestError, Registry
from driftd.store.state_reader import StateAbsentError, StateReader

LOOKED_BACK = 50  # checks, for the last one that had something to say
WORST_FIRST = ("drift", "error", "suspected", "ok", "inconclusive")
VERDICT_STYLES = {"drift": "bold red", "error": "bold red", "suspected": "yellow", "inconclusive": "dim", "ok": "green"}


@click.command()
@click.option("--model", "-m", help="Only this model.")
@click.option("--watch", "-w", is_flag=True, help="Go on showing it until Ctrl-C, with performance and decisions.")
@click.option(
    "--every",
    default="2s",
    show_default=True,
    callback=lambda _context, _option, given: _span(given),
    help="How often --watch looks again.",
)
@config_option
@json_option
def status(config_path: Path, model: str | None, watch: bool, every: float, as_json: bool) -> None:
    """Where every model stands; what needs a person comes first.

    `nearest to an alarm` is the kind of evidence that has come closest to its threshold; an alarm is 100 %.
    --watch reads the state itself: it works while the daemon is down, and says so. In a pipe it prints one status
    after the other, with --json one a line.

    \b
    Example:
      driftd status
      driftd status --watch --model demand
      driftd status --json | jq '.models[].phase'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = opened(config_path)
    name = chosen_model(config, model) if model is not None else None
    if watch:
        from driftd.cli.watching import watch_status  # noqa: PLC0415 - only here

        raise SystemExit(watch_status(config_path, name, every, as_json=as_json))
    told = fleet_status(config, places, config_path, name)
    if as_json:
        print_json(told)
    else:
        print_status(told, console())


def _span(given: str) -> float:
    try:
        return seconds(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def fleet_status(config: Config, places: Places, config_path: Path, only: str | None) -> dict[str, Any]:
    """Everything that `driftd status` says, of all models or of one."""
    wanted = [name for name in config.models if only in {None, name}]
    models: list[dict[str, Any]] = []
    standing: dict[str, Any] | None = None
    try:
        with StateReader.read_only(places.state_db) as reader:
            models = [model_status(reader, state) for state in reader.models() if state.model in wanted]
            standing, in_force = config_standing(reader, config_path), reader.config_in_force()
            if in_force is not None:
                config = Config.model_validate(in_force.content).hashed(in_force.hash)
    except StateAbsentError:
        pass  # no daemon has run here yet: that is what is told of every model
    known = {one["model"] for one in models}
    registry = Registry(places)
    unwatched = [{"model": name, "version": registry.current(name)} for name in wanted if name not in known]
    return {"config": standing, "override": override_of(config), "models": models, "not_watched": unwatched}


def model_status(reader: StateReader, state: ModelState) -> dict[str, Any]:
    """Everything that `driftd status` says of one model."""
    newest = {kind: reader.checks(state.model, LOOKED_BACK, kind) for kind in ("window", "labels")}
    evidence: dict[str, Any] = {}
    for checks in newest.values():  # an inconclusive check leaves the evidence as it was
        evidence |= next((check.evidence for check in checks if check.evidence), {})
    last = newest["window"][0] if newest["window"] else None
    return {
        "model": state.model,
        "phase": state.phase,
        "version": state.champion,
        "needs": needs_person(state),
        "waits": state.waits,
        "blocked": state.blocked,
        "build": state.build,
        "probation": state.probation,
        "pinned": state.pinned,
        "pin_refused": state.pin_refused,
        "verdict": last.verdict if last else None,
        "verdicts": {kind: one["verdict"] for kind, one in evidence.items()},
        "evidence": evidence,
        "last_check": last.at if last else None,
        "last_window": last.window_index if last else None,
        "reason": last.reason if last else "no window was checked yet",
        "learning": last.figures.get("learning") if last else None,
        "figures": newest["labels"][0].figures if newest["labels"] else {},
        "standing_alarms": [alarm.id for alarm in reader.standing_alarms(state.model, state.champion)],
    }


def needs_person(state: ModelState) -> str | None:
    """What a person must do, in one sentence; None when nothing."""
    if state.phase is Phase.AWAITING_APPROVAL and state.build is not None:
        version = state.build.number
        choice = f"`driftd approve {state.model} {version}` or `driftd reject {state.model} {version}`"
        return f"version {version} won its gate: {choice}"
    if state.pin_refused is not None:
        return f"the pin was refused: {state.pin_refused}"
    if state.blocked is not None:
        return f"the pipeline is broken, builds are blocked: {state.blocked}"
    return None


def override_of(config: Config) -> dict[str, Any] | None:
    """The override in force, None when there is none."""
    expires = config.override.expires
    set_keys = config.override.model_dump(mode="json", exclude_defaults=True)
    return override_in_force(set_keys, expires.timestamp() if expires is not None else None)


def print_status(told: dict[str, Any], to: Console) -> None:
    """Print what `fleet_status` found, for people."""
    for one in told["models"]:
        if one["needs"]:
            say(to, f"{one['model']}: {one['needs']}", "bold red")
    if told["models"]:
        headings = ["model", "phase", "version", "verdict", "last check (UTC)", "nearest to an alarm"]
        print_table(to, headings, [_status_row(one) for one in told["models"]])
    for one in told["models"]:
        for sentence in sentences(one):
            say(to, f"  {one['model']}: {sentence}")
    for one in told["not_watched"]:
        say(to, f"  {one['model']}: {not_watched(one['version'])}", "yellow")
    if told["override"]:
        say(to, f"override in force: {spoken_override(told['override'])}", "bold yellow")
    if told["config"]:
        one = told["config"]
        say(
            to, one["sentence"], "bold red" if one["refused"] else "dim" if one["file"] == one["in_force"] else "yellow"
        )


def sentences(one: dict[str, Any]) -> list[str]:
    """What there is to say of one model, most important first."""
    said = [f"{one['reason']} ({one['verdict']})" if one["verdict"] else one["reason"]]
    loud = [kind for kind, found in one["evidence"].items() if found["verdict"] != "ok"]
    said += [f"{kind} {one['verdicts'][kind]}: {one['evidence'][kind]['sentence']}" for kind in loud]
    if one["learning"]:
        said.append(f"still learning: {one['learning']}")
    if one["build"] is not None:
        said.append(f"version {one['build'].number} is being built, at the step {one['build'].step}")
    if one["probation"] is not None:
        said.append(
            f"on probation since {when(one['probation'].since)}: {one['probation'].sentence or 'no labels yet'}"
        )
    if one["waits"]:
        said.append(f"a build is wanted and waits: {one['waits']}")
    if one["pinned"] is not None and one["pin_refused"] is None:
        said.append(f"version {one['pinned']} is pinned by the override")
    if one["standing_alarms"]:
        alarms = ", ".join(map(str, one["standing_alarms"]))
        said.append(f"standing alarms: {alarms} (`driftd explain --alarm {one['standing_alarms'][0]}` tells why)")
    return said


def not_watched(version: int | None) -> str:
    """Why a model of the config is not in the state, and what to do."""
    if version is None:
        return "it has no version yet: `driftd init` makes the first"
    return f"version {version} serves, but no daemon has watched it yet: start `driftd run`"


def spoken_override(override: dict[str, Any]) -> str:
    """What an override asks, until when and why."""
    words = [f"{key} {value}" for key, value in override.items() if key not in {"reason", "expires"}]
    until = f" until {override['expires']}" if "expires" in override else ""
    return f"{'; '.join(words)}{until}: {override.get('reason')}"


def worst_verdict(one: dict[str, Any]) -> str:
    """The worst verdict of a model's last checks; a dash for none."""
    verdicts = [*one["verdicts"].values(), one["verdict"]]
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), "-")


def _status_row(one: dict[str, Any]) -> list[Cell]:
    worst = worst_verdict(one)
    shares = {kind: found["evidence"] / found["threshold"] for kind, found in one["evidence"].items()}
    nearest = max(shares, key=lambda kind: shares[kind], default=None)
    return [
        one["model"],
        one["phase"],
        str(one["version"] or "-"),
        Text(worst, style=VERDICT_STYLES.get(worst, "")),
        when(one["last_check"]),
        f"{nearest}: {min(shares[nearest], 1):.0%}" if nearest is not None else "-",
    ]


@click.command()
@click.argument("model", required=False)
@click.option("--limit", "-n", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many lines.")
@config_option
@json_option
def history(config_path: Path, model: str | None, limit: int, as_json: bool) -> None:
    """What was decided, newest first, of MODEL or of all.

    \b
    Example:
      driftd history demand -n 5
    """  # noqa: D301 - see above
    config, places = opened(config_path)
    name = chosen_model(config, model) if model is not None else None
    with StateReader.read_only(places.state_db) as reader:
        lines = reader.history(name, limit)
    if as_json:
        print_json(lines)
        return
    to = console()
    if not lines:
        say(to, "nothing was decided yet")
        return
    rows = [[str(one.id), when(one.at), one.model, one.event.replace("_", " "), one.reason] for one in lines]
    print_table(to, ["id", "when (UTC)", "model", "what", "why"], rows, long="why")
    if to.is_terminal:
        say(to, f"\n{len(lines)} decisions; `driftd explain ID` tells one whole", "dim")


@click.command()
@click.argument("model", required=False)
@config_option
@json_option
def versions(config_path: Path, model: str | None, as_json: bool) -> None:
    """The versions of MODEL: what they were made from, by what, why, and what the gate said.

    \b
    Example:
      driftd versions demand
    """  # noqa: D301 - see above
    config, places = opened(config_path)
    name = chosen_model(config, model)
    found = _manifests(places, name)
    served = Registry(places).current(name)
    if as_json:
        print_json([{**one, "serves": one["version"] == served} for one in found])
        return
    headings = ["version", "made (UTC)", "trigger", "parent", "snapshot", "rows", "loss", "gate"]
    to = console()
    print_table(to, headings, [_version_row(one, served) for one in found], long="gate")
    for one in found:
        say(to, f"  {one['version']}: {one['reason']}", "dim")
    say(
        to,
        f"* version {served} serves now" if served is not None else "no version serves: `driftd init` makes the first",
    )


def _version_row(one: dict[str, Any], served: int | None) -> list[Cell]:
    loss = one.get("metrics", {}).get("loss")
    is_served = one["version"] == served
    gate = (one.get("gate") or {}).get("decision") or "-"
    return [
        Text(f"{one['version']} *" if is_served else str(one["version"]), style="bold green" if is_served else ""),
        str(one["created_at"])[:16].replace("T", " "),
        one["trigger"],
        str(one["parent"] or "-"),
        one["snapshot"][:8],
        str(one["data"].get("rows", "-")),
        "-" if loss is None else number(float(loss)),
        gate if one["status"] == gate else f"{gate} ({one['status']})",
    ]


def _manifests(places: Places, model: str) -> list[dict[str, Any]]:
    registry = Registry(places)
    found = []
    for version in registry.versions(model):
        try:
            found.append(registry.manifest(model, version).to_dict())
        except ManifestError as error:
            click.echo(f"driftd: version {version}: {error}", err=True)
    return found

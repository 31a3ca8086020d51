"""The commands that look: status, history, versions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from driftd.cli.options import chosen_model, config_option, json_option, opened, print_json, when
from driftd.config.model import Config
from driftd.places import Places
from driftd.records import ModelState, Phase
from driftd.registry import ManifestError, Registry
from driftd.store.state_reader import StateReader

LOOKED_BACK = 50  # checks, for the last one that had something to say
VERDICT_STYLES = {"drift": "bold red", "error": "bold red", "suspected": "yellow", "inconclusive": "dim", "ok": "green"}


@click.command()
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """Where every model stands; what needs a person comes first.

    \b
    Example:
      driftd status
      driftd status --json | jq '.models[].phase'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = opened(config_path)
    with StateReader.read_only(places.state_db) as reader:
        models = [model_status(reader, state) for state in reader.models() if state.model in config.models]
    unwatched = sorted(set(config.models) - {one["model"] for one in models})
    told = {"config_hash": config.hash, "override": override_of(config), "models": models, "not_watched": unwatched}
    if as_json:
        print_json(told)
        return
    _print_status(told)


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
        "verdicts": {kind: one["verdict"] for kind, one in evidence.items()},
        "evidence": evidence,
        "last_check": last.at if last else None,
        "last_window": last.window_index if last else None,
        "reason": last.reason if last else "no window was checked yet",
        "figures": newest["labels"][0].figures if newest["labels"] else {},
        "standing_alarms": [alarm.id for alarm in reader.standing_alarms(state.model, state.champion)],
    }


def needs_person(state: ModelState) -> str | None:
    """What a person must do, in one sentence; None when nothing."""
    if state.phase is Phase.AWAITING_APPROVAL and state.build is not None:
        number = state.build.number
        choice = f"`driftd approve {state.model} {number}` or `driftd reject {state.model} {number}`"
        return f"version {number} won its gate: {choice}"
    if state.blocked is not None:
        return f"the pipeline is broken, builds are blocked: {state.blocked}"
    return None


def override_of(config: Config) -> dict[str, Any] | None:
    """The override in force, None when there is none."""
    override = config.override
    if override.expires is not None and override.expires.timestamp() <= time.time():
        return None
    set_keys = override.model_dump(mode="json", exclude_defaults=True)
    return set_keys or None


def _print_status(told: dict[str, Any]) -> None:
    console = Console()
    for one in told["models"]:
        if one["needs"]:
            console.print(f"[bold red]{one['model']}[/bold red]: {one['needs']}", soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("model", "phase", "version", "last check", "data", "prediction", "performance", "quality"):
        table.add_column(heading)
    for one in told["models"]:
        cells = [_cell(one["evidence"].get(kind)) for kind in ("data", "prediction", "performance", "quality")]
        table.add_row(one["model"], one["phase"], str(one["version"] or "-"), when(one["last_check"]), *cells)
    console.print(table)
    for one in told["models"]:
        console.print(f"  [dim]{one['model']}:[/dim] {one['reason']}", soft_wrap=True)
        if one["waits"]:
            console.print(f"  [dim]{one['model']}:[/dim] a build is wanted and waits: {one['waits']}", soft_wrap=True)
    for name in told["not_watched"]:
        console.print(f"  [yellow]{name}[/yellow] was never watched: is the daemon running? has it a version?")
    if told["override"]:
        console.print(f"[bold yellow]override in force:[/bold yellow] {told['override']}")


def _cell(evidence: dict[str, Any] | None) -> str:
    if evidence is None:
        return "[dim]-[/dim]"
    style = VERDICT_STYLES.get(evidence["verdict"], "")
    return f"[{style}]{evidence['verdict']}[/{style}] [dim]{evidence['evidence']:.3g}/{evidence['threshold']:.4g}[/dim]"


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
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("id", "when (UTC)", "model", "what", "why"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(str(line.id), when(line.at), line.model, line.event.replace("_", " "), line.reason)
    Console().print(table)
    click.echo(f"\n{len(lines)} decisions; `driftd explain ID` tells one whole" if lines else "nothing was decided yet")


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
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("version", "made (UTC)", "trigger", "parent", "snapshot", "rows", "loss", "gate", "status"):
        table.add_column(heading)
    for one in found:
        loss = one.get("metrics", {}).get("loss")
        gate = (one.get("gate") or {}).get("decision", "-")
        number = f"[bold green]{one['version']} *[/bold green]" if one["version"] == served else str(one["version"])
        table.add_row(
            number,
            str(one["created_at"])[:16],
            one["trigger"],
            str(one["parent"] or "-"),
            one["snapshot"][:12],
            str(one["data"].get("rows", "-")),
            "-" if loss is None else f"{loss:.4g}",
            gate,
            one["status"],
        )
    Console().print(table)
    click.echo("* serves now" if served is not None else "no version serves")


def _manifests(places: Places, model: str) -> list[dict[str, Any]]:
    registry = Registry(places)
    found = []
    for version in registry.versions(model):
        try:
            found.append(registry.manifest(model, version).to_dict())
        except ManifestError as error:
            click.echo(f"driftd: version {version}: {error}", err=True)
    return found

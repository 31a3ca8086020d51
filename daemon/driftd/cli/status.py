"""The commands `status`, `history` and `versions`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.text import Text

from driftd.cli.arguments import MODEL
from driftd.cli.table import Cell, print_table
from driftd.cli.terminal import (
    chosen_model,
    config_option,
    console,
    echo,
    json_option,
    number,
    open_places,
    print_json,
    print_status,
    say,
)
from driftd.config.types import seconds
from driftd.doctor.scrape import ask_daemon
from driftd.formatting import format_minute
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.store.state.reader import StateReader
from driftd.views.fleet import what_of
from driftd.views.lineage import Descent, descend
from driftd.views.status import fleet_status
from driftd.web.local_client import can_be_asked


@click.command()
@click.option("--model", "-m", type=MODEL, help="Only this model.")
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

    `nearest to an alarm` is the kind of evidence that has come closest to its threshold; an alarm is 100 %, and as
    evidence multiplies, half of the way is the root of the threshold.
    --watch reads the state itself: it works while the daemon is down, and says so. In a pipe it prints one status
    after the other, with --json one a line.

    \b
    Example:
      driftd status
      driftd status --watch --model demand
      driftd status --json | jq '.models[].phase'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    name = chosen_model(config, model) if model is not None else None
    if watch:
        from driftd.cli.watch import watch_status  # noqa: PLC0415 - only here

        raise SystemExit(watch_status(config_path, name, every, as_json=as_json))
    said = ask_daemon(config.http)
    fleet = fleet_status(config, places, config_path, name, said.metrics, said.obstacles, said.source_faults)
    if as_json:
        print_json(fleet)
        return
    print_status(fleet, console())
    if said.metrics is None and can_be_asked(config.http):
        say(console(), f"no daemon tells what only it knows ({said.fault}): this is what the state says", "yellow")


def _span(given: str) -> float:
    try:
        return seconds(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--limit", "-n", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many lines.")
@config_option
@json_option
def history(config_path: Path, model: str | None, limit: int, as_json: bool) -> None:
    """What was decided, newest first, of MODEL or of all.

    \b
    Example:
      driftd history demand -n 5
    """  # noqa: D301 - see above
    config, places = open_places(config_path)
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
    rows = [
        [
            str(decision.id),
            format_minute(decision.at),
            decision.model,
            decision.event.replace("_", " "),
            what_of(decision),
        ]
        for decision in lines
    ]
    print_table(to, ["id", "when (UTC)", "model", "event", "what"], rows, long="what")
    if to.is_terminal:
        to.print()
        say(to, f"{len(lines)} decisions; `driftd explain ID` tells one whole", "dim")


class VersionLine(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a version, as it is on disk (`created_at` in ISO 8601), and whether it serves."""

    format: int
    model: str
    version: int
    created_at: str
    schema: dict[str, object]
    snapshot: str
    trainer: dict[str, object]
    seed: int
    trigger: str
    reason: str
    artefact: str
    parent: int | None
    status: str
    parameters: dict[str, object]
    libraries: dict[str, str]
    data: dict[str, object]
    metrics: dict[str, float]
    gate: dict[str, object] | None
    files: dict[str, str]
    adopted: dict[str, object] | None
    serves: bool


@click.command()
@click.argument("model", required=False, type=MODEL)
@click.option("--tree", is_flag=True, help="Each version below the one that it was built to replace.")
@config_option
@json_option
def versions(config_path: Path, model: str | None, tree: bool, as_json: bool) -> None:
    """The versions of MODEL: what they were made from, by what, why, and what the gate said.

    \b
    Example:
      driftd versions demand
      driftd versions demand --tree
    """  # noqa: D301 - see above
    config, places = open_places(config_path)
    name = chosen_model(config, model)
    found = _manifests(places, name)
    served = Registry(places).current(name)
    if tree:
        _print_tree(descend(found, served), as_json=as_json)
        return
    if as_json:
        print_json(
            [
                msgspec.convert({**manifest.to_dict(), "serves": manifest.version == served}, VersionLine)
                for manifest in found
            ]
        )
        return
    headings = ["version", "made (UTC)", "trigger", "parent", "snapshot", "rows", "loss", "gate"]
    to = console()
    print_table(to, headings, [_version_row(manifest, served) for manifest in found], long="gate")
    for manifest in found:
        say(to, f"  {manifest.version}: {manifest.reason}", "dim")
    say(
        to,
        f"* version {served} serves now" if served is not None else "no version serves: `driftd init` makes the first",
    )


def _print_tree(lines: list[Descent], *, as_json: bool) -> None:
    if as_json:
        print_json(lines)
        return
    to = console()
    for line in lines:
        mark = "*" if line.serves else " "
        said = (
            f"{'  ' * line.depth}{line.version} {mark} {line.status}, {line.trigger}, {format_minute(line.created_at)}"
        )
        say(to, said, "bold green" if line.serves else "")


def _version_row(manifest: Manifest, served: int | None) -> list[Cell]:
    loss = manifest.metrics.get("loss")
    is_served = manifest.version == served
    gate = (manifest.gate or {}).get("decision") or "-"
    return [
        Text(f"{manifest.version} *" if is_served else str(manifest.version), style="bold green" if is_served else ""),
        format_minute(manifest.created_at),
        manifest.trigger,
        str(manifest.parent or "-"),
        manifest.snapshot[:8] or "-",
        str(manifest.data.get("rows") or "-"),
        "-" if loss is None else number(float(loss)),
        gate if manifest.status == gate else f"{gate} ({manifest.status})",
    ]


def _manifests(places: Places, model: str) -> list[Manifest]:
    registry = Registry(places)
    found = []
    for version in registry.versions(model):
        try:
            found.append(registry.manifest(model, version))
        except ManifestError as error:
            echo(f"driftd: version {version}: {error}", err=True)
    return found

"""The commands `at` and `prediction`: what served at a time, and what became of a prediction."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from driftd.cli.arguments import MODEL
from driftd.cli.terminal import (
    AbsentError,
    chosen_model,
    config_option,
    console,
    json_option,
    number,
    open_places,
    print_json,
    say,
)
from driftd.formatting import format_time
from driftd.registry import Registry
from driftd.store.events.reader import EventReader
from driftd.store.state.reader import StateReader
from driftd.views.lineage import PredictionFate, ServedAt, fate_of, served_at
from driftd_detectors.times import read_time


@click.command()
@click.argument("when", callback=lambda _context, _option, given: _time(given))
@click.argument("model", required=False, type=MODEL)
@config_option
@json_option
def at(config_path: Path, when: float, model: str | None, as_json: bool) -> None:
    """Which version of MODEL, or of each, served at a time; made from what; let serve by whom.

    \b
    Example:
      driftd at 2026-03-01T12:00
      driftd at 2026-03-01T12:00 demand --json
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    names = list(config.models) if model is None else [chosen_model(config, model)]
    registry = Registry(places)
    with StateReader.read_only(places.state_db) as reader:
        found = [served_at(reader, registry, name, when) for name in names]
    if as_json:
        print_json(found)
        return
    to = console()
    for served in found:
        _print_served(served, to)


def _time(given: str) -> float:
    if given == "now":
        return time.time()
    try:
        return read_time(given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; for instance 2026-03-01T12:00, or now") from None


def _print_served(served: ServedAt, to: Console) -> None:
    if served.version is None or served.since is None:
        say(to, f"{served.model}: no version was under watch yet")
        return
    until = "now" if served.until is None else format_time(served.until)
    say(to, f"{served.model}: version {served.version}, from {format_time(served.since)} until {until}", "bold")
    if served.snapshot:
        say(to, f"  made from snapshot {served.snapshot[:12]} by {served.trainer} (trigger {served.trigger})")
    by = f", let serve by {served.approved_by}" if served.approved_by else ""
    say(to, f"  decision {served.decision}{by}: {served.reason}")


@click.command()
@click.argument("prediction_id")
@click.argument("model", required=False, type=MODEL)
@config_option
@json_option
def prediction(config_path: Path, prediction_id: str, model: str | None, as_json: bool) -> None:
    """What became of one prediction: its version, its features, its labels, the window that counted it.

    For models whose events are in the embedded store.

    \b
    Example:
      driftd prediction 8f0c1e demand
    """  # noqa: D301 - see above
    config, places = open_places(config_path)
    name = chosen_model(config, model)
    if config.models[name].source.kind != "store":
        raise AbsentError(f"the events of {name} are not in driftd's store: look where its source has them")
    registry, served = Registry(places), Registry(places).current(name)
    if served is None:
        raise AbsentError(f"no version of {name} serves, so nothing was predicted")
    events = EventReader(places.events_db(name), registry.readable(name, served).schema, places.segments(name))
    with StateReader.read_only(places.state_db) as reader:
        found = fate_of(reader, events, config.models[name], name, prediction_id)
    events.close()
    if found is None:
        raise AbsentError(f"there is no prediction {prediction_id!r} of {name}; retention may have taken it")
    if as_json:
        print_json(found)
        return
    _print_fate(found, console())


def _print_fate(found: PredictionFate, to: Console) -> None:
    score = "" if found.score is None else f", score {number(found.score)}"
    made_by = f"version {found.version}" if found.version else "made elsewhere"
    say(to, f"{found.id}: {found.prediction}{score}, by {made_by} at {format_time(found.at)}", "bold")
    for name, value in found.features.items():
        say(to, f"  {name}: {'missing' if value is None else number(value)}")
    for label in found.labels:
        say(to, f"label {label.label}, known at {format_time(label.at)}, received {format_time(label.received_at)}")
    if not found.labels:
        say(to, "no label has come")
    start = found.window_start
    where = f"window {found.window}" if start is None else f"the window of {format_time(start)}"
    why = f" ({found.reason})" if found.reason else ""
    say(to, f"counted in {where}: {found.verdict or 'not checked yet'}{why}")
    say(to, f"its labels: {found.labels_verdict or 'not evaluated yet'}")

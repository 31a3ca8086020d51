"""`driftd plan`: what would be built now, why, from what, at what cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from driftd.cli.arguments import MODEL
from driftd.cli.table import print_table
from driftd.cli.terminal import chosen_model, config_option, console, json_option, open_places, print_json, say
from driftd.config.schema import Config
from driftd.errors import DriftdError
from driftd.formatting import format_duration, format_minute
from driftd.loop.plan import CodePlan, CostPlan, DataPlan, ModelPlan, plan_model
from driftd.paths import Places
from driftd.sentences.alarms import trigger_key
from driftd.store.state.reader import StateReader

_MEBIBYTE = 1 << 20


@click.command()
@click.argument("model", required=False, type=MODEL)
@config_option
@json_option
def plan(config_path: Path, model: str | None, as_json: bool) -> None:
    """What would be built of MODEL now, why, from what and at what cost; of every model without MODEL.

    The policy is the daemon's, over the state as it is and the rows as they are: each trigger with how far it is, what
    holds a build up, the rows of its snapshot, the code and the settings beside those of the version that serves.
    Nothing is begun and nothing is written.

    \b
    Example:
      driftd plan
      driftd plan demand
      driftd plan --json | jq '.[] | select(.starts)'
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    config, places = open_places(config_path)
    names = list(config.models) if model is None else [chosen_model(config, model)]
    with StateReader.read_only(places.state_db) as store:
        plans = [_plan(name, config, places, store) for name in names]
        in_force = store.config_in_force()
    if as_json:
        print_json(plans)
        return
    to = console()
    if in_force is not None and in_force.hash != config.hash:
        say(to, "the config on disk is not in force: this is what would be built once it is", "yellow")
    if model is None and len(plans) > 1:
        print_table(to, ["model", "now", "trigger", "why"], [_row(found) for found in plans], long="why")
        return
    for found in plans:
        _print(found, to)


def _plan(name: str, config: Config, places: Places, store: StateReader) -> ModelPlan:
    """The plan of one model; one that cannot be made is told, and keeps no other from being made."""
    try:
        return plan_model(name, config, places, store, time.time())
    except (DriftdError, OSError) as error:
        return ModelPlan(model=name, starts=False, reason=f"it cannot be planned: {error}")


def _row(plan: ModelPlan) -> list[str]:
    return [plan.model, "builds" if plan.starts else "-", plan.trigger or "-", plan.reason]


def _print(plan: ModelPlan, to: Console) -> None:
    begin = "a build would start now" if plan.starts else "no build would start now"
    say(to, f"{plan.model}: {begin}: {plan.reason}", "bold")
    for line in plan.triggers:
        state = "fired" if line.has_fired else "not fired"
        off = "" if line.is_on else " (not a trigger: retrain.on does not name it)"
        say(to, f"  {trigger_key(line.trigger)}: {state}{off}: {line.sentence}")
    for part, sentences in (
        ("from", _say_data(plan.data)),
        ("by", _say_code(plan.code, plan.champion)),
        ("cost", _say_cost(plan.cost, plan.data)),
    ):
        for sentence in sentences:
            say(to, f"  {part}: {sentence}")


def _say_data(data: DataPlan | None) -> Iterator[str]:
    if data is None:
        return
    if data.fault is not None:
        yield f"its rows could not be counted: {data.fault}"
        return
    known = data.first_at is not None and data.last_at is not None
    span = f", {format_minute(data.first_at)} to {format_minute(data.last_at)}" if known else ""
    yield f"about {data.rows:,} labelled rows{span}"
    if data.base is not None:
        yield f"{data.base_rows:,} of them are in the champion's snapshot {data.base[:12]}, {data.new_rows:,} are newer"


def _say_code(code: CodePlan | None, champion: int | None) -> Iterator[str]:
    if code is None:
        return
    if code.fault is not None:
        yield f"{code.trainer}, which is not whole: {code.fault}"
    elif code.fingerprint is not None:
        lock = f", lock file {code.lock[:12]}" if code.lock is not None else ""
        yield f"{code.trainer}, source {code.fingerprint[:12]}{lock}"
    if code.waits:
        yield code.waits
    if code.source_changed:
        at = f" (commit {code.champion_commit[:12]})" if code.champion_commit else ""
        lock = f", lock file {(code.champion_lock or 'none')[:12]}"
        yield f"changed since version {champion}: that was source {(code.champion_fingerprint or '')[:12]}{lock}{at}"
    for change in code.settings:
        yield f"changed since version {champion}: {change.name}: {change.before!r} -> {change.after!r}"


def _say_cost(cost: CostPlan | None, data: DataPlan | None) -> Iterator[str]:
    if cost is None:
        return
    if cost.seconds is None:
        yield "no build was made under this daemon yet"
    else:
        memory = f", {cost.peak_bytes / _MEBIBYTE:,.0f} MiB of memory" if cost.peak_bytes else ""
        last = "the last build" if cost.builds == 1 else f"the longest of the last {cost.builds} builds"
        yield f"{last} took {format_duration(cost.seconds)}{memory}"
    if cost.cost is not None:
        yield f"{cost.cost:,.4g} {cost.unit} by retrain.cost"
    if data is not None and data.bytes is not None:
        yield f"its snapshot takes about {data.bytes / _MEBIBYTE:,.1f} MiB of disk"

"""`driftd explain`: what was seen, against which threshold, and why that followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from driftd.cli.options import absent, config_option, json_option, opened, print_json, when
from driftd.places import Places
from driftd.registry import ManifestError, Registry
from driftd.store.state_reader import StateReader
from driftd.store.state_records import StoredAlarm, StoredTransition

# What each event means, for who reads it for the first time.
MEANINGS = {
    "adopted": "The daemon took a version that was already serving under watch.",
    "alarm": "The evidence gathered over windows reached the threshold that the false-alarm budget gives.",
    "build_wanted": "Something other than an alarm asks for a new version.",
    "build_started": "A build was wanted and nothing stood in its way any more.",
    "build_failed": "A step of a build failed. The champion was never touched; the next try waits longer each time.",
    "gate_inconclusive": "On rows later than its training the challenger is neither surely better nor surely worse.",
    "challenger_rejected": "The challenger lost its gate, or a person turned it down.",
    "challenger_inconclusive": "The challenger did not become clearly better in the time given to it.",
    "approval_wanted": "The challenger won its gate; the config or the override asks a person before it serves.",
    "swap_started": "The served version is to be replaced: it is loaded and compared with its own predictions first.",
    "promoted": "The link `current` was replaced by one rename and read back; the old champion now scores in shadow.",
    "confirmed": "Probation is over: beside the old champion, on the same rows, the new one was not worse.",
    "rollback_started": "The earlier version is to serve again.",
    "rolled_back": "The earlier version serves again; the one before it is barred.",
    "quality_fault": "A broken pipeline is not drift: it blocks builds, because no model is built on garbage.",
    "quality_restored": "The pipeline delivers again what the reference had; builds may start again.",
    "request_refused": "What a person asked cannot be done now.",
    "paused": "The operator's override stopped the checks.",
    "pinned": "The operator's override holds this version.",
}


@click.command()
@click.argument("what", default="last")
@click.option("--model", "-m", help="Which model `last` is about; all by default.")
@click.option("--alarm", "is_alarm", is_flag=True, help="WHAT is the number of an alarm, not of a decision.")
@config_option
@json_option
def explain(config_path: Path, what: str, model: str | None, is_alarm: bool, as_json: bool) -> None:
    """Tell one decision whole: WHAT is its id in `driftd history`, or `last`.

    \b
    Example:
      driftd explain last
      driftd explain 17
      driftd explain --alarm 3
    """  # noqa: D301 - \b is click's mark for a paragraph that is not wrapped
    _, places = opened(config_path)
    with StateReader.read_only(places.state_db) as reader:
        line = None if is_alarm else _line(reader, what, model)
        alarm = _alarm(reader, what if is_alarm else line)
        told = _told(reader, places, line, alarm)
    if as_json:
        print_json(told)
        return
    _print(told)


def _line(reader: StateReader, what: str, model: str | None) -> StoredTransition:
    if what == "last":
        lines = reader.history(model, 1)
        if not lines:
            raise absent("nothing was decided yet")
        return lines[0]
    if not what.isdecimal():
        raise click.UsageError(f"{what!r} is neither `last` nor an id of `driftd history`")
    line = reader.transition(int(what))
    if line is None:
        raise absent(f"there is no decision {what}; `driftd history` lists them")
    return line


def _alarm(reader: StateReader, of: StoredTransition | str | None) -> StoredAlarm | None:
    number = of.figures.get("alarm") if isinstance(of, StoredTransition) else of
    if number is None:
        return None
    if not str(number).isdecimal():
        raise click.UsageError(f"{number!r} is no number of an alarm")
    alarm = reader.alarm(int(number))
    if alarm is None:
        raise absent(f"there is no alarm {number}")
    return alarm


def _told(
    reader: StateReader, places: Places, line: StoredTransition | None, alarm: StoredAlarm | None
) -> dict[str, Any]:
    """Everything that is known of a decision, ready for JSON."""
    told: dict[str, Any] = {"decision": None, "alarm": None, "actions": [], "version": None}
    if line is not None:
        version = line.figures.get("version")
        told["decision"] = {
            "id": line.id,
            "at": line.at,
            "model": line.model,
            "event": line.event,
            "meaning": MEANINGS.get(line.event, ""),
            "reason": line.reason,
            "figures": line.figures,
            "phase_from": line.phase_from,
            "phase_to": line.phase_to,
            "by": line.actor,
            "config_hash": line.config_hash,
        }
        told["actions"] = [
            {"kind": one.kind, "status": one.status, "arguments": one.arguments, "result": one.result}
            for one in reader.actions_of(line.id)
        ]
        told["version"] = _lineage(places, line.model, version)
    if alarm is not None:
        told["alarm"] = alarm
        told["rows"] = _rows(reader, alarm)
    return told


def _rows(reader: StateReader, alarm: StoredAlarm) -> int | None:
    kind = "labels" if alarm.kind == "performance" else "window"
    checks = reader.checks(alarm.model, 10_000, kind)
    return next((check.rows for check in checks if check.window_index == alarm.window_index), None)


def _lineage(places: Places, model: str, version: object) -> dict[str, Any] | None:
    if not isinstance(version, int):
        return None
    try:
        return Registry(places).manifest(model, version).to_dict()
    except ManifestError:
        return None


def _print(told: dict[str, Any]) -> None:
    console = Console()
    decision, alarm = told["decision"], told["alarm"]
    if decision is not None:
        title = (
            f"{decision['id']}  {when(decision['at'])} UTC  {decision['model']}  {decision['event'].replace('_', ' ')}"
        )
        console.print(Text(title, style="bold"))
        console.print(Text(decision["reason"]), soft_wrap=True)
        console.print(Text(decision["meaning"], style="dim"), soft_wrap=True)
        phases = f"{decision['phase_from']} -> {decision['phase_to']}"
        console.print(f"phase: {phases}; by {decision['by']}; config {decision['config_hash']}")
        for name, value in decision["figures"].items():
            if value is not None:
                console.print(f"  {name}: {_short(value)}", highlight=False)
    if alarm is not None:
        _print_alarm(console, alarm, told.get("rows"))
    for action in told["actions"]:
        console.print(
            f"then: {action['kind']} ({action['status']}) {_outcome(action)}", soft_wrap=True, highlight=False
        )
    if told["version"] is not None:
        _print_version(console, told["version"])


def _print_alarm(console: Console, alarm: StoredAlarm, rows: int | None) -> None:
    counted = f" ({rows} rows)" if rows is not None else ""
    console.print(
        f"[bold]alarm {alarm.id}[/bold]: {alarm.kind} of version {alarm.version}, window {alarm.window_index}{counted}"
    )
    console.print(f"  seen: {alarm.sentence}", soft_wrap=True, highlight=False)
    console.print(f"  evidence {alarm.evidence:,.0f} reached the threshold {alarm.threshold:,.0f}", highlight=False)
    if alarm.change_start:
        console.print(f"  the change most likely began at {when(alarm.change_start)} UTC")
    for subject, share in alarm.leaders[:5]:
        console.print(f"  {share:5.0%} of the evidence: {subject}", highlight=False)
    for opinion in alarm.second_opinion or []:
        console.print(f"  second opinion: {opinion.get('sentence', opinion)}", soft_wrap=True, highlight=False)
    console.print(f"  report: {alarm.report or 'not rendered (yet)'}", soft_wrap=True, highlight=False)
    if alarm.absorbed_at:
        console.print(f"  taken into what is normal at {when(alarm.absorbed_at)} UTC")


def _print_version(console: Console, manifest: dict[str, Any]) -> None:
    gate = manifest.get("gate") or {}
    trainer = manifest["trainer"]["reference"]
    console.print(f"version {manifest['version']}: snapshot {manifest['snapshot'][:12]}, trainer {trainer}")
    data = manifest.get("data", {})
    console.print(
        f"  trained on {data.get('rows')} rows ({data.get('chosen')}); losses tried: {data.get('tried')}",
        highlight=False,
    )
    if gate:
        console.print(f"  gate: {gate.get('decision')}: {gate.get('sentence')}", soft_wrap=True, highlight=False)


def _outcome(action: dict[str, Any]) -> str:
    result = action["result"] or {}
    return str(result.get("sentence") or result.get("error") or result.get("path") or "")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

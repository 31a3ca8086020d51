"""A decision told in plain words: what, why, the figures, what led to it, what was done and how that ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from driftd.cli.printing import number, say, when
from driftd.store.state_records import StoredAlarm

LEADERS_SHOWN = 5
_SAID_ELSEWHERE = {"alarm", "kind", "evidence", "threshold"}


def print_explanation(told: Mapping[str, Any], to: Console) -> None:
    """Print what `explaining.explained` gathered."""
    if told["decision"] is not None:
        _decision(told["decision"], to, has_alarm=told["alarm"] is not None)
    if told["alarm"] is not None:
        _alarm(told["alarm"], told.get("rows"), told["window_by"], to)
    for action in told["actions"]:
        said = _outcome(action)
        say(to, f"then: {action['kind']}, {action['status']}" + (f": {said}" if said else ""))
    if told["version"] is not None:
        _version(told["version"], to)
    if told["story"]:
        _story(told["story"], told["decision"], to)


def _decision(decision: Mapping[str, Any], to: Console, *, has_alarm: bool) -> None:
    event = decision["event"].replace("_", " ")
    say(to, f"{decision['id']}  {when(decision['at'])} UTC  {decision['model']}  {event}", "bold")
    say(to, decision["reason"])
    if decision["meaning"]:
        say(to, decision["meaning"], "dim")
    say(to, f"phase {decision['phase_from']} -> {decision['phase_to']}; by {decision['by']}; {_config(decision)}")
    for name, value in decision["figures"].items():
        if value is not None and not (has_alarm and name in _SAID_ELSEWHERE):
            said = when(value) + " UTC" if name.endswith("_at") and isinstance(value, float) else number(value)
            say(to, f"  {name.replace('_', ' ')}: {said}")


def _config(decision: Mapping[str, Any]) -> str:
    return f"config {decision['config_hash']}" if decision["config_hash"] else "no config"


def _alarm(alarm: StoredAlarm, rows: int | None, window_by: str, to: Console) -> None:
    say(to, f"alarm {alarm.id}: {alarm.kind} of {alarm.model}/{alarm.version}", "bold")
    say(to, f"  seen: {alarm.sentence}")
    counted = f", {rows:,} rows" if rows is not None else ""
    say(to, f"  in the window {_window(alarm, window_by)}{counted}")
    say(to, f"  evidence {alarm.evidence:,.0f} reached the threshold {alarm.threshold:,.0f} of the false-alarm budget")
    if alarm.change_start:
        say(to, f"  the change most likely began at {when(alarm.change_start)} UTC")
    for subject, share in alarm.leaders[:LEADERS_SHOWN]:
        say(to, f"  {share:.0%} of the evidence: {subject}")
    for opinion in alarm.second_opinion or []:
        say(to, f"  second opinion: {opinion.get('sentence', opinion)}")
    say(to, f"  report: {alarm.report or 'not rendered (yet)'}")
    if alarm.absorbed_at:
        say(to, f"  taken into what is normal at {when(alarm.absorbed_at)} UTC")


def _window(alarm: StoredAlarm, window_by: str) -> str:
    if window_by == "rows":
        return f"of rows {alarm.window_start:,.0f} to {alarm.window_end:,.0f} in order of arrival"
    return f"from {when(alarm.window_start)} to {when(alarm.window_end)} UTC"


def _version(manifest: Mapping[str, Any], to: Console) -> None:
    gate, data = manifest.get("gate") or {}, manifest.get("data", {})
    say(to, f"version {manifest['version']} of {manifest['model']}", "bold")
    trainer = manifest["trainer"]["reference"]
    say(to, f"  made from snapshot {manifest['snapshot'][:12]} by {trainer}, seed {manifest['seed']}")
    if data.get("rows") is not None:
        choice = f", the choice {str(data['chosen']).replace('_', ' ')!r}" if data.get("chosen") else ""
        say(to, f"  trained on {data['rows']:,} rows{choice}{_tried(data.get('tried'))}")
    if gate:
        say(to, f"  gate: {gate.get('decision')}: {gate.get('sentence')}")


def _tried(tried: object) -> str:
    if not isinstance(tried, Mapping) or not tried:
        return ""
    losses = ", ".join(f"{str(name).replace('_', ' ')} {number(loss)}" for name, loss in tried.items())
    return f" (losses of what was tried: {losses})"


def _story(story: list[Mapping[str, Any]], decision: Mapping[str, Any] | None, to: Console) -> None:
    say(to, "how it came about, and what followed", "bold")
    for one in story:
        here = ">" if decision is not None and one["id"] == decision["id"] else " "
        say(to, f"{here} {one['id']:>4}  {when(one['at'])}  {one['event'].replace('_', ' '):<18}  {one['reason']}")


def _outcome(action: Mapping[str, Any]) -> str:
    result = action["result"] or {}
    return str(result.get("sentence") or result.get("error") or result.get("path") or "")

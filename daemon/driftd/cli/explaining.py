"""`driftd explain`: what was seen, against which threshold, and why that followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from driftd.cli.explanation import print_explanation
from driftd.cli.options import AbsentError, chosen_model, config_option, json_option, opened
from driftd.cli.printing import console, print_json
from driftd.config.model import Config
from driftd.places import Places
from driftd.registry import ManifestError, Registry
from driftd.store.state_reader import StateReader
from driftd.store.state_records import StoredAlarm, StoredTransition

LOOKED_BACK = 5_000  # decisions, for those that belong to one story
CHECKS_BACK = 10_000

# What each event means, for who reads it for the first time.
MEANINGS = {
    "restored": "The state came from a backup and was compared with the versions on disk.",
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
    config, places = opened(config_path)
    name = chosen_model(config, model) if model is not None else None
    with StateReader.read_only(places.state_db) as reader:
        line = None if is_alarm else _line(reader, what, name)
        alarm = _alarm(reader, what if is_alarm else line)
        told = explained(reader, config, places, line, alarm)
    if as_json:
        print_json(told)
    else:
        print_explanation(told, console())


def _line(reader: StateReader, what: str, model: str | None) -> StoredTransition:
    if what == "last":
        lines = reader.history(model, 1)
        if not lines:
            raise AbsentError("nothing was decided yet")
        return lines[0]
    if not what.isdecimal():
        raise click.UsageError(f"{what!r} is neither `last` nor an id of `driftd history`")
    line = reader.transition(_id(what))
    if line is None or (model is not None and line.model != model):
        raise AbsentError(f"there is no decision {what}; `driftd history` lists them")
    return line


def _id(digits: str) -> int:
    """An id as SQLite can look it up; beyond that there is none, so the greatest will do."""
    return min(int(digits[:20]), 2**63 - 1)


def _alarm(reader: StateReader, of: StoredTransition | str | None) -> StoredAlarm | None:
    number = of.figures.get("alarm") if isinstance(of, StoredTransition) else of
    if number is None:
        return None
    if number == "last":
        alarm = next(iter(reader.alarms(limit=1)), None)
    elif str(number).isdecimal():
        alarm = reader.alarm(_id(str(number)))
    else:
        raise click.UsageError(f"{number!r} is no number of an alarm")
    if alarm is None:
        raise AbsentError("there is no such alarm; `driftd history` lists what was decided on each")
    return alarm


def explained(
    reader: StateReader, config: Config, places: Places, line: StoredTransition | None, alarm: StoredAlarm | None
) -> dict[str, Any]:
    """Everything that is known of a decision or an alarm, ready for JSON."""
    told: dict[str, Any] = {"decision": None, "alarm": None, "actions": [], "version": None, "story": []}
    if line is not None:
        told["decision"] = _decision(line)
        told["actions"] = [
            {"kind": one.kind, "status": one.status, "arguments": one.arguments, "result": one.result}
            for one in reader.actions_of(line.id)
        ]
        told["version"] = _lineage(places, line.model, line.figures.get("version"))
    if alarm is not None:
        told["alarm"] = alarm
        told["rows"] = _rows(reader, alarm)
        model = config.models.get(alarm.model)
        told["window_by"] = "rows" if model is not None and model.window.rows is not None else "time"
    told["story"] = [
        {"id": one.id, "at": one.at, "event": one.event, "reason": one.reason} for one in _story(reader, line, alarm)
    ]
    return told


def _decision(line: StoredTransition) -> dict[str, Any]:
    return {
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


def _story(reader: StateReader, line: StoredTransition | None, alarm: StoredAlarm | None) -> list[StoredTransition]:
    """The decisions that belong together, oldest first: the alarm, the build that it caused, that version's life."""
    model = line.model if line is not None else alarm.model if alarm is not None else None
    lines = list(reversed(reader.history(model, LOOKED_BACK)))
    starts = [one for one in lines if one.event == "build_started"]
    version = line.figures.get("version") if line is not None else None
    if alarm is not None:
        caused = next((one for one in starts if one.at >= alarm.at and alarm.sentence in one.reason), None)
        version = caused.figures.get("version") if caused is not None else None
    start = next((one for one in starts if one.figures.get("version") == version), None)
    if version is None or start is None:
        return []
    alarms = [one for one in lines if one.event == "alarm" and one.id < start.id and _sentence(one) in start.reason]
    return [*alarms[-1:], *(one for one in lines if _is_about(one, version))]


def _sentence(alarmed: StoredTransition) -> str:
    """What the alarm said, without the consequence that follows the last semicolon."""
    return alarmed.reason.rpartition("; ")[0] or alarmed.reason


def _is_about(line: StoredTransition, version: object) -> bool:
    return line.figures.get("version") == version or (
        line.event == "rolled_back" and line.figures.get("from") == version
    )


def _rows(reader: StateReader, alarm: StoredAlarm) -> int | None:
    kind = "labels" if alarm.kind == "performance" else "window"
    checks = reader.checks(alarm.model, CHECKS_BACK, kind)
    return next((check.rows for check in checks if check.window_index == alarm.window_index), None)


def _lineage(places: Places, model: str, version: object) -> dict[str, Any] | None:
    if not isinstance(version, int):
        return None
    try:
        return Registry(places).manifest(model, version).to_dict()
    except ManifestError:
        return None

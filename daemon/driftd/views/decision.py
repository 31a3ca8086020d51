"""One decision told whole: the sentence, the figures, the rows counted, the config, what led to it and followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftd.config.redact import redact_config
from driftd.decisions import meaning_of
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm, StoredTransition
from driftd.views.config import as_written, as_yaml, config_in_force

LOOKED_BACK = 5_000  # decisions, for those that belong to one story

# What each event means, for who reads it for the first time.
MEANINGS = {
    "restored": "The state came from a backup and was compared with the versions on disk.",
    "override_began": "The operator's override asks something of this model; it is obeyed while it is in force.",
    "override_changed": "The operator changed what the override asks of this model.",
    "override_ended": "The override asks nothing of this model any more: it was lifted, or its time is over.",
    "adopted": "The daemon took a version that was already serving under watch.",
    "alarm": "The evidence gathered over windows reached the threshold that the false-alarm budget gives.",
    "build_wanted": "Something other than an alarm asks for a new version.",
    "build_started": "A build was wanted and nothing stood in its way any more.",
    "build_failed": "A step of a build failed. The champion was never touched; the next try waits longer each time.",
    "gate_inconclusive": "On rows later than its training the challenger is neither surely better nor surely worse.",
    "judged_again": "Another version serves than the one that the challenger was compared with: it is compared anew.",
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


def explain_decision(
    reader: StateReader,
    by_rows: Callable[[str], bool],
    places: Places,
    line: StoredTransition | None,
    alarm: StoredAlarm | None,
) -> dict[str, Any]:
    """Everything that is known of a decision or an alarm, ready for JSON.

    `by_rows` tells of a model whether its windows count rows.
    """
    explanation: dict[str, Any] = {"decision": None, "alarm": None, "actions": [], "version": None, "story": []}
    if line is not None:
        explanation["decision"] = _decision(line)
        explanation["actions"] = [
            {"kind": action.kind, "status": action.status, "arguments": action.arguments, "result": action.result}
            for action in reader.actions_of(line.id)
        ]
        explanation["version"] = _lineage(places, line.model, line.figures.get("version"))
    if alarm is not None:
        explanation["alarm"] = alarm
        explanation["rows"] = _rows(reader, alarm)
        explanation["window_by"] = "rows" if by_rows(alarm.model) else "time"
    explanation["story"] = [
        {"id": event.id, "at": event.at, "event": event.event, "reason": event.reason}
        for event in _story(reader, line, alarm)
    ]
    return explanation


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
    starts = [line for line in lines if line.event == "build_started"]
    version = line.figures.get("version") if line is not None else None
    if alarm is not None:
        caused = next((start for start in starts if start.at >= alarm.at and alarm.sentence in start.reason), None)
        version = caused.figures.get("version") if caused is not None else None
    start = next((start for start in starts if start.figures.get("version") == version), None)
    if version is None or start is None:
        return []
    alarms = [
        line for line in lines if line.event == "alarm" and line.id < start.id and _sentence(line) in start.reason
    ]
    return [*alarms[-1:], *(line for line in lines if _is_about(line, version))]


def _sentence(alarmed: StoredTransition) -> str:
    """What the alarm said, without the consequence that follows the last semicolon."""
    return alarmed.reason.rpartition("; ")[0] or alarmed.reason


def _is_about(line: StoredTransition, version: object) -> bool:
    return line.figures.get("version") == version or (
        line.event == "rolled_back" and line.figures.get("from") == version
    )


def _rows(reader: StateReader, alarm: StoredAlarm) -> int | None:
    kind = "labels" if alarm.kind == "performance" else "window"
    check = reader.check(alarm.model, kind, alarm.window_index)
    return None if check is None else check.rows


def _lineage(places: Places, model: str, version: object) -> dict[str, Any] | None:
    if not isinstance(version, int):
        return None
    try:
        return Registry(places).manifest(model, version).to_dict()
    except ManifestError:
        return None


def decision_view(
    reader: SeriesReader, places: Places, *, decision: int | None, alarm: int | None
) -> dict[str, Any] | None:
    """A decision or an alarm for the page: what `explain_decision` gives, the alarm's line of history and the config.

    None when there is no such decision or alarm.
    """
    line = reader.transition(decision) if decision is not None else None
    number = alarm if alarm is not None else (line.figures.get("alarm") if line is not None else None)
    raised = reader.alarm(number) if isinstance(number, int) else None
    if alarm is not None and raised is not None:
        line = reader.decision_of_alarm(alarm)
    if line is None and raised is None:
        return None
    explanation = explain_decision(reader, config_in_force(reader).by_rows, places, line, raised)
    applied = reader.config(line.config_hash) if line is not None else None
    explanation["config"] = None
    if applied is not None and line is not None:
        whole = as_written(redact_config(applied.content or {}), only_set=False)
        model = whole.get("models", {}).get(line.model, {})
        explanation["config"] = {"hash": applied.hash, "at": applied.at, "model": as_yaml(model)}
    explanation["report"] = raised is not None and raised.report is not None
    explanation["title"] = meaning_of(line.event).title if line is not None else "Alarm"
    explanation["severity"] = str(meaning_of(line.event).severity) if line is not None else "warning"
    return explanation

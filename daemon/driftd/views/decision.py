"""One decision told whole: the sentence, the figures, the rows counted, the config, what led to it and followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftd.config.redact import redact_config
from driftd.decisions import meaning_of
from driftd.events import Event
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm, StoredTransition
from driftd.views.config import as_written, as_yaml, config_in_force

LOOKED_BACK = 5_000  # decisions, for those that belong to one story


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
        explanation["version"] = _lineage(places, line.model, line.decision_figures.version)
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
        "meaning": meaning_of(line.event).explanation,
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
    start = _start_of([event for event in lines if event.event == Event.BUILD_STARTED], line, alarm)
    version = start.decision_figures.version if start is not None else None
    if start is None or version is None:
        return []
    alarms = [event for event in lines if event.event == Event.ALARM and event.id < start.id and _led_to(event, start)]
    return [*alarms[-1:], *(event for event in lines if _is_about(event, version))]


def _start_of(
    starts: list[StoredTransition], line: StoredTransition | None, alarm: StoredAlarm | None
) -> StoredTransition | None:
    """The start of the build that a decision belongs to: by its version, else by the alarm that caused the build."""
    version = line.decision_figures.version if line is not None else None
    if version is not None:
        return next((start for start in starts if start.decision_figures.version == version), None)
    if alarm is None:
        return None
    later = (start for start in starts if start.at >= alarm.at)
    return next((start for start in later if _is_caused_by(start, alarm.id, alarm.sentence)), None)


def _led_to(alarmed: StoredTransition, start: StoredTransition) -> bool:
    """Whether the alarm that a line tells of caused a build."""
    sentence = alarmed.reason.rpartition("; ")[0] or alarmed.reason  # without the consequence that follows it
    return _is_caused_by(start, alarmed.decision_figures.alarm, sentence)


def _is_caused_by(start: StoredTransition, alarm: int | None, sentence: str) -> bool:
    """Whether an alarm caused a build: by its id; by its sentence where the line is older than that figure."""
    caused = start.decision_figures.alarm
    return caused == alarm if caused is not None else sentence in start.reason


def _is_about(line: StoredTransition, version: int) -> bool:
    figures = line.decision_figures
    return figures.version == version or (line.event == Event.ROLLED_BACK and figures.from_version == version)


def _rows(reader: StateReader, alarm: StoredAlarm) -> int | None:
    kind = "labels" if alarm.kind == "performance" else "window"
    check = reader.check(alarm.model, kind, alarm.window_index)
    return None if check is None else check.rows


def _lineage(places: Places, model: str, version: int | None) -> dict[str, Any] | None:
    if version is None:
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
    number = alarm if alarm is not None else (line.decision_figures.alarm if line is not None else None)
    raised = reader.alarm(number) if number is not None else None
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

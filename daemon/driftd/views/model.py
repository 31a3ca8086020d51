"""One model over time: performance, evidence, verdicts, decisions, and the lineage of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from driftd.decisions import meaning_of
from driftd.events import Event
from driftd.records import ModelState
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.records import StoredAlarm
from driftd.views.attention import unwatched_attention
from driftd.views.config import ConfigInForce, config_in_force
from driftd.views.fleet import LiveState, decision_line, summary
from driftd.views.series import (
    CheckedWindows,
    Grouping,
    estimate_series,
    evidence_series,
    performance_series,
    window_series,
)

MOST_VERSIONS = 30


def version_lane(reader: SeriesReader, registry: Registry, state: ModelState) -> list[dict[str, Any]]:
    """The latest versions, newest first. One whose manifest cannot be read says why and hides no other."""
    return [
        _version(reader, registry, state, version)
        for version in reversed(registry.versions(state.model)[-MOST_VERSIONS:])
    ]


def _version(reader: SeriesReader, registry: Registry, state: ModelState, version: int) -> dict[str, Any]:
    lane: dict[str, Any] = {
        "version": version,
        "serves": version == state.champion,
        "barred": version in state.barred,
        "approved_by": reader.approver(state.model, version),
    }
    try:
        return lane | _lineage(registry.manifest(state.model, version))
    except ManifestError as error:
        return lane | {"error": str(error)}


def _lineage(manifest: Manifest) -> dict[str, Any]:
    gate = manifest.gate or {}
    return {
        "created_at": manifest.created_at,
        "trigger": manifest.trigger,
        "reason": manifest.reason,
        "parent": manifest.parent,
        "status": manifest.status,
        "data": {
            "snapshot": manifest.snapshot,
            "rows": manifest.data.get("rows"),
            "chosen": manifest.data.get("chosen"),
            "first_at": manifest.data.get("first_at"),
            "last_at": manifest.data.get("last_at"),
        },
        "code": {
            "trainer": manifest.trainer.reference,
            "fingerprint": manifest.trainer.fingerprint,
            "commit": manifest.trainer.commit,
            "dirty": manifest.trainer.dirty,
        },
        "parameters": dict(manifest.parameters),
        "seed": manifest.seed,
        "metrics": dict(manifest.metrics),
        "gate": {"decision": gate.get("decision"), "sentence": gate.get("sentence")},
    }


MOST_MARKS, MOST_DECISIONS, MOST_ALARMS = 200, 50, 50
DAY = 86_400.0
SPANS = (("day", DAY), ("week", 7 * DAY), ("month", 30 * DAY), ("year", 365 * DAY))
ROW_SPANS = (("100 windows", 100), ("1,000 windows", 1000))
FEWEST_OF_SPAN = 3  # windows; a shorter span shows nothing


def model_view(
    reader: SeriesReader, registry: Registry, model: str, span: str | None, beside: LiveState
) -> dict[str, Any] | None:
    """Everything of a model's page but its features; None for a model that nobody knows."""
    config, state, obstacle = config_in_force(reader), reader.model(model), beside.obstacles.get(model)
    if state is None:
        if model not in config.models:
            return None
        served = registry.current(model)
        view = {"model": model, "phase": "not_watched", "version": served, "watched": False}
        return {**view, "attention": unwatched_attention(served, obstacle).told()}
    head = summary(reader, state, config, beside)
    if obstacle is not None:
        head["attention"] = unwatched_attention(state.champion, obstacle).told()
    alarms = reader.alarms(model, MOST_ALARMS)
    return {
        **head,
        "watched": True,
        "barred": state.barred,
        "trigger": None if state.build is None else str(state.build.trigger),
        **_over_time(reader, model, config, span, alarms),
        "alarms": [_alarm(reader, alarm) for alarm in alarms],
        "decisions": [decision_line(decision) for decision in reader.history(model, MOST_DECISIONS)],
        "versions": version_lane(reader, registry, state),
    }


def window_range(
    reader: SeriesReader, model: str, config: ConfigInForce, span: str | None
) -> tuple[int, int, list[dict[str, Any]]]:
    """The first and last window of a span, and the spans that can be chosen. An unknown span is a week's."""
    last = reader.last_window(model, "window")
    first = reader.first_window(model, "window")
    if last is None or first is None:
        return 0, -1, []
    lengths = _lengths(config, model)
    held = last - first + 1
    spans = [{"name": name, "windows": count} for name, count in lengths.items() if FEWEST_OF_SPAN <= count < held]
    chosen = lengths.get(span or "", None)
    if chosen is None and span != "all":
        chosen = lengths.get("week", 1000)
    start = max(first, last - int(chosen) + 1) if chosen is not None else first
    return start, last, [*spans, {"name": "all", "windows": held}]


def _lengths(config: ConfigInForce, model: str) -> dict[str, int]:
    every = config.window_seconds(model)
    if every is None:
        return dict(ROW_SPANS)
    return {name: round(seconds / every) for name, seconds in SPANS if seconds >= every}


def _over_time(
    reader: SeriesReader, model: str, config: ConfigInForce, span: str | None, alarms: list[StoredAlarm]
) -> dict[str, Any]:
    first, last, spans = window_range(reader, model, config, span)
    by_time = not config.by_rows(model)
    grouping = Grouping.of(first, max(first, last))
    read = [CheckedWindows.read(row, by_time=by_time) for row in reader.checks_from(model, "window", first)]
    labels = [CheckedWindows.read(row, by_time=by_time) for row in reader.checks_from(model, "labels", first)]
    starts = [check.at for check in (*read[:1], *labels[:1])]
    since = min(starts, default=0.0)
    return {
        "spans": spans,
        "merged": grouping.size,
        "by": "time" if by_time else "rows",
        "performance": performance_series(labels, grouping, config.metric(model, reader)),
        "estimate": estimate_series(read, grouping),
        "evidence_over_time": evidence_series(read, grouping) | evidence_series(labels, grouping),
        "windows": window_series(read, grouping),
        "marks": _marks(reader, model, since, alarms, by_time=by_time),
    }


def _marks(
    reader: SeriesReader, model: str, since: float, alarms: list[StoredAlarm], *, by_time: bool
) -> list[dict[str, Any]]:
    """What happened, where it stands on the axis: an alarm at the window that raised it, all else when it was done."""
    raised: Mapping[int, float] = {alarm.id: alarm.window_end for alarm in alarms} if by_time else {}
    found = []
    for event in reversed(reader.events_between(model, since, float("inf"), MOST_MARKS)):
        if meaning_of(event.event).is_marked:
            at = raised.get(event.decision_figures.alarm or 0, event.at) if event.event == Event.ALARM else event.at
            found.append({**decision_line(event), "at": at, "kind": event.decision_figures.kind})
    return found


def _alarm(reader: SeriesReader, alarm: StoredAlarm) -> dict[str, Any]:
    line = reader.decision_of_alarm(alarm.id)
    return {
        "id": alarm.id,
        "decision": None if line is None else line.id,
        "at": alarm.at,
        "kind": alarm.kind,
        "subject": alarm.subject,
        "version": alarm.version,
        "sentence": alarm.sentence,
        "absorbed_at": alarm.absorbed_at,
        "report": alarm.report is not None,
        "leaders": alarm.leaders[:5],
    }

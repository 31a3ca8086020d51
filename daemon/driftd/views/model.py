"""One model over time: performance, evidence, verdicts, decisions, and the lineage of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from driftd.decisions import meaning_of
from driftd.events import Event
from driftd.records import ModelState
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.records import StoredAlarm
from driftd.views.attention import Attention, unwatched_attention
from driftd.views.choices import feature_names, happened_at
from driftd.views.conditions import ActiveCondition
from driftd.views.config import ConfigInForce, ConfigSummary, config_in_force
from driftd.views.fleet import NOT_WATCHED, DecisionLine, LiveState, ModelHead, decision_line, model_head
from driftd.views.series import (
    CheckedWindows,
    EstimateSeries,
    EvidenceSeries,
    Grouping,
    PerformanceSeries,
    WindowSeries,
    estimate_series,
    evidence_series,
    performance_series,
    window_series,
)
from driftd.views.stages import StageLine, stage_lines
from driftd.views.window_range import Asked, Shown, Span, window_range

MOST_VERSIONS = 30
MOST_MARKS, MOST_DECISIONS, MOST_ALARMS = 200, 50, 50


class VersionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One version in the lane of a model: what is known of it without its manifest."""

    version: int
    serves: bool
    barred: bool
    approved_by: str | None
    stages: list[StageLine]  # of the build that made it, as far as they are kept


class UnreadableVersion(VersionLine, frozen=True, kw_only=True):
    """A version whose manifest cannot be read; `error` says why."""

    error: str


class VersionData(msgspec.Struct, frozen=True):
    """The rows that a version was trained on, as its manifest tells of them."""

    snapshot: str
    rows: int | None
    chosen: str | None
    first_at: float | None
    last_at: float | None
    sampled: int | None = None  # of the rows, those that the trainer got; None: all


class VersionCode(msgspec.Struct, frozen=True):
    """The code that made a version."""

    trainer: str
    fingerprint: str
    commit: str | None
    dirty: bool


class VersionGate(msgspec.Struct, frozen=True):
    """What the gate said of a version; nothing of the first one."""

    decision: str | None
    sentence: str | None


class VersionLineage(VersionLine, frozen=True, kw_only=True):
    """A version with where it comes from."""

    created_at: float
    trigger: str
    reason: str
    parent: int | None
    status: str
    data: VersionData
    code: VersionCode
    parameters: Mapping[str, object]
    seed: int
    metrics: Mapping[str, float]
    gate: VersionGate


class TimelineMark(DecisionLine, frozen=True, kw_only=True):
    """A decision on the axis of time; `at` is where it stands there, `kind` that of an alarm."""

    kind: str | None


class AlarmLine(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm, as lists show it."""

    id: int
    decision: int | None  # its line of history
    at: float  # when it was raised
    happened_at: float  # when its window ended: of replayed history long before
    kind: str
    subject: str
    version: int | None
    sentence: str
    absorbed_at: float | None
    report: bool
    leaders: list[tuple[str, float]]


class ModelView(ModelHead, frozen=True, kw_only=True):
    """Everything of a model's page but its features."""

    config: ConfigSummary
    host: tuple[ActiveCondition, ...]
    watched: bool = True
    barred: tuple[int, ...]
    trigger: str | None  # of the build under way
    spans: list[Span]
    extent: Shown
    merged: int  # windows in one point
    by: Literal["time", "rows"]
    performance: PerformanceSeries
    estimate: EstimateSeries
    evidence_over_time: dict[str, EvidenceSeries]
    windows: WindowSeries
    marks: list[TimelineMark]
    alarms: list[AlarmLine]
    decisions: list[DecisionLine]
    versions: list[VersionLine]
    features: tuple[str, ...]  # of the served version


class UnwatchedView(msgspec.Struct, frozen=True, kw_only=True):
    """The page of a model of the config that has no state."""

    config: ConfigSummary
    host: tuple[ActiveCondition, ...]
    model: str
    phase: str = NOT_WATCHED
    version: int | None
    watched: bool = False
    attention: Attention


def model_view(
    reader: SeriesReader, registry: Registry, model: str, asked: Asked, beside: LiveState, summary: ConfigSummary
) -> ModelView | UnwatchedView | None:
    """Everything of a model's page but its features; None for a model that nobody knows."""
    config, state, host = config_in_force(reader), reader.model(model), beside.pressing.host
    if state is None:
        return _unwatched_view(registry, model, beside, summary) if model in config.models else None
    axis = _Axis.read(reader, model, config, asked)
    extent = axis.extent
    alarms = reader.alarms(model, MOST_ALARMS)
    if extent.span == "range":
        alarms = reader.alarms_between(model, extent.first, extent.last, MOST_ALARMS)
    return ModelView(
        **msgspec.structs.asdict(model_head(reader, state, config, beside)),
        config=summary,
        host=host,
        barred=state.barred,
        trigger=None if state.build is None else state.build.trigger,
        spans=axis.spans,
        extent=extent,
        merged=axis.grouping.size,
        by="time" if axis.by_time else "rows",
        performance=performance_series(axis.labels, axis.grouping, config.metric(model, reader)),
        estimate=estimate_series(axis.windows, axis.grouping),
        evidence_over_time=evidence_series(axis.windows, axis.grouping) | evidence_series(axis.labels, axis.grouping),
        windows=window_series(axis.windows, axis.grouping),
        marks=_marks(reader, model, axis, alarms),
        alarms=[_alarm_line(reader, alarm, by_time=axis.by_time) for alarm in alarms],
        decisions=[decision_line(decision) for decision in reader.history(model, MOST_DECISIONS)],
        versions=version_lane(reader, registry, state),
        features=feature_names(registry, model, state.champion),
    )


def _unwatched_view(registry: Registry, model: str, beside: LiveState, summary: ConfigSummary) -> UnwatchedView:
    served = registry.current(model)
    return UnwatchedView(
        config=summary,
        host=beside.pressing.host,
        model=model,
        version=served,
        attention=unwatched_attention(served, beside.obstacles.get(model)),
    )


def version_lane(reader: SeriesReader, registry: Registry, state: ModelState) -> list[VersionLine]:
    """The latest versions, newest first. One whose manifest cannot be read says why and hides no other."""
    return [
        version_line(reader, registry, state, version)
        for version in reversed(registry.versions(state.model)[-MOST_VERSIONS:])
    ]


def version_line(reader: SeriesReader, registry: Registry, state: ModelState, version: int) -> VersionLine:
    """One version with its lineage, or with why its manifest cannot be read."""
    known = VersionLine(
        version=version,
        serves=version == state.champion,
        barred=version in state.barred,
        approved_by=reader.approver(state.model, version),
        stages=stage_lines(reader, state.model, version),
    )
    try:
        return _lineage(known, registry.manifest(state.model, version))
    except ManifestError as error:
        return UnreadableVersion(**msgspec.structs.asdict(known), error=str(error))


def _lineage(known: VersionLine, manifest: Manifest) -> VersionLineage:
    data, trainer, gate = manifest.data, manifest.trainer, manifest.gate or {}
    return VersionLineage(
        **msgspec.structs.asdict(known),
        created_at=manifest.created_at,
        trigger=manifest.trigger,
        reason=manifest.reason,
        parent=manifest.parent,
        status=manifest.status,
        data=VersionData(
            manifest.snapshot,
            data.get("rows"),
            data.get("chosen"),
            data.get("first_at"),
            data.get("last_at"),
            (data.get("sample") or {}).get("kept"),
        ),
        code=VersionCode(trainer.reference, trainer.fingerprint, trainer.commit, trainer.dirty),
        parameters=manifest.parameters,
        seed=manifest.seed,
        metrics=manifest.metrics,
        gate=VersionGate(gate.get("decision"), gate.get("sentence")),
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """The checks of a span, in groups that a chart can show."""

    spans: list[Span]
    extent: Shown
    grouping: Grouping
    by_time: bool
    length: float  # of a window, seconds; 0 for windows of rows
    windows: list[CheckedWindows]
    labels: list[CheckedWindows]

    @classmethod
    def read(cls, reader: SeriesReader, model: str, config: ConfigInForce, asked: Asked) -> _Axis:
        extent, spans = window_range(reader, model, config, asked)
        first, last = extent.first, extent.last
        by_time = not config.by_rows(model)
        length = config.window_seconds(model) or 0.0
        windows, labels = (
            [CheckedWindows.read(row, by_time=by_time) for row in reader.checks_from(model, kind, first, last)]
            for kind in ("window", "labels")
        )
        return cls(spans, extent, Grouping.of(first, max(first, last)), by_time, length, windows, labels)

    @property
    def since(self) -> float:
        return min((check.at for check in (*self.windows[:1], *self.labels[:1])), default=0.0)

    @property
    def until(self) -> float:
        """Up to when decisions belong to the extent: for ever, with its newest window; 0 where it is empty."""
        if self.extent.last < self.extent.first:
            return 0.0
        checks = [check.at for check in (*self.windows[-1:], *self.labels[-1:])]
        return max(checks, default=0.0) + self.length if self.extent.span == "range" else float("inf")


def _marks(reader: SeriesReader, model: str, axis: _Axis, alarms: list[StoredAlarm]) -> list[TimelineMark]:
    """What happened, where it stands on the axis: an alarm at the window that raised it, all else when it was done."""
    lines = [(event, event.at) for event in reader.events_between(model, axis.since, axis.until, MOST_MARKS)]
    found = [(event, at) for event, at in lines if event.event != Event.ALARM and meaning_of(event.event).is_marked]
    for alarm in alarms:
        event = reader.decision_of_alarm(alarm.id)
        at = happened_at(alarm, by_time=axis.by_time)
        if event is not None and at >= axis.since and axis.until:
            found.append((event, at))
    found.sort(key=lambda mark: (mark[1], mark[0].id))
    marks = []
    for event, at in found[-MOST_MARKS:]:
        line = msgspec.structs.replace(decision_line(event), at=at)
        marks.append(TimelineMark(**msgspec.structs.asdict(line), kind=event.decision_figures.kind))
    return marks


def _alarm_line(reader: SeriesReader, alarm: StoredAlarm, *, by_time: bool) -> AlarmLine:
    line = reader.decision_of_alarm(alarm.id)
    return AlarmLine(
        id=alarm.id,
        decision=None if line is None else line.id,
        at=alarm.at,
        happened_at=happened_at(alarm, by_time=by_time),
        kind=alarm.kind,
        subject=alarm.subject,
        version=alarm.version,
        sentence=alarm.sentence,
        absorbed_at=alarm.absorbed_at,
        report=alarm.report is not None,
        leaders=alarm.leaders[:5],
    )

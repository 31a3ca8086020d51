"""One decision told whole: the sentence, the figures, the rows counted, the config, what led to it and followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from driftd.actions import ActionKind, DecisionParts
from driftd.decisions import Severity, meaning_of
from driftd.events import Event
from driftd.paths import Places
from driftd.records import ModelState, Phase
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.sentences.decisions import parts_of
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm, StoredTransition
from driftd.views.config import config_in_force, model_as_yaml
from driftd.views.fleet import what_of
from driftd.views.stages import StageLine, stage_lines

LOOKED_BACK = 5_000  # decisions, for those that belong to one story


class DecisionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A line of history with what its event means."""

    id: int
    at: float
    model: str
    event: str
    meaning: str
    reason: str
    parts: DecisionParts  # what is said of it: what changed, how sure, what happens next, the figures
    figures: Mapping[str, object]  # as they are stored, only to be shown
    phase_from: str
    phase_to: str
    by: str
    config_hash: str


class ActionLine(msgspec.Struct, frozen=True):
    """What a decision set going, and how far it came."""

    kind: ActionKind
    status: str
    arguments: Mapping[str, object]
    result: Mapping[str, object] | None


class StoryLine(msgspec.Struct, frozen=True):
    """One of the decisions that belong together."""

    id: int
    at: float
    event: str
    reason: str  # as it is recorded
    sentence: str  # what is said of it


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a decision or an alarm. `rows` and `window_by` are set where there is an alarm."""

    decision: DecisionDetail | None
    alarm: StoredAlarm | None
    actions: list[ActionLine]
    version: Mapping[str, object] | None  # the manifest of the version, as it lies on the disk
    story: list[StoryLine]  # oldest first
    stages: list[StageLine] | UnsetType = UNSET  # of the build that it is about, where any are kept
    rows: int | UnsetType | None = UNSET  # of the window of the alarm
    window_by: Literal["rows", "time"] | UnsetType = UNSET


class AppliedConfig(msgspec.Struct, frozen=True):
    """The config under which a decision was made; of it, the section of the decision's model as YAML."""

    hash: str
    at: float
    model: str


class DecisionView(Explanation, frozen=True, kw_only=True):
    """An explanation as the page shows it."""

    config: AppliedConfig | None
    report: bool
    title: str
    severity: Severity
    now: str | None  # what holds now of an alarm, where that is more than was known when it was said


def explain_decision(
    reader: StateReader,
    by_rows: Callable[[str], bool],
    places: Places,
    line: StoredTransition | None,
    alarm: StoredAlarm | None,
) -> Explanation:
    """Gather everything that is known of a decision or an alarm.

    `by_rows` tells of a model whether its windows count rows.
    """
    actions = reader.actions_of(line.id) if line is not None else []
    version = None if line is None else line.decision_figures.version
    manifest = _manifest(places, line.model, version) if line is not None else None
    return Explanation(
        decision=None if line is None else _decision(line),
        alarm=alarm,
        actions=[ActionLine(action.kind, action.status, action.arguments, action.result) for action in actions],
        version=None if manifest is None else manifest.to_dict(),
        story=[_story_line(event) for event in _story(reader, line, alarm)],
        stages=UNSET if line is None or version is None else stage_lines(reader, line.model, version) or UNSET,
        rows=UNSET if alarm is None else _rows(reader, alarm),
        window_by=UNSET if alarm is None else "rows" if by_rows(alarm.model) else "time",
    )


def _story_line(line: StoredTransition) -> StoryLine:
    return StoryLine(line.id, line.at, line.event, line.reason, what_of(line))


def _decision(line: StoredTransition) -> DecisionDetail:
    return DecisionDetail(
        id=line.id,
        at=line.at,
        model=line.model,
        event=line.event,
        meaning=meaning_of(line.event).explanation,
        reason=line.reason,
        parts=parts_of(line.model, line.event, line.reason, line.decision_figures),
        figures={name: value for name, value in line.figures.items() if name != "parts"},
        phase_from=line.phase_from,
        phase_to=line.phase_to,
        by=line.actor,
        config_hash=line.config_hash,
    )


def _story(reader: StateReader, line: StoredTransition | None, alarm: StoredAlarm | None) -> list[StoredTransition]:
    """The decisions that belong together, oldest first: the alarm, the build that it caused, that version's life."""
    model = line.model if line is not None else alarm.model if alarm is not None else None
    lines = list(reversed(reader.history(model, LOOKED_BACK)))
    starts = (Event.BUILD_STARTED, Event.BUILD_RETRIED)
    start = _start_of([event for event in lines if event.event in starts], line, alarm)
    version = start.decision_figures.version if start is not None else None
    if start is None or version is None:
        return []
    alarms = [event for event in lines if event.event == Event.ALARM and event.id < start.id and _led_to(event, start)]
    return [*alarms[-1:], *(event for event in lines if _is_about(event, version))]


def _start_of(
    starts: list[StoredTransition], line: StoredTransition | None, alarm: StoredAlarm | None
) -> StoredTransition | None:
    """The start of the build that a decision belongs to: by its version, else by the alarm that caused the build."""
    version = None if line is None else _version_of(line)
    if version is not None:
        return next((start for start in starts if start.decision_figures.version == version), None)
    if alarm is None:
        return None
    later = (start for start in starts if start.at >= alarm.at)
    return next((start for start in later if _is_caused_by(start, alarm.id, alarm.sentence)), None)


def _version_of(line: StoredTransition) -> int | None:
    """Which version's story a decision belongs to: a rollback belongs to that of the version that was left."""
    figures = line.decision_figures
    left = figures.from_version if line.event == Event.ROLLED_BACK else None
    return figures.version if left is None else left


def _led_to(alarmed: StoredTransition, start: StoredTransition) -> bool:
    """Whether the alarm that a line tells of caused a build."""
    parts = alarmed.decision_figures.parts
    sentence = alarmed.reason.rpartition("; ")[0] or alarmed.reason if parts is None else parts.what
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


def _manifest(places: Places, model: str, version: int | None) -> Manifest | None:
    try:
        return None if version is None else Registry(places).manifest(model, version)
    except ManifestError:
        return None


def decision_view(
    reader: SeriesReader, places: Places, *, decision: int | None, alarm: int | None
) -> DecisionView | None:
    """A decision or an alarm for the page: its explanation, the alarm's line of history and the config.

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
    return DecisionView(
        **msgspec.structs.asdict(explanation),
        config=None if line is None else _applied_config(reader, line),
        report=raised is not None and raised.report is not None,
        title=meaning_of(line.event).title if line is not None else "Alarm",
        severity=meaning_of(line.event).severity if line is not None else Severity.WARNING,
        now=None if raised is None else what_holds_now(reader.model(raised.model), raised),
    )


def what_holds_now(state: ModelState | None, alarm: StoredAlarm) -> str | None:
    """What an alarm leads to by now, where another version serves or one waits for a person; else None."""
    if state is None or state.champion is None:
        return None
    if state.champion != alarm.version:
        return f"Nothing: version {state.champion} serves now."
    number = None if state.build is None else state.build.candidate
    if state.phase is Phase.AWAITING_APPROVAL and number is not None:
        return f"Version {number} waits for a person to approve it."
    return None


def _applied_config(reader: SeriesReader, line: StoredTransition) -> AppliedConfig | None:
    applied = reader.config(line.config_hash)
    return None if applied is None else AppliedConfig(applied.hash, applied.at, model_as_yaml(applied, line.model))

"""The report of an alarm or a decision to forward: what changed, since when, where, its cost, and what was done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import msgspec

from driftd.decisions import Severity
from driftd.events import Event
from driftd.formatting import format_time
from driftd.paths import Places
from driftd.records import ModelState
from driftd.registry import ManifestError, Registry
from driftd.registry.version_quality import SegmentQuality
from driftd.sentences.alarms import kind_name, sentence
from driftd.sentences.decisions import parts_of
from driftd.store.state.chart_queries import SeriesReader
from driftd.store.state.records import StoredAlarm, StoredTransition
from driftd.views.choices import feature_names, happened_at
from driftd.views.config import config_in_force
from driftd.views.decision import DecisionView, decision_view, what_holds_now
from driftd.views.lineage import judged_segments
from driftd.views.metric_curve import MetricCurve, metric_curve
from driftd.views.moved_features import MovedFeature, moved_features
from driftd.views.report_commands import ReportCommand, report_commands
from driftd.views.report_costs import CostLine, affected_windows, build_lines, loss_lines, prices_of
from driftd.views.report_steps import ReportStep, report_steps, stages_in_words

MOST_PARTS = 5
ABOUT_ALARMS = frozenset({Event.ALARM, Event.ALARM_CLEARED, Event.ALARM_UNATTENDED, Event.ALARM_ACKNOWLEDGED})
FOLLOWED = "What followed then stands under What was done."
MOST_BACK = 2_000  # windows between the change and its alarm
WINDOWS_OF_NO_ALARM = 24  # before a decision that no alarm led to


class ChangedPart(msgspec.Struct, frozen=True):
    """A segment or a column with its share of what the alarm is about."""

    name: str
    is_feature: bool
    share: float


class DecisionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that stands on the page."""

    model: str
    alarm: int | None
    decision: int | None
    title: str
    severity: Severity
    versions: str  # in words
    what: str
    sure: str
    since: str
    standing: str  # how it stands now
    following: str  # what happens next
    figures: str
    features: list[MovedFeature]
    curve: MetricCurve | None
    parts: list[ChangedPart]
    segments: list[SegmentQuality]  # as the gate judged the version; the whole first
    segments_metric: str | None
    costs: list[CostLine]
    steps: list[ReportStep]
    omitted: int  # steps between the first and those that are shown
    stages: str  # of the build, in one line
    commands: list[ReportCommand]
    has_opinion: bool  # whether Evidently's page of the alarm is there
    made_at: float
    program: str


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a report is about, as it is gathered."""

    reader: SeriesReader
    registry: Registry
    model: str
    view: DecisionView
    line: StoredTransition | None
    raised: StoredAlarm | None  # the alarm itself, or the one that led to the decision
    lines: list[StoredTransition]  # what belongs together, oldest first
    state: ModelState | None
    by_time: bool

    @property
    def alarm(self) -> StoredAlarm | None:
        """The alarm that the report is of; None where it is of another decision."""
        return self.view.alarm if self.line is None or self.line.event in ABOUT_ALARMS else None

    @property
    def windows(self) -> tuple[int, int] | None:
        """The windows from the change to the alarm; without an alarm the last ones before the decision."""
        if self.raised is not None:
            alarm = self.raised
            length = alarm.window_end - alarm.window_start
            start = alarm.change_start
            back = 0 if start is None or length <= 0 else round((alarm.window_start - start) / length)
            return alarm.window_index - max(0, min(MOST_BACK, back)), alarm.window_index
        known = None if self.line is None else self.reader.windows_between(self.model, 0.0, self.line.at)
        return None if known is None else (max(known[0], known[1] - WINDOWS_OF_NO_ALARM + 1), known[1])

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of the version that the alarm is about, else of the one that serves."""
        serving = None if self.state is None else self.state.champion
        return feature_names(self.registry, self.model, serving if self.raised is None else self.raised.version)

    @property
    def is_current(self) -> bool:
        """Whether what was said of the next step still holds: nothing that belongs to it was decided since."""
        return self.line is None or not self.lines or self.lines[-1].id <= self.line.id

    @property
    def built(self) -> list[int]:
        """The versions whose builds belong to it."""
        versions = (line.decision_figures.version for line in self.lines)
        own = None if self.line is None else self.line.decision_figures.version
        return sorted({version for version in (*versions, own) if version is not None})


def decision_report(
    reader: SeriesReader, places: Places, *, decision: int | None, alarm: int | None, now: float
) -> DecisionReport | None:
    """The report of a decision or an alarm as it stands at `now` (epoch seconds).

    None when there is no decision or alarm of this number.
    """
    view = decision_view(reader, places, decision=decision, alarm=alarm)
    if view is None:
        return None
    subject = _subject(reader, places, view)
    config, line, raised, windows = config_in_force(reader), subject.line, subject.raised, subject.windows
    metric = config.metric(subject.model, reader)
    what, sure, following, figures = _sentences(subject)
    steps, omitted = report_steps(subject.lines, None if subject.line is None else subject.line.id)
    segments, segments_metric = _segments(subject)
    return DecisionReport(
        model=subject.model,
        alarm=None if raised is None else raised.id,
        decision=None if line is None else line.id,
        title=view.title if subject.alarm is None else f"{view.title}: {kind_name(subject.alarm.kind)}",
        severity=view.severity,
        versions=_versions(subject),
        what=what,
        sure=sure,
        since=_since(subject),
        standing=_standing(subject),
        following=following,
        figures=figures,
        features=[]
        if windows is None
        else moved_features(reader, subject.registry, subject.model, _named_features(subject), windows),
        curve=None
        if windows is None
        else metric_curve(
            reader,
            subject.model,
            windows,
            kind=None if raised is None else raised.kind,
            metric=metric,
            by_time=subject.by_time,
        ),
        parts=_parts(subject),
        segments=segments,
        segments_metric=segments_metric,
        costs=_costs(subject, metric),
        steps=steps,
        omitted=omitted,
        stages=stages_in_words(view.stages if isinstance(view.stages, list) else []),
        commands=report_commands(
            reader,
            subject.state,
            view,
            features=subject.features,
            by_time=subject.by_time,
            can_train=config.can_train(subject.model),
        ),
        has_opinion=raised is not None
        and raised.report is not None
        and places.report(raised.model, raised.id).is_file(),
        made_at=now,
        program=_program(),
    )


def _subject(reader: SeriesReader, places: Places, view: DecisionView) -> _Subject:
    line = None if view.decision is None else reader.transition(view.decision.id)
    known = [reader.transition(entry.id) for entry in view.story]
    lines = [entry for entry in known if entry is not None]
    raised = view.alarm
    if raised is None:  # the alarm that led to the build
        number = next((each.decision_figures.alarm for each in lines if each.decision_figures.alarm is not None), None)
        raised = None if number is None else reader.alarm(number)
    assert line is not None or raised is not None  # a view is of one of them
    model = line.model if line is not None else raised.model if raised is not None else ""
    if not lines and raised is not None:
        lines = [each for each in reader.decisions_of(model) if each.decision_figures.alarm == raised.id]
    lines = lines or ([] if line is None else [line])
    by_time = not config_in_force(reader).by_rows(model)
    return _Subject(reader, Registry(places), model, view, line, raised, lines, reader.model(model), by_time)


def _sentences(subject: _Subject) -> tuple[str, str, str, str]:
    """What changed, how sure that is, what happens next, the figures; an old alarm has its sentence alone."""
    line = subject.line
    if line is not None:
        parts = parts_of(line.model, line.event, line.reason, line.decision_figures)
        return parts.what, parts.sure, _next_step(subject, parts.next), parts.figures
    assert subject.raised is not None  # see _subject
    return sentence(subject.raised.sentence), "", "", ""


def _next_step(subject: _Subject, said: str) -> str:
    """What happens next, unless more is known by now than when it was said."""
    now = None if subject.alarm is None else what_holds_now(subject.state, subject.alarm)
    return now or (said if subject.is_current else FOLLOWED)


def _since(subject: _Subject) -> str:
    alarm, line = subject.alarm, subject.line
    if alarm is None:
        return "" if line is None else f"Decided at {format_time(line.at)} by {line.actor}."
    if not subject.by_time:
        since = "" if alarm.change_start is None else f"Most likely since row {alarm.change_start:,.0f}; "
        rows = f"seen in the rows {alarm.window_start:,.0f} to {alarm.window_end:,.0f}"
        return f"{since}{rows}, at {format_time(alarm.at)}."
    since = "" if alarm.change_start is None else f"Most likely since {format_time(alarm.change_start)}; "
    return (
        f"{since}seen in the window until {format_time(happened_at(alarm, by_time=True))}. "
        f"driftd raised the alarm at {format_time(alarm.at)}."
    )


def _standing(subject: _Subject) -> str:
    alarm, champion = subject.alarm, None if subject.state is None else subject.state.champion
    if alarm is None:
        return "" if champion is None else f"Version {champion} serves now."
    if alarm.cleared_at is not None:
        return f"It is over: its evidence fell, {format_time(alarm.cleared_at)}."
    if alarm.absorbed_at is not None:
        return f"It was accepted as the new normal, {format_time(alarm.absorbed_at)}."
    if champion is not None and champion != alarm.version:
        return f"It is over: version {champion} serves now."
    return "It stands."


def _versions(subject: _Subject) -> str:
    if subject.alarm is not None:
        number = subject.alarm.version
        return "no version" if number is None else f"version {number}"
    figures = None if subject.line is None else subject.line.decision_figures
    if figures is None or figures.version is None:
        return ""
    before = figures.from_version or figures.champion or figures.previous
    return f"version {figures.version}" if before is None else f"version {before} → version {figures.version}"


def _named_features(subject: _Subject) -> list[str]:
    """The columns that the alarm names, as it orders them."""
    if subject.raised is None:
        return []
    known = {*subject.features, "prediction"}
    return [name for name, _ in subject.raised.leaders if name in known]


def _parts(subject: _Subject) -> list[ChangedPart]:
    """The segments and columns that the alarm names, the largest share first; not the metric itself."""
    alarm = subject.raised
    if alarm is None:
        return []
    known = subject.features
    named = [(name, share) for name, share in alarm.leaders if alarm.kind != "performance" or name != alarm.subject]
    ranked = sorted(named, key=lambda part: -part[1])[:MOST_PARTS]
    return [ChangedPart(name, alarm.kind != "performance" or name in known, share) for name, share in ranked]


def _segments(subject: _Subject) -> tuple[list[SegmentQuality], str | None]:
    """What the gate found of the version, of all rows and of the segments whose loss differs most."""
    figures = None if subject.line is None else subject.line.decision_figures
    if subject.alarm is not None or figures is None or figures.version is None:
        return [], None
    try:
        found, metric = judged_segments(subject.registry.manifest(subject.model, figures.version))
    except ManifestError:
        return [], None
    whole = [each for each in found if not each.segment]
    parts = sorted((each for each in found if each.segment), key=lambda each: -abs(each.gain or 0.0))
    return [*whole, *parts][: MOST_PARTS + len(whole)], metric


def _costs(subject: _Subject, metric: str | None) -> list[CostLine]:
    errors, builds = prices_of(subject.reader, subject.model)
    lines, alarm, windows = [], subject.raised, subject.windows
    if alarm is not None and windows is not None and alarm.kind != "quality":
        found = affected_windows(
            subject.reader,
            subject.model,
            alarm.version,
            windows[0],
            until=alarm.cleared_at or alarm.absorbed_at or math.inf,
            metric=metric,
            by_time=subject.by_time,
        )
        lines += loss_lines(found, errors)
    elif alarm is not None and isinstance(subject.view.rows, int):
        lines.append(CostLine("Rows of the window", f"{subject.view.rows:,}"))
    return [*lines, *build_lines(subject.reader, subject.model, subject.built, builds)]


def _has_opinion(places: Places, raised: StoredAlarm | None) -> bool:
    """Whether Evidently's page is there: retention may have taken it."""
    return raised is not None and raised.report is not None and places.report(raised.model, raised.id).is_file()


def _program() -> str:
    try:
        return f"driftd {version('driftd')}"
    except PackageNotFoundError:  # from its sources, not installed
        return "driftd"

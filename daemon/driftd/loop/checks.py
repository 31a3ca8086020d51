"""One check: which windows and cohorts are due, reading a window, its Profile, the monitor's assessment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile

import numpy as np
import structlog

from driftd.loop.attribution import KnownRows, with_attribution
from driftd.loop.resume import MonitorState
from driftd.loop.supervision import SourceDamagedError, TimeoutWorker
from driftd.plugins.client import WantedScore, score_window, with_own_loss
from driftd.plugins.process import HelperProcess
from driftd.records import Alarm, Verdict, Window
from driftd.sources.protocol import Extent, Source, WindowSpec, due_windows, window_at
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredCheck
from driftd_detectors.assessment import Assessment, EvidenceKind, KindAssessment
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.monitor import Monitor
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of
from driftd_detectors.quality.checks import LEVEL_FAULTS
from driftd_detectors.quality.faults import unseen_label
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Schema, is_own

FOREIGN_SHARE = 0.1  # of a window's rows may come from another version than the champion (requests on their way)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The assessment of a check, and the monitor after it."""

    monitor: Monitor
    assessment: Assessment
    profile: Profile | None = None
    span: tuple[float, float] | None = None  # of the times of the window's rows: `start <= at < end`, epoch seconds


@dataclass(frozen=True, slots=True)
class ServedBy:
    """Whose predictions the rows of a window should be, and which rows are surely another version's."""

    champion: int
    others: frozenset[int] | None = None  # versions of ours, where the champion is known by its log alone: whatever
    # number the system that serves it gives it, it is none of these
    since: float = -np.inf  # epoch seconds: older rows that name no version were predicted by the version before

    def foreign_rows(self, outcomes: Outcomes) -> int:
        """How many predictions are another version's; 0 stands for "made elsewhere"."""
        version = outcomes.version
        if self.others is not None:
            return int(np.count_nonzero(np.isin(version, list(self.others))))
        unnamed = (version <= 0) & (outcomes.at < self.since)
        return int(np.count_nonzero(((version != self.champion) & (version > 0)) | unnamed))


@dataclass(frozen=True, slots=True)
class WindowData:
    """One window read once."""

    profile: Profile
    first_at: float  # NaN when the window is empty
    last_at: float
    foreign: int  # rows that another version than the champion predicted


def read_window(source: Source, window: Window, reference: Reference, served: ServedBy) -> WindowData:
    """Merge the Profiles of a window's chunks, in the words of the reference; memory is bounded by one chunk."""
    layout, schema = reference.layout, reference.schema
    names = schema.category_names
    profile, foreign = empty_profile(layout), 0
    first_at = last_at = float("nan")
    for columns, outcomes in source.chunks(window):
        profile = merge(profile, profile_of(columns.rename_categories(names), outcomes.among(schema.classes), layout))
        foreign += served.foreign_rows(outcomes)
        if outcomes.rows:
            first_at = float(np.fmin(first_at, np.min(outcomes.at)))
            last_at = float(np.fmax(last_at, np.max(outcomes.at)))
    return WindowData(profile, first_at, last_at, foreign)


def check_window(
    source: Source, window: Window, monitor: Monitor, served: ServedBy, labelled_at: float | None = None
) -> CheckResult:
    """Evaluate data, prediction and quality of one window; `labelled_at` is the time of the newest label."""
    read = read_window(source, window, monitor.reference, served)
    rows = read.profile.rows
    if read.foreign > FOREIGN_SHARE * max(rows, 1):
        sentence = f"{read.foreign} of {rows} predictions were made by another version than {served.champion}"
        return CheckResult(monitor, Assessment(Verdict.INCONCLUSIVE, sentence, rows), read.profile)
    if window.by == "time":
        span = window.start, window.end
    else:
        span = read.first_at, float(np.nextafter(read.last_at, np.inf))
    after, assessment = monitor.check(read.profile, span[0], labelled_at)
    return CheckResult(after, assessment, read.profile, span)


def check_labels(
    source: Source,
    window: Window,
    monitor: Monitor,
    served: ServedBy,
    now: float,
    classes: Collection[str] = (),
    helper: HelperProcess | None = None,
    spec: WindowSpec | None = None,
) -> CheckResult:
    """Evaluate the performance of one window's predictions by the labels known now.

    `classes` are those that the config names beyond those of the version: labels of them are not counted as a fault.
    `helper` is asked where the metric is a function of the user; with `spec`, how windows are cut, an alarm that is
    raised says where the loss comes from.
    """
    columns, outcomes = read_cohort(source, window, monitor, now)
    if helper is not None and (metric := own_metric(monitor)) is not None:
        outcomes = with_own_loss(helper, metric, outcomes)
    start, end = extent_of(window, outcomes)
    after, assessment = monitor.check_labels(outcomes, start, max(0.0, now - end), columns)
    assessment = replace(assessment, figures={**assessment.figures, **arrivals_of(outcomes)})
    assessment = _with_strays(assessment, outcomes, classes)
    foreign = served.foreign_rows(outcomes)
    if foreign > FOREIGN_SHARE * max(outcomes.rows, 1):
        sentence = f"{foreign} of {outcomes.rows} predictions were made by another version than {served.champion}"
        return CheckResult(monitor, replace(assessment, verdict=Verdict.INCONCLUSIVE, sentence=sentence, kinds=()))
    if spec is not None and any(kind.crossed for kind in assessment.kinds):
        assessment = with_attribution(assessment, source, spec, window, after, KnownRows(now, helper))
    return CheckResult(after, assessment)


def read_cohort(source: Source, window: Window, monitor: Monitor, now: float) -> tuple[Columns | None, Outcomes]:
    """The predictions of a window with the labels known now, and the features by which its segments are told."""
    schema, wanted = monitor.reference.schema, monitor.segment_columns
    if not wanted:
        return None, source.outcomes(window, now).among(schema.classes)
    columns, outcomes = source.cohort(window, now, wanted)
    return columns.rename_categories(schema.category_names), outcomes.among(schema.classes)


def own_metric(monitor: Monitor) -> str | None:
    """The function of the user that gives the losses; None where the metric is one of driftd's."""
    return monitor.loss.metric if monitor.loss is not None and is_own(monitor.loss.metric) else None


def learn_late_labels(source: Source, abandoned: Sequence[Window], monitor: Monitor, now: float) -> Monitor:
    """Learn how late labels come from windows whose labels were given up, oldest first: theirs may have come since."""
    cohorts = [source.outcomes(window, now) for window in abandoned]
    return monitor.learn_late_labels([cohort for cohort in cohorts if cohort.labelled.any()], now)


def _with_strays(assessment: Assessment, outcomes: Outcomes, classes: Collection[str]) -> Assessment:
    """The assessment of a cohort with the labels that are no class of its version; each counts as wrong for its row."""
    strays = int(np.count_nonzero(outcomes.strays))
    if not outcomes.classes:
        return assessment
    counted = replace(assessment, figures={**assessment.figures, "unseen_labels": float(strays)})
    fault = unseen_label(outcomes, classes) if strays else None
    if fault is None:
        return counted
    return replace(counted, faults=(*counted.faults, fault), sentence=f"{counted.sentence}; {fault.sentence}")


def arrivals_of(outcomes: Outcomes) -> dict[str, float]:
    """How the labels of a window came: their median delay in seconds, and when the newest did. Empty without labels."""
    known = np.isfinite(outcomes.label_at)
    if not known.any():
        return {}
    delay = np.median(outcomes.label_at[known] - outcomes.at[known])
    return {"label_delay": float(delay), "newest_label_at": float(outcomes.label_at[known].max())}


def extent_of(window: Window, outcomes: Outcomes) -> tuple[float, float]:
    """Start and end of a window in epoch seconds; those of its rows when the window counts rows."""
    if window.by == "time":
        return window.start, window.end
    return (float(np.min(outcomes.at)), float(np.max(outcomes.at))) if outcomes.rows else (0.0, 0.0)


def error_assessment(error: Exception, rows: int = 0) -> Assessment:
    """The verdict of a check that could not run."""
    return Assessment(Verdict.ERROR, f"the check failed: {type(error).__name__}: {error}", rows)


def alarm_of(kind: KindAssessment) -> Alarm:
    """The alarm that an assessment of one kind of evidence raises."""
    return Alarm(
        kind=str(kind.kind),
        subject=kind.leaders[0][0] if kind.leaders else str(kind.kind),
        evidence=kind.evidence,
        threshold=kind.threshold,
        sentence=kind.sentence,
        change_start=kind.change_start,
    )


def fault_in(assessment: Assessment) -> str | None:
    """The sentence of the pipeline's faults that are certain enough to block builds; None when it is whole."""
    certain = [fault.sentence for fault in assessment.faults if fault.alarm]
    if not certain:
        return None
    more = f" (and {len(certain) - 3} more faults)" if len(certain) > 3 else ""  # noqa: PLR2004 - three are readable
    return "; ".join(certain[:3]) + more


def is_level_fault(assessment: Assessment) -> bool:
    """Whether the rows came whole, and only hold values that were never seen before."""
    return all(fault.fault in LEVEL_FAULTS for fault in assessment.faults if fault.alarm)


def is_conclusive(assessment: Assessment, kind: EvidenceKind) -> bool:
    """Whether this check reached a verdict on a kind of evidence."""
    found = assessment.of(kind)
    return found is not None and found.verdict not in (Verdict.INCONCLUSIVE, Verdict.ERROR)


log = structlog.get_logger()

WINDOWS_A_STEP = 32  # so that a model that catches up leaves the others their turn
TRIES = 3  # a check that fails is tried again before the failure becomes its verdict
LOOKS_A_SPAN = 20  # how often a waiting cohort is looked at within the time its labels usually take
LONGEST_LOOK = 3600.0  # seconds between looks where it is unknown how late labels come
LOOK_OF_ROWS = 60.0  # the same where windows have no length
RUN = 336  # checks of labels that are searched for those that were given up in a row
FAULTY = Assessment(
    Verdict.INCONCLUSIVE, "the pipeline was broken in this window: its labels say nothing of the model", 0
)
LATE_COHORTS = 4  # that were given up, and are asked again how late their labels came


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One check made: `kind` is `window` (data, prediction, quality) or `labels` (performance)."""

    kind: str
    window: Window
    result: CheckResult
    seconds: float


@dataclass(slots=True)
class CheckScheduler:
    """Schedules the checks of one model. The cursors are in the store and move with every recorded check."""

    model: str
    window: WindowSpec
    source: Source
    guard: TimeoutWorker
    lateness: float  # seconds that stragglers have after a window's end
    classes: frozenset[str] = frozenset()  # that the config names
    helper: HelperProcess | None = None  # for the user's own metric and detectors
    detectors: Callable[[int, Schema], list[WantedScore]] | None = None  # of a version with this schema
    tries: int = 0
    extent: Extent | None = None
    labels_not_before: float = 0.0  # no cohort can be ready sooner
    has_settled: bool = False  # the oldest waiting cohort waits in vain: its labels came, and it is unknown how late
    _new_schema: Schema | None = None  # that the source reads by from its next look on
    _run: tuple[int, tuple[StoredCheck, ...]] = (0, ())  # the newest check of labels, and those given up until it

    def use_schema(self, schema: Schema) -> None:
        """Have the source read by the schema of the version that serves now, from its next look on."""
        self._new_schema = schema

    def refresh(self, now: float) -> None:
        """Read the extent of the source."""
        if self._new_schema is not None:
            self.guard.run(self.source.use_schema, self._new_schema)
            self._new_schema = None
        before, remarks = (self.extent.faults, self.extent.remarks) if self.extent is not None else ((), ())
        self.extent = self.guard.run(self.source.refresh, now)
        faults = self.extent.faults
        if faults and faults != before:
            log.warning("source_faults", model=self.model, count=len(faults), first=faults[0])
        elif before and not faults:
            log.info("source_whole_again", model=self.model)
        for remark in self.extent.remarks:
            if remark not in remarks:
                log.info("source_remark", model=self.model, remark=remark)

    def due(self, store: StateReader, now: float) -> list[Window]:
        """The complete windows that no check has evaluated, oldest first."""
        if self.extent is None:
            return []
        return list(due_windows(self.window, self.extent, store.cursor(self.model, "window"), now, self.lateness))

    def windows(self, due: list[Window], evidence: MonitorState, served: ServedBy) -> Iterator[CheckRun]:
        """Check the due windows in order.

        The caller records each run, which moves `evidence` on, before it takes the next.
        """
        for window in due[:WINDOWS_A_STEP]:
            monitor = evidence.current
            labelled_at = self._labelled_at(monitor, window)
            check = partial(check_window, self.source, window, monitor, served, labelled_at)
            run = self._try("window", window, monitor, check)
            if run is None:
                return
            yield self._with_detectors(run, served.champion)

    def _with_detectors(self, run: CheckRun, champion: int) -> CheckRun:
        """The check of a window with the scores of the user's detectors; of a broken window they are not asked."""
        result, monitor = run.result, run.result.monitor
        broken = any(fault.alarm for fault in result.assessment.faults)
        if self.helper is None or self.detectors is None or not result.assessment.kinds or broken or not result.span:
            return run
        said = score_window(self.helper, self.detectors(champion, monitor.reference.schema), monitor, run.window)
        for name, error in said.errors.items():
            log.warning("detector_failed", model=self.model, detector=name, window=run.window.index, error=error)
        after, assessment = said.monitor.check_detectors(result.assessment, said.scores, result.span[0])
        failed = [f"{name} gave no score: {error}" for name, error in said.errors.items()]
        sentence = "; ".join([assessment.sentence, *failed])
        assessment = replace(assessment, sentence=sentence, failed_detectors=tuple(said.errors))
        return replace(run, result=replace(result, monitor=after, assessment=assessment))

    def _labelled_at(self, monitor: Monitor, window: Window) -> float | None:
        """The time of the newest label; rows are only read for it where the source does not say and a column is new."""
        if self.extent is None or self.extent.newest_label_at is not None:
            return None if self.extent is None else self.extent.newest_label_at
        spells = monitor.quality.novelty.values()
        if not spells:
            return None
        since, until = min(seen.since for seen in spells), window.end
        count = self.guard.run(partial(self.source.count_labelled, since, until))
        return until if count else None

    def cohorts(self, store: StateReader, evidence: MonitorState, served: ServedBy, now: float) -> Iterator[CheckRun]:
        """Check the cohorts whose labels have had their time, in order, up to the first that must wait."""
        last, index = store.cursor(self.model, "window"), store.cursor(self.model, "labels")
        if last is None or now < self.labels_not_before:
            return
        first = index if index is not None else self._first_index(last)
        for number in range(first, min(last, first + WINDOWS_A_STEP)):
            window, monitor = window_at(self.window, number), evidence.current
            if store.is_faulty(self.model, number):
                yield CheckRun("labels", window, CheckResult(monitor, FAULTY), 0.0)
                continue
            if self.helper is not None and own_metric(monitor) is not None:
                self.helper.start()  # here: it ends with the thread that starts it, and the guard's may be left behind
            check = partial(
                check_labels, self.source, window, monitor, served, now, self.classes, self.helper, self.window
            )
            run = self._try("labels", window, monitor, check)
            if run is None or run.result.assessment.waits:
                self.has_settled = run is not None and "settled" in run.result.assessment.figures
                self.labels_not_before = now + self._between_looks(monitor)
                return
            self.has_settled = False
            yield self._with_late_labels(run, store, now) if "given_up" in run.result.assessment.figures else run

    def cohorts_waiting(self, store: StateReader) -> int:
        """How many checked windows have labels that are not evaluated yet."""
        last, index = store.cursor(self.model, "window"), store.cursor(self.model, "labels")
        return 0 if last is None else max(0, last - (index if index is not None else self._first_index(last)))

    def cohorts_not_evaluated(self, store: StateReader) -> int:
        """How many windows in a row had labels that came and were not evaluated: given up, or waiting in vain."""
        abandoned = self._abandoned_checks(store)
        newest = None if self.extent is None else self.extent.newest_label_at
        come = any(check.figures.get("labels") for check in abandoned)
        if abandoned and not come:
            come = newest is not None and newest > abandoned[0].at
        return (len(abandoned) if come else 0) + (self.cohorts_waiting(store) if self.has_settled else 0)

    def _abandoned_checks(self, store: StateReader) -> tuple[StoredCheck, ...]:
        """The checks of the cohorts that were given up since one was evaluated last, oldest first."""
        newest = store.newest_checks(self.model, "labels", 1)
        if not newest or "loss" in newest[0].figures:
            return ()
        if newest[0].id != self._run[0]:  # a round reads the whole run once for each check, not each time
            run = takewhile(lambda check: "loss" not in check.figures, store.newest_checks(self.model, "labels", RUN))
            self._run = newest[0].id, tuple(check for check in run if "given_up" in check.figures)[::-1]
        return self._run[1]

    def _with_late_labels(self, run: CheckRun, store: StateReader, now: float) -> CheckRun:
        """The monitor has learned from cohorts that were given up before, if their labels have come by now."""
        windows = [window_at(self.window, check.window_index) for check in self._abandoned_checks(store)[:LATE_COHORTS]]
        if not windows:
            return run
        monitor = self.guard.run(partial(learn_late_labels, self.source, windows, run.result.monitor, now))
        return replace(run, result=replace(run.result, monitor=monitor))

    def _between_looks(self, monitor: Monitor) -> float:
        age = monitor.label_age()
        if age is not None:
            return max(1.0, age / LOOKS_A_SPAN)
        return LOOK_OF_ROWS if self.window.every is None else min(LONGEST_LOOK, self.window.every / LOOKS_A_SPAN)

    def _first_index(self, last: int) -> int:
        """Cohorts begin with the window of the first event: none before it was ever checked."""
        if self.extent is None:
            return last
        every_window = due_windows(self.window, self.extent, None, float("inf"), self.lateness)
        return next((window.index for window in every_window), last)

    def _try(self, kind: str, window: Window, monitor: Monitor, check: Callable[[], CheckResult]) -> CheckRun | None:
        started = time.perf_counter()
        try:
            result = self.guard.run(check)
        except SourceDamagedError:
            raise  # no verdict: the window is checked once its rows are restored
        except Exception as error:
            log.warning(
                "check_failed", model=self.model, kind=kind, window=window.index, error=str(error), exc_info=True
            )
            self.tries += 1
            if self.tries < TRIES:
                return None
            result = CheckResult(monitor, error_assessment(error))
        self.tries = 0
        return CheckRun(kind, window, result, time.perf_counter() - started)

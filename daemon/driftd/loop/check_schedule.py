"""When which window and which cohort of labels of a model is checked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, takewhile

import structlog

from driftd.errors import raise_shortage
from driftd.formatting import format_time
from driftd.loop.checks import (
    CheckResult,
    check_labels,
    check_window,
    error_assessment,
    learn_late_labels,
    own_metric,
)
from driftd.loop.resume import MonitorState
from driftd.loop.step_schedule import rest_of
from driftd.loop.supervision import SourceDamagedError, SourceUnansweredError, StopAskedError, TimeoutWorker
from driftd.observe.model_metrics import ModelMetrics
from driftd.plugins.client import WantedScore, score_window
from driftd.plugins.process import HelperProcess
from driftd.records import Verdict, Window
from driftd.sources.protocol import (
    Extent,
    Source,
    WindowAbsentError,
    WindowSpec,
    believed_now,
    count_ahead,
    count_due,
    due_windows,
    find_clock_fault,
    is_clock_ahead,
    window_at,
    window_index,
)
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredCheck
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment
from driftd_detectors.monitor import Monitor
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import ServedBy

log = structlog.get_logger()

WINDOWS_A_STEP = 32  # so that a model that catches up leaves the others their turn
CLOCKS_DIFFER = 120.0  # seconds that a check may lie ahead: the clock is slewed, or was set a little
TRIES = 3  # a check that fails is tried again before the failure becomes its verdict
LOOKS_A_SPAN = 20  # how often a waiting cohort is looked at within the time its labels usually take
LONGEST_LOOK = 3600.0  # seconds between looks where it is unknown how late labels come
LONGEST_WAIT = 30 * 86_400.0  # seconds that a look at labels lies ahead at most; more is a clock that was set back
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
    open_source: Callable[[], Source] | None = None  # again, after a hang
    _generation: int = 0  # of the guard's threads, which the source is read in
    _schema: Schema | None = None  # of a later version than the one that the source is opened for
    _new_schema: Schema | None = None  # that the source reads by from its next look on
    _run: tuple[int, tuple[StoredCheck, ...]] = (0, ())  # the newest check of labels, and those given up until it

    def use_schema(self, schema: Schema) -> None:
        """Have the source read by the schema of the version that serves now, from its next look on."""
        self._new_schema = self._schema = schema

    def current_source(self) -> Source:
        """The source; another one after a hang whose thread is lost with what it held."""
        if self.open_source is not None and self._generation != self.guard.generation:
            self.source, self._generation = self.open_source(), self.guard.generation
            self._new_schema = self._schema
        return self.source

    def rest(self) -> None:
        """Give back the descriptors of the source; the next look takes others. One that does not answer keeps them."""
        with contextlib.suppress(Exception, StopAskedError):  # a stop is seen again by whoever can take it
            self.guard.run(self.source.close)

    def forget(self) -> None:
        """Know nothing of the cohorts that were checked last: their checks have not landed."""
        self.labels_not_before, self.has_settled, self._run = 0.0, False, (0, ())

    def refresh(self, now: float) -> None:
        """Read the extent of the source."""
        source = self.current_source()
        if (schema := self._new_schema) is not None:
            self.guard.resume(("schema", id(schema)), partial(source.use_schema, schema))
            self._new_schema = None
        before, remarks = (self.extent.faults, self.extent.remarks) if self.extent is not None else ((), ())
        self.extent = self.guard.resume("refresh", partial(source.refresh, now))
        faults = self.extent.faults
        if faults and faults != before:
            log.warning("source_faults", model=self.model, count=len(faults), first=faults[0])
        elif before and not faults:
            log.info("source_whole_again", model=self.model)
        for remark in self.extent.remarks:
            if remark not in remarks:
                log.info("source_remark", model=self.model, remark=remark)

    def due(self, store: StateReader, now: float) -> list[Window]:
        """The complete windows that no check has evaluated, oldest first: those of one step."""
        if self.extent is None:
            return []
        now = believed_now(self.window, self.extent, now, self.lateness)
        windows = due_windows(self.window, self.extent, store.cursor(self.model, "window"), now, self.lateness)
        return list(islice(windows, WINDOWS_A_STEP))

    def count_due(self, store: StateReader, now: float) -> int:
        """How many complete windows no check has evaluated."""
        if self.extent is None:
            return 0
        now = believed_now(self.window, self.extent, now, self.lateness)
        return count_due(self.window, self.extent, store.cursor(self.model, "window"), now, self.lateness)

    def count_ahead(self, store: StateReader, now: float) -> int:
        """How many windows that cannot have been yet were passed over, by a clock that was ahead."""
        return (
            0 if self.extent is None else count_ahead(self.window, self.extent, store.cursor(self.model, "window"), now)
        )

    def reset_cursor(self, store: StateStore, now: float) -> tuple[str, bool]:
        """Set the cursors back from windows that cannot have been yet; call it inside a transaction.

        The checks that a clock ahead of `now` made are forgotten, because their windows come again. Returns what was
        done, empty where there was nothing, and whether forgotten checks had evidence: then that must begin anew.
        """
        first, had_evidence = store.forget_checks_after(self.model, now + CLOCKS_DIFFER)
        cursor = store.cursor(self.model, "window")
        if cursor is None:
            return "", False
        target = min(cursor - self.count_ahead(store, now), cursor if first is None else first)
        if target == cursor:
            return "", False
        store.save_cursor(self.model, "window", target)
        labels = store.cursor(self.model, "labels")
        if labels is not None and labels > target:
            store.save_cursor(self.model, "labels", target)
        start = window_at(self.window, target).start
        where = f"the window of {format_time(start)}" if self.window.every is not None else f"row {start + 1:,.0f}"
        anew = "; the evidence begins anew, because some of it was of that time" if had_evidence else ""
        return f"{cursor - target:,} windows were passed over; checks go on with {where}{anew}", had_evidence

    def doubts_clock(self, store: StateReader, now: float) -> bool:
        """Whether the clock is so far ahead of the newest event that it is not believed; history says nothing of it."""
        newest = None if self.extent is None else self.extent.newest_at
        return newest is not None and is_clock_ahead(newest, now, store.begun_at(self.model))

    def clock_fault(self, store: StateReader, now: float) -> str | None:
        """Why nothing may be decided by the time that has passed; None while the clock is believed."""
        if self.extent is None:
            return None
        cursor, begun_at = store.cursor(self.model, "window"), store.begun_at(self.model)
        return find_clock_fault(self.window, self.extent, cursor, now, begun_at)

    def behind(self, store: StateReader, now: float) -> int:
        """How many windows wait for their check, by the clock: also those of a source that is silent or away."""
        if self.extent is not None:
            now = believed_now(self.window, self.extent, now, self.lateness)
        next_index = store.cursor(self.model, "window")
        if self.window.every is None:
            return 0 if self.extent is None else max(0, self.extent.rows // (self.window.rows or 1) - (next_index or 0))
        if next_index is None:
            if self.extent is None or self.extent.first_at is None:
                return 0
            next_index = window_index(self.extent.first_at, self.window.every)
        return max(0, window_index(now - self.lateness, self.window.every) - next_index)

    def next_look(self, store: StateReader, now: float) -> float:
        """When there may be something to check next: the next window or cohort, or what nobody can tell in advance."""
        every, rested = self.window.every, now + rest_of(self.model, self.window.every)
        if every is None or self.extent is None or self.extent.faults:
            return rested
        last = store.cursor(self.model, "window")
        windows = rested if last is None else max(now, (last + 1) * every + self.lateness)
        waits = self.labels_not_before if self.labels_not_before > now and self.cohorts_waiting(store) else rested
        return min(rested, windows, waits)

    def windows(self, due: list[Window], evidence: MonitorState, served: ServedBy) -> Iterator[CheckRun]:
        """Check the due windows in order.

        The caller records each run, which moves `evidence` on, before it takes the next.
        """
        for window in due:
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
        sentence = "; ".join([assessment.sentence.rstrip("."), *failed]) + "."
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
        count = self.guard.resume(("labelled", since, until), partial(self.source.count_labelled, since, until))
        return until if count else None

    def cohorts(self, store: StateReader, evidence: MonitorState, served: ServedBy, now: float) -> Iterator[CheckRun]:
        """Check the cohorts whose labels have had their time, in order, up to the first that must wait."""
        last, index = store.cursor(self.model, "window"), store.cursor(self.model, "labels")
        if now + LONGEST_WAIT < self.labels_not_before:  # the clock was set back
            self.labels_not_before = now
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
            requested = store.requested_labels(self.model, window)
            check = partial(
                check_labels,
                self.source,
                window,
                monitor,
                served,
                now,
                self.classes,
                self.helper,
                self.window,
                requested,
            )
            run = self._try("labels", window, monitor, check)
            if run is None or run.result.assessment.waits:
                self.has_settled = run is not None and "settled" in run.result.assessment.figures
                self.labels_not_before = now + self._between_looks(monitor)
                return
            self.has_settled = False
            yield (
                self._with_late_labels(run, store, served, now) if "given_up" in run.result.assessment.figures else run
            )

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

    def _with_late_labels(self, run: CheckRun, store: StateReader, served: ServedBy, now: float) -> CheckRun:
        """The monitor has learned from cohorts that were given up before, if their labels have come by now."""
        windows = [window_at(self.window, check.window_index) for check in self._abandoned_checks(store)[:LATE_COHORTS]]
        if not windows:
            return run
        before = run.result.monitor
        learn = partial(learn_late_labels, self.source, windows, before, served, now)
        monitor = self.guard.resume(("late labels", windows[0].index, id(before)), learn)
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
        try:
            result = self.guard.resume((kind, window.index, id(monitor)), check)
        except (SourceDamagedError, SourceUnansweredError):
            raise  # no verdict: the window is checked once its rows are restored, or the answer has come
        except WindowAbsentError as error:
            log.debug("window_absent", model=self.model, kind=kind, window=window.index, reason=str(error))
            return None  # however often: it waits until somebody writes it
        except Exception as error:
            raise_shortage(error)  # no verdict either: the window is checked once there are files and memory again
            log.warning(
                "check_failed", model=self.model, kind=kind, window=window.index, error=str(error), exc_info=True
            )
            self.tries += 1
            if self.tries < TRIES:
                return None
            result = CheckResult(monitor, error_assessment(error))
        self.tries = 0
        return CheckRun(kind, window, result, self.guard.took)


def show_source(metrics: ModelMetrics, extent: Extent | None) -> None:
    """Show what a source holds, as far as it is known."""
    if extent is None:
        return
    metrics.source(
        predictions=extent.rows,
        late=extent.late,
        faults=len(extent.faults),
        newest_prediction=extent.newest_at,
        newest_feedback=extent.newest_label_at,
        counts=extent.counts,
    )

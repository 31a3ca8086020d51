"""Checks that are recorded together: one transaction, one sync and one copy of the evidence for many of a step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import structlog

from driftd.loop.check_schedule import CheckRun
from driftd.loop.decide import Decision, report
from driftd.loop.resume import check_context, without_absorbed
from driftd.observe.check_metrics import covers
from driftd.observe.model_metrics import ModelMetrics
from driftd.store.state.writer import StateStore
from driftd_detectors.monitor import Monitor

log = structlog.get_logger()

GROUP_SECONDS = 0.25  # so long others may not write to state.db, and so much is checked again after a crash


@dataclass(frozen=True, slots=True)
class RecordedCheck:
    """A check, what was decided on it, and the evidence after it."""

    run: CheckRun
    decision: Decision
    monitor: Monitor


@dataclass(frozen=True, slots=True)
class GroupOwner:
    """What a group asks of the model whose checks it has."""

    save: Callable[[], None]  # writes what only the last of the checks has to keep, in their transaction
    remember: Callable[[], Callable[[], None]]  # gives what puts the model's memory back to this moment
    metrics: ModelMetrics


@dataclass(slots=True)
class CheckGroup:
    """The checks that were recorded and have not landed yet: of one model, in one transaction.

    It is open from the first record until `hold` ends or `seconds` are over, which is looked at before each record
    and whenever the loop waits. Memory runs ahead of the store meanwhile; a group that cannot land puts it back.
    """

    store: StateStore
    seconds: float = GROUP_SECONDS
    _owner: GroupOwner | None = None
    _transaction: AbstractContextManager[None] | None = None
    _put_back: Callable[[], None] = lambda: None
    _thread: int = 0  # that began it: waits in others end no transaction of it
    _until: float = 0.0  # by the monotonic clock
    _is_recording: bool = False
    _failed: Exception | None = None  # why a group could not land while the loop waited
    _recorded: list[RecordedCheck] = field(default_factory=list)

    @contextmanager
    def hold(self, owner: GroupOwner) -> Iterator[None]:
        """Have what is recorded inside land at its end, at the latest, also where a later check fails."""
        self._owner, self._failed = owner, None
        try:
            yield
        except Exception:
            self._end()  # a record that failed has undone itself: those before it are whole
            raise
        except BaseException as stop:
            self._abandon(stop)
            raise
        self._raise_failed()
        self._end()

    @contextmanager
    def record(self) -> Iterator[None]:
        """One check, whole or not at all; what it changes in memory comes after it, and then `add`."""
        self.end_if_due()
        self._raise_failed()
        self._begin()
        self._is_recording = True
        try:
            with self.store.transaction():
                yield
        finally:
            self._is_recording = False

    def add(self, check: RecordedCheck) -> None:
        """Know of a check that was recorded: metrics and log lines follow once the group has landed."""
        self._recorded.append(check)

    def end_if_due(self) -> None:
        """Let the group land if it has been open long enough. Call it whenever the loop is about to wait.

        That it could not is told by the next record, or by the end: what waits may not be blamed for it.
        """
        is_mine = self._transaction is not None and self._thread == threading.get_ident()
        if is_mine and not self._is_recording and time.monotonic() >= self._until:
            try:
                self._end()
            except Exception as error:  # noqa: BLE001 - kept for the next record
                self._failed = error

    def _raise_failed(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _begin(self) -> None:
        assert self._owner is not None  # checks are recorded inside `hold`
        if self._transaction is None:
            transaction = self.store.transaction()
            transaction.__enter__()
            self._transaction, self._put_back = transaction, self._owner.remember()
            self._thread, self._until = threading.get_ident(), time.monotonic() + self.seconds

    def _end(self) -> None:
        if self._transaction is None:
            return
        if not self.store.in_transaction:  # a disk that fails has rolled back already, and said so
            self._abandon(RuntimeError("it was rolled back"))
            return
        owner = self._owner
        assert owner is not None  # see `_begin`
        try:
            if self._recorded:
                owner.save()
            transaction, self._transaction = self._transaction, None
            transaction.__exit__(None, None, None)
        except BaseException as error:
            self._abandon(error)
            raise
        landed, self._recorded = self._recorded, []
        tell(landed, owner.metrics)

    def _abandon(self, error: BaseException) -> None:
        """Undo what was recorded since the begin, in the store and in memory."""
        transaction, self._transaction = self._transaction, None
        self._recorded.clear()
        put_back, self._put_back = self._put_back, lambda: None
        put_back()
        if transaction is not None:
            transaction.__exit__(type(error), error, error.__traceback__)


def tell(landed: Sequence[RecordedCheck], metrics: ModelMetrics) -> None:
    """Count, show and log checks that have landed, in order; of gauges only those that no later check sets."""
    for place, check in enumerate(landed):
        run, monitor, assessment = check.run, check.monitor, check.run.result.assessment
        report(check.decision, metrics)
        later = (other.run for other in landed[place + 1 :] if other.run.kind == run.kind)
        is_covered = any(covers(other.result.assessment, assessment) for other in later)
        context = None if is_covered else check_context(monitor, assessment.rows)
        assessed = without_absorbed(assessment, monitor)
        metrics.check(run.kind, assessed, run.window, context, seconds=run.seconds, now=check.decision.now)
        log.info(
            "check",
            model=check.decision.state.model,
            kind=run.kind,
            window=run.window.index,
            rows=assessment.rows,
            verdict=assessment.verdict,
            reason=assessment.sentence,
            seconds=round(run.seconds, 4),
        )

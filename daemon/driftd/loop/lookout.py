"""Which windows and cohorts are due, and looking at them, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from driftd.loop.checking import Seen, check_labels, check_window, failed
from driftd.loop.evidence import Evidence
from driftd.loop.guard import Guard, SourceDamagedError
from driftd.records import Window
from driftd.sources.protocol import Extent, Source
from driftd.sources.windows import WindowSpec, due_windows, window_at
from driftd.store.state_reader import StateReader
from driftd_detectors.monitor import Monitor

log = structlog.get_logger()

WINDOWS_A_STEP = 32  # so that a model that catches up leaves the others their turn
TRIES = 3  # a check that fails is tried again before the failure becomes its verdict
LOOKS_A_SPAN = 20  # how often a waiting cohort is looked at within the time its labels usually take


@dataclass(frozen=True, slots=True)
class Look:
    """One check made: `kind` is `window` (data, prediction, quality) or `labels` (performance)."""

    kind: str
    window: Window
    seen: Seen
    seconds: float


@dataclass(slots=True)
class Lookout:
    """The eyes of one model. It keeps no cursor of its own: the store's move with every recorded check."""

    model: str
    window: WindowSpec
    source: Source
    guard: Guard
    lateness: float  # seconds that stragglers have after a window's end
    tries: int = 0
    extent: Extent | None = None
    labels_not_before: float = 0.0  # no cohort can be ready sooner

    def refresh(self, now: float) -> None:
        """Learn what the source has by now."""
        before = self.extent.faults if self.extent is not None else ()
        self.extent = self.guard.run(self.source.refresh, now)
        faults = self.extent.faults
        if faults and faults != before:
            log.warning("source_faults", model=self.model, count=len(faults), first=faults[0])
        elif before and not faults:
            log.info("source_whole_again", model=self.model)

    def due(self, store: StateReader, now: float) -> list[Window]:
        """The complete windows that no check has evaluated, oldest first."""
        if self.extent is None:
            return []
        return list(due_windows(self.window, self.extent, store.cursor(self.model, "window"), now, self.lateness))

    def windows(self, due: list[Window], evidence: Evidence, champion: int) -> Iterator[Look]:
        """Look at the due windows in order.

        The caller records each look, and so moves `evidence` on, before it asks for the next.
        """
        for window in due[:WINDOWS_A_STEP]:
            monitor = evidence.begun
            look = self._try("window", window, monitor, partial(check_window, self.source, window, monitor, champion))
            if look is None:
                return
            yield look

    def cohorts(self, store: StateReader, evidence: Evidence, champion: int, now: float) -> Iterator[Look]:
        """Look at the cohorts whose labels had their time, in order; stops at the first that must wait."""
        last, index = store.cursor(self.model, "window"), store.cursor(self.model, "labels")
        if last is None or now < self.labels_not_before:
            return
        first = index if index is not None else self._first_index(last)
        for number in range(first, min(last, first + WINDOWS_A_STEP)):
            window, monitor = window_at(self.window, number), evidence.begun
            check = partial(check_labels, self.source, window, monitor, champion, now)
            look = self._try("labels", window, monitor, check)
            if look is None or look.seen.assessment.waits:
                self.labels_not_before = now + max(1.0, monitor.label_age() / LOOKS_A_SPAN)
                return
            yield look

    def cohorts_waiting(self, store: StateReader) -> int:
        """How many checked windows have labels that are not evaluated yet."""
        last, index = store.cursor(self.model, "window"), store.cursor(self.model, "labels")
        return 0 if last is None else max(0, last - (index if index is not None else self._first_index(last)))

    def _first_index(self, last: int) -> int:
        """Cohorts begin with the window of the first event: none before it was ever checked."""
        if self.extent is None:
            return last
        every_window = due_windows(self.window, self.extent, None, float("inf"), self.lateness)
        return next((window.index for window in every_window), last)

    def _try(self, kind: str, window: Window, monitor: Monitor, check: Callable[[], Seen]) -> Look | None:
        started = time.perf_counter()
        try:
            seen = self.guard.run(check)
        except SourceDamagedError:
            raise  # no verdict: the window is checked once its rows are restored
        except Exception as error:
            log.warning(
                "check_failed", model=self.model, kind=kind, window=window.index, error=str(error), exc_info=True
            )
            self.tries += 1
            if self.tries < TRIES:
                return None
            seen = Seen(monitor, failed(error))
        self.tries = 0
        return Look(kind, window, seen, time.perf_counter() - started)

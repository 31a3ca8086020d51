"""Replaying history: what the evidence of a config would have said of the events on record. Writes nothing.

The checks are the daemon's own, on a clock that moves from window to window as if the daemon had always been up; labels
are known when they came. The versions are those that served: whatever a build would have made never predicted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from driftd.config.model_schema import ModelConfig
from driftd.loop.checks import CheckResult, alarms_in, check_labels, check_window, extent_of, failed
from driftd.loop.model_runner import ABSORB_AFTER, ABSORBABLE
from driftd.records import Alarm, Window
from driftd.sources.protocol import Source
from driftd.sources.windows import default_lateness, due_windows, window_index
from driftd.store.state.records import StoredTransition
from driftd_detectors.assessment import Assessment, EvidenceKind
from driftd_detectors.monitor import Monitor

SWAPS = ("adopted", "promoted", "rolled_back", "pinned")
LOOKS_A_SPAN = 20  # as often as the daemon looks at a cohort that waits for its labels


@dataclass(frozen=True, slots=True)
class Era:
    """A version and when it began to serve."""

    version: int
    since: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """One check of the replay: `kind` is `window` or `labels`."""

    kind: str
    window: Window
    start: float  # epoch seconds, of row windows too
    version: int
    assessment: Assessment
    alarms: tuple[Alarm, ...]


def eras_of(history: Iterable[StoredTransition]) -> list[Era]:
    """The versions that served, oldest first, from the transitions on record."""
    found: list[Era] = []
    for line in sorted(history, key=lambda one: one.id):
        version = line.figures.get("version")
        if line.event in SWAPS and version is not None and (not found or found[-1].version != version):
            found.append(Era(int(version), line.at))
    return found


def windows_of(config: ModelConfig, source: Source, trained_until: float | None, now: float) -> list[Window]:
    """The complete windows that the daemon would have checked: none of time before the end of the training rows."""
    window, first = config.window, None
    if window.every is not None and trained_until is not None:
        first = window_index(trained_until, window.every) + 1
    return list(due_windows(window, source.refresh(now), first, now, lateness_of(config)))


def lateness_of(config: ModelConfig) -> float:
    """Seconds that stragglers have after a window's end."""
    window = config.window
    return window.lateness if window.lateness is not None else default_lateness(window)


@dataclass(slots=True)
class Replay:
    """One model's history under one config."""

    source: Source
    eras: Sequence[Era]  # at least one
    begin: Callable[[int, Monitor | None], Monitor]  # new evidence against a version, after the one before
    lateness: float
    _version: int | None = None
    _monitor: Monitor | None = None
    _standing: dict[EvidenceKind, int] = field(default_factory=dict)  # the window of each alarm that stands
    _cohorts: deque[tuple[Window, float]] = field(default_factory=deque)  # whose labels wait, with their start
    _not_before: float = 0.0

    def run(self, windows: Iterable[Window], until: float) -> Iterator[Replayed]:
        """Check the windows in order, and their labels as they came; at `until`, those that are still waiting."""
        for window in windows:
            now, start = self._moment(window)
            self._serve(now)
            yield self._checked(window, start)
            self._cohorts.append((window, start))
            yield from self._labelled(now)
        self._not_before = 0.0
        if self._monitor is not None:
            yield from self._labelled(until)

    def _moment(self, window: Window) -> tuple[float, float]:
        """When the daemon would have checked a window, and when the window began."""
        if window.by == "time":
            return window.end + self.lateness, window.start
        start, end = extent_of(window, self.source.outcomes(window, float("inf")))
        return end, start

    def _serve(self, now: float) -> None:
        """Take up the version that served when this check was made."""
        served = [era.version for era in self.eras if era.since < now] or [self.eras[0].version]
        if served[-1] != self._version:
            self._version, self._monitor = served[-1], self.begin(served[-1], self._monitor)
            self._standing, self._not_before = {}, 0.0

    def _checked(self, window: Window, start: float) -> Replayed:
        monitor, version = self._served()
        try:
            seen = check_window(self.source, window, monitor, version)
        except Exception as error:  # noqa: BLE001 - as in the daemon: a check that fails is a verdict, the next one runs
            seen = CheckResult(monitor, failed(error))
        self._monitor = self._absorbed(seen.monitor, window.index)
        return self._told("window", window, start, seen.assessment)

    def _labelled(self, now: float) -> Iterator[Replayed]:
        """The cohorts whose labels had their time by `now`, in order; stops at the first that must wait."""
        while self._cohorts and now >= self._not_before:
            monitor, version = self._served()
            cohort, start = self._cohorts[0]
            try:
                seen = check_labels(self.source, cohort, monitor, version, now)
            except Exception as error:  # noqa: BLE001 - see above
                seen = CheckResult(monitor, failed(error))
            if seen.assessment.waits:
                self._not_before = now + max(1.0, monitor.label_age() / LOOKS_A_SPAN)
                return
            self._cohorts.popleft()
            self._monitor = seen.monitor
            yield self._told("labels", cohort, start, seen.assessment)

    def _served(self) -> tuple[Monitor, int]:
        assert self._monitor is not None  # `_serve` came before the first check
        assert self._version is not None
        return self._monitor, self._version

    def _absorbed(self, monitor: Monitor, index: int) -> Monitor:
        """As the daemon does, take an alarm that only informed into what is normal after a while."""
        for kind, raised in list(self._standing.items()):
            if kind in ABSORBABLE and index - raised >= ABSORB_AFTER:
                monitor = monitor.absorb(kind)
                del self._standing[kind]
        return monitor

    def _told(self, kind: str, window: Window, start: float, assessment: Assessment) -> Replayed:
        alarms = tuple(alarm for alarm, _ in alarms_in(assessment))
        for alarm in alarms:
            self._standing.setdefault(EvidenceKind(alarm.kind), window.index)
        return Replayed(kind, window, start, self._served()[1], assessment, alarms)

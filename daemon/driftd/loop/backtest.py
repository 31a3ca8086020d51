"""A backtest: the loop of one model over the events on record, on a virtual clock, in a state directory of its own.

The loop is the daemon's, from the source to the recorded alarm. Only its surroundings differ: the clock moves from
window to window as if the daemon had always been up, the versions are those that served, and nothing is built,
reported or swapped, because whatever a build would have made never predicted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from driftd.actions import DecisionFigures
from driftd.clock import VirtualClock
from driftd.config.model_schema import ModelConfig
from driftd.config.schema import Config, OverrideConfig
from driftd.errors import DriftdError
from driftd.events import Event
from driftd.loop.check_schedule import TRIES
from driftd.loop.checks import extent_of
from driftd.loop.factory import Assembly
from driftd.loop.model_runner import ModelRunner
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.records import ActionKind, ModelState, Transition, Window
from driftd.registry import Registry
from driftd.sources import open_source
from driftd.sources.open import RecordedSource
from driftd.sources.protocol import Extent, default_lateness, due_windows, window_index
from driftd.store.backups import copy_database
from driftd.store.state.records import StoredAlarm, StoredCheck, StoredTransition
from driftd.store.state.writer import StateStore
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import ServedBy

SWAPS = (Event.ADOPTED, Event.PROMOTED, Event.ROLLED_BACK, Event.PINNED)
KEPT_WINDOWS = 512  # of the scratch state: what the loop itself looks back on is less
LABEL_STEP = 3600.0  # seconds between looks at waiting labels after the last window, where windows have no length


class BacktestError(DriftdError):
    """The backtest cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Era:
    """A version and when it began to serve."""

    version: int
    since: float


@dataclass(frozen=True, slots=True)
class Moment:
    """What the loop recorded at one moment of the virtual clock."""

    window: Window | None  # the one that became due; None after the last, while labels are waited for
    checks: tuple[StoredCheck, ...]  # oldest first
    alarms: tuple[StoredAlarm, ...]


def eras_of(history: Iterable[StoredTransition]) -> list[Era]:
    """The versions that served, oldest first, from the transitions on record."""
    eras: list[Era] = []
    for line in sorted(history, key=lambda transition: transition.id):
        version = line.figures.get("version")
        if line.event in SWAPS and version is not None and (not eras or eras[-1].version != version):
            eras.append(Era(int(version), line.at))
    return eras


class Backtest:
    """One model's history under one config. Use it as a context manager: it holds a state directory in `scratch`."""

    def __init__(
        self,
        config: Config,
        config_path: Path,
        places: Places,
        model: str,
        eras: Sequence[Era],
        *,
        scratch: Path,
        now: float,
    ) -> None:
        """`eras` has at least one; `now` ends what is on record; `scratch` is an empty folder of the caller's."""
        self._model, self._eras, self._recorded_at = model, eras, now
        self._live, self._scratch = places, Places(scratch)
        _link_history(places, self._scratch, model, config.models[model])
        self._settings = _without_builds(config.models[model])
        alone = config.model_copy(
            update={"models": {model: self._settings}, "override": OverrideConfig(), "notify": {}, "state_dir": scratch}
        )
        self._store = StateStore.open(self._scratch.state_db, durable=False)
        self._assembly = Assembly(
            config_path, alone, self._scratch, self._store, Metrics(), children=0, open_source=self._open_source
        )
        self._so_far = (float("-inf"), 0)  # the time, and the rows that have arrived: none after the last window
        self._starts: dict[int, float] = {}  # epoch seconds, of row windows too
        self._ends: dict[int, tuple[float, float]] = {}  # when the rows of a row window began and ended
        self._data_end = float("inf")  # the newest prediction or label on record, epoch seconds
        self._runner: ModelRunner | None = None
        self._seen_check = self._seen_alarm = 0
        lateness = self._settings.window.lateness
        self._lateness = default_lateness(self._settings.window) if lateness is None else lateness

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner.scheduler.source.close()
        self._assembly.helper.close()
        self._store.close()

    def windows(self) -> list[Window]:
        """The complete windows with events on record that the daemon would have checked.

        None of time before the end of the first version's training rows, and none after the newest event. Raises
        BacktestError where the source gives no rows.
        """
        spec, first = self._settings.window, None
        manifest = self._assembly.registry.readable(self._model, self._eras[0].version)
        trained_until = manifest.data.get("last_at")
        if spec.every is not None and trained_until is not None:
            first = window_index(float(trained_until), spec.every) + 1
        source = self._recorded_source(manifest.schema)
        try:
            extent = source.source.refresh(self._recorded_at)
            due = list(due_windows(spec, extent, first, self._recorded_at, self._lateness))
            if spec.every is None:
                for window in due:
                    cohort = source.cohort(window, float("inf"), (), ServedBy(0))
                    self._ends[window.index] = extent_of(window, cohort.first_at, cohort.last_at)
        finally:
            source.close()
        self._require_rows(extent)
        newest = extent.newest_at
        self._data_end = max((at for at in (newest, extent.newest_label_at) if at is not None), default=float("inf"))
        return [window for window in due if spec.every is None or newest is None or window.start <= newest]

    def start_of(self, window_index: int) -> float:
        """When a window that was checked began, in epoch seconds."""
        return self._starts[window_index]

    def run(self, windows: Sequence[Window], until: float) -> Iterator[Moment]:
        """Have the windows checked in order, and their labels as they came; what still waits at `until` stays so.

        Raises BacktestError where the source gives no rows any more: windows that wait would be taken for calm ones.
        """
        clock = VirtualClock(self._moment(windows[0])[1])
        for window in windows:
            start, due_at = self._moment(window)
            self._starts[window.index] = start
            clock.advance_to(max(due_at, clock.now()))
            self._so_far = (clock.now(), int(window.end) if window.by == "rows" else 0)
            self._serve(clock.now(), windows[0].index)
            yield self._step(clock.now(), window)
        yield from self._wait_for_labels(clock, until)

    def _wait_for_labels(self, clock: VirtualClock, until: float) -> Iterator[Moment]:
        """Move on until no label is waited for, or time is up; then look once more.

        Time is up where the data end: once the labels of the last window have had all the time that they are given.
        """
        every = self._settings.window.every or LABEL_STEP
        monitor = self._current_runner.evidence.monitor
        if monitor is not None:
            until = min(until, self._data_end + monitor.maturity.longest + every)
        while clock.now() < until and self._current_runner.scheduler.cohorts_waiting(self._store):
            soonest = max(clock.now() + every, self._current_runner.scheduler.labels_not_before)
            clock.advance_to(min(until, soonest))
            self._serve(clock.now(), 0)
            if clock.now() >= until:
                self._current_runner.scheduler.labels_not_before = 0.0
            yield self._step(clock.now(), None)

    def _step(self, now: float, window: Window | None) -> Moment:
        model = self._current_runner
        for _ in range(TRIES):
            while model.step(now):
                pass
            if not model.scheduler.tries:
                break
            model.scheduler.labels_not_before = 0.0  # a check that failed is tried again at once: no time goes by
        self._require_rows(model.scheduler.extent, model.hang)
        self._store.drop_actions(self._model, list(ActionKind), at=now)
        moment = Moment(window, tuple(self._new_checks()), tuple(self._new_alarms()))
        if window is not None and window.index % KEPT_WINDOWS == 0 and window.index - KEPT_WINDOWS in self._starts:
            self._store.prune(self._model, before=self._starts[window.index - KEPT_WINDOWS])
        return moment

    def _require_rows(self, extent: Extent | None, hang: str | None = None) -> None:
        """Raises BacktestError where a daemon would have its windows wait."""
        if hang is None and extent is not None and extent.faults and extent.complete_until == float("-inf"):
            hang = extent.faults[0]
        if hang is not None:
            raise BacktestError(f"{self._model} cannot be backtested: its source gives no rows: {hang}")

    @property
    def _current_runner(self) -> ModelRunner:
        assert self._runner is not None  # `_serve` comes before every step
        return self._runner

    def _serve(self, now: float, first_index: int) -> None:
        """Put the version under watch that served at this moment, as a swap or a first start does."""
        served = [era.version for era in self._eras if era.since < now] or [self._eras[0].version]
        version = served[-1]
        if self._runner is not None and self._runner.state.champion == version:
            return
        before = ModelState(self._model)
        if self._runner is not None:
            before = self._runner.state
            self._runner.close()
            self._runner.scheduler.source.close()
        self._assembly.registry.point(self._model, version)
        after = replace(before, champion=version, last_schedule=now)
        figures = DecisionFigures(version=version)
        served_then = Transition(after, f"version {version} served then", Event.ADOPTED, (), figures)
        with self._store.transaction():
            self._store.save_transition(before, served_then, at=now, actor="backtest", config_hash="")
            if self._runner is None:
                self._store.save_cursor(self._model, "window", first_index)
                self._store.save_cursor(self._model, "labels", first_index)
        self._runner = self._assembly.open_model(self._model, self._assembly.config, now)
        if self._runner.is_blind:
            raise BacktestError(f"{self._model} cannot be backtested: {self._runner.standing}")

    def _moment(self, window: Window) -> tuple[float, float]:
        """When a window began, and when the daemon would have checked it."""
        if window.by == "time":
            return window.start, window.end + self._lateness
        return self._ends[window.index]

    def _new_checks(self) -> list[StoredCheck]:
        checks = self._store.checks_after(self._model, self._seen_check)
        self._seen_check = checks[-1].id if checks else self._seen_check
        return checks

    def _new_alarms(self) -> list[StoredAlarm]:
        alarms = [alarm for alarm in self._store.alarms(self._model, limit=32) if alarm.id > self._seen_alarm][::-1]
        self._seen_alarm = alarms[-1].id if alarms else self._seen_alarm
        return alarms

    def _open_source(self, model: str, settings: ModelConfig, schema: Schema, _places: Places) -> RecordedSource:
        assert (model, settings) == (self._model, self._settings)
        return self._recorded_source(schema)

    def _recorded_source(self, schema: Schema) -> RecordedSource:
        """The live event store is only read; what a source of files learns of them goes into the scratch state."""
        places = self._live if self._settings.source.kind == "store" else self._scratch
        source = open_source(self._model, self._settings, schema, places)
        return RecordedSource(source, self._recorded_at, lambda: self._so_far)


def _without_builds(settings: ModelConfig) -> ModelConfig:
    """The same model, of which nothing is retrained."""
    return settings.model_copy(update={"retrain": settings.retrain.model_copy(update={"on": (), "schedule": None})})


def _link_history(live: Places, scratch: Places, model: str, settings: ModelConfig) -> None:
    """Have the scratch state see the versions, and what is known of a source of files."""
    scratch.model(model).mkdir(parents=True)
    (scratch.model(model) / "versions").symlink_to(live.model(model).resolve() / "versions")
    if settings.source.kind == "store":
        return
    folder = scratch.events_db(model).parent
    folder.mkdir(parents=True)
    for name in ("files.json", "feedback.json"):  # before the labels that were read until then
        known = live.events_db(model).parent / name
        if known.exists():
            shutil.copyfile(known, folder / name)
    if live.events_db(model).exists():
        copy_database(live.events_db(model), scratch.events_db(model))
    if live.segments(model).exists():
        scratch.segments(model).symlink_to(live.segments(model).resolve())


def versions_on_record(registry: Registry, history: Iterable[StoredTransition], model: str) -> list[Era]:
    """The eras of a model; where no daemon ever ran, the version that serves for all time. Empty without a version."""
    eras = eras_of(history)
    served = registry.current(model)
    if eras or served is None:
        return eras
    return [Era(served, 0.0)]

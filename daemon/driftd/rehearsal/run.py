"""A whole rehearsal: the first version once, then every config and the rivals, side by side on the cores there are."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from driftd.config.rehearsal_schema import CostsConfig
from driftd.config.trainer_schema import command_or_reference
from driftd.paths import Places
from driftd.rehearsal.child_process import RehearsalError
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.figures import Ledger, RehearsalReport, WayFigures, recommend
from driftd.rehearsal.losses import loss_of
from driftd.rehearsal.recorded import Record, copy_version
from driftd.rehearsal.replay import make_first
from driftd.rehearsal.rivals import PolicyComparison, Schedule, Trained, first_answers, static_curve
from driftd.rehearsal.stream import SAID, SCORE
from driftd.rehearsal.variants import Variant, isolate_config
from driftd.rehearsal.worker import RehearsalProcess
from driftd.training.bootstrap import FileColumns, make_logged_version

EVERY = (28, 7, 1)  # windows between two builds of a rival
MOST_REBUILDS = 400  # of a rival that nobody asked for
POLL_SECONDS = 0.1
RIVALS = "rivals"
Progress = Callable[[str, float], None]  # what is done, and how much of it


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rehearsed: the configs (the one as it is first), the rows, the rivals, and what things cost."""

    model: str
    config_path: Path
    variants: Sequence[Variant]
    record: Record
    every: tuple[int, ...] | None = None  # windows between the builds of each rival; None: the usual ones
    costs: CostsConfig | None = None
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))


def rehearse(plan: Plan, live: Places, scratch: Path, on_progress: Progress) -> RehearsalReport:
    """Have every config live through the record, in folders of their own below `scratch`.

    `live` is only read. Raises RehearsalError, and what the making of a first version raises.
    """
    base, stream = Places(scratch / "first"), plan.record.stream
    first, said = isolate_config(plan.variants[0].config, plan.model, base.root)
    on_progress("version 1", 0.0)
    _make_first(plan, live, base, first.models[plan.model].is_external)
    trained = _trainer_of(plan, base)
    static = static_curve(base, stream, trained)
    rows = scratch / "rows.parquet"
    stream.frame.to_parquet(rows)
    tasks = _Tasks(plan, base, scratch, rows, trained)
    try:
        tasks.run(on_progress)
    finally:
        tasks.kill()
    ledger = Ledger(stream, static, plan.costs, first.models[plan.model].block_seconds)
    ways: list[WayFigures] = []
    for variant, process in zip(plan.variants, tasks.processes, strict=True):
        ways.append(ledger.config(variant.name, variant.changes, *process.result()))
    ways += [ledger.rival(curve) for curve in [static, *(tasks.rivals.result() or [] if tasks.rivals else [])]]
    return _report(plan, trained, static, ways, (*plan.record.remarks, *said, *tasks.remarks, *_not_logged(ways)))


def _make_first(plan: Plan, live: Places, base: Places, is_external: bool) -> None:  # noqa: FBT001 - of the config
    """Put the version that all begin with into the folder `base`."""
    stream, record = plan.record.stream, plan.record
    if record.version is not None:
        copy_version(live, base, plan.model, record.version)
        return
    config, _ = isolate_config(plan.variants[0].config, plan.model, base.root)
    if stream.is_logged:
        if not is_external:
            raise RehearsalError(
                "the data hold predictions, which only a model with `serving: external` begins with: leave "
                "--prediction out, and version 1 is trained on the first rows"
            )
        columns = FileColumns("prediction_id", "at", "label_at", SAID, SCORE)
        settings, now = config.models[plan.model], stream.until
        make_logged_version(plan.model, settings, stream.first, columns, base, source="the data", now=now)
        return
    make_first(stream, base, config, lambda _step: None)


def _trainer_of(plan: Plan, base: Places) -> Trained:
    """How rivals are trained, and the loss of every way."""
    settings, stream = plan.variants[0].config.models[plan.model], plan.record.stream
    some = stream.rest.head(1000)
    _, scores = first_answers(base, stream, some, allow_joblib=settings.allow_joblib)
    scored = bool(np.isfinite(scores).all())
    loss = loss_of(settings, plan.record.schema, stream.rest[stream.target], scored=scored)
    return Trained(
        parameters=dict(settings.parameters),
        trainer=command_or_reference(settings.trainer) if settings.trainer is not None else "",
        metric=loss.metric,
        classes=loss.classes,
        allow_joblib=settings.allow_joblib,
        most_rows=settings.retrain.data.sample,
    )


class _Tasks:
    """The processes of a rehearsal, as many at once as there are cores; the rivals begin first, they take longest."""

    def __init__(self, plan: Plan, base: Places, scratch: Path, rows: Path, trained: Trained) -> None:
        self.processes: list[RehearsalProcess] = []
        self.rivals: PolicyComparison | None = None
        self.remarks: list[str] = []
        self._plan, self._base, self._scratch, self._rows, self._trained = plan, base, scratch, rows, trained
        self._running: dict[str, RehearsalProcess | PolicyComparison] = {}

    def run(self, on_progress: Progress) -> None:
        """Start everything, and wait until it has ended. Raises RehearsalError where something ends badly."""
        waiting, done = list(self._plan.variants), 0
        schedules = schedules_of(self._plan, self._trained, self.remarks)
        total = len(waiting) + bool(schedules)
        if schedules:
            self.rivals = PolicyComparison(
                self._scratch / RIVALS, self._plan.record.stream, self._base, schedules, self._trained
            )
            self._running[RIVALS] = self.rivals
        while waiting or self._running:
            for name in [name for name, process in self._running.items() if process.is_done()]:
                del self._running[name]
                done += 1
            while waiting and len(self._running) < max(1, self._plan.cores):
                self._start(waiting.pop(0))
            share = done + sum(process.progress() for process in self._running.values())
            on_progress(f"{done} of {total} done", share / total)
            time.sleep(POLL_SECONDS)

    def _start(self, variant: Variant) -> None:
        folder = self._scratch / f"config-{len(self.processes)}"
        state = folder / "state"
        shutil.copytree(self._base.root, state, symlinks=True)
        config, _ = isolate_config(variant.config, self._plan.model, state)
        stream, path = self._plan.record.stream, self._plan.config_path
        process = RehearsalProcess(folder, config, path, self._rows, stream, self._trained)
        self.processes.append(process)
        self._running[variant.name] = process

    def kill(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.kill()
        if self.rivals is not None:
            self.rivals.kill()


def schedules_of(plan: Plan, trained: Trained, remarks: list[str]) -> dict[str, Schedule]:
    """The rivals that are rebuilt, by name; none that nobody asked for and that would build very often."""
    if not trained.trainer:
        remarks.append("no rival is rebuilt: the config has no trainer")
        return {}
    windows = len(plan.record.stream.starts)
    found = {}
    for every in plan.every if plan.every is not None else EVERY:
        name = "rebuilt every window" if every == 1 else f"rebuilt every {every} windows"
        if plan.every is None and windows // every > MOST_REBUILDS:
            remarks.append(f"no rival is {name}: that were {windows // every:,} builds (--every {every} asks for it)")
        elif windows > every:
            found[name] = Schedule(every)
    return found


def _not_logged(ways: Sequence[WayFigures]) -> list[str]:
    lost = max((way.not_logged for way in ways), default=0)
    return [f"{lost:,} predictions were refused by the store: the daemon never saw them"] if lost else []


def _report(
    plan: Plan, trained: Trained, static: Curve, ways: list[WayFigures], remarks: Sequence[str]
) -> RehearsalReport:
    stream = plan.record.stream
    return RehearsalReport(
        model=plan.model,
        metric=str(trained.metric),
        first_rows=len(stream.first),
        rows=len(static.error),
        labelled=int(np.isfinite(static.error).sum()),
        windows=len(stream.starts),
        window_seconds=stream.window,
        start=stream.until,
        end=float(stream.frame["at"].iloc[-1]),
        starts=stream.starts.tolist(),
        costs=None if plan.costs is None else plan.costs.model_dump(),
        ways=ways,
        recommendation=recommend(ways),
        remarks=list(dict.fromkeys(remarks)),
    )

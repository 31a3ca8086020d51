"""What of state_dir may go: limits, what is in use, what killed processes left; and when the disk is full."""

from __future__ import annotations

import math
import shutil
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from driftd.config.schema import RetentionConfig
from driftd.fsutil import is_in_use, sweep_staging
from driftd.paths import Places
from driftd.policy import Override
from driftd.records import ModelState
from driftd.registry import Registry
from driftd.training.job_output import SCRATCH

log = structlog.get_logger()

DAY = 86_400.0
SHORTEST = 3600.0  # seconds of measurements that a rate is taken from
_TIGHT_VERSIONS, _TIGHT_FOLDERS = 3, 10  # of what is not in use, while all together takes more than it may
_LEAST_EVENTS = 0.1  # share of `retention.disk` that events may take in any case


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How much of each kind one model keeps of what is not in use: numbers, bytes of snapshots, seconds of checks."""

    versions: int
    jobs: int
    reports: int
    snapshot_bytes: int
    checks: float = math.inf

    @classmethod
    def of(cls, retention: RetentionConfig, *, is_over: bool) -> DiskLimits:
        """What the config says; while all together is over `retention.disk`, little more than what is in use."""
        if is_over:
            return cls(_TIGHT_VERSIONS, _TIGHT_FOLDERS, _TIGHT_FOLDERS, 0, retention.checks)
        return cls(retention.versions, retention.jobs, retention.reports, retention.snapshot_bytes, retention.checks)


@dataclass(slots=True)
class DiskUse:
    """What the parts of state_dir took at the last measurements, by the monotonic clock."""

    _measured: deque[tuple[float, int, Mapping[str, int]]] = field(default_factory=deque)

    def record(self, at: float, free: int, sizes: Mapping[str, int]) -> None:
        """Note free bytes and the bytes of each part; `at` is in seconds. A day of it is kept."""
        self._measured.append((at, free, dict(sizes)))
        while at - self._measured[0][0] > DAY:
            self._measured.popleft()

    def full_in(self) -> float | None:
        """Seconds until the disk is full at the rate since the oldest measurement; None where it does not fill."""
        if (seconds := self._seconds()) is None:
            return None
        (_, before, _), (_, free, _) = self._measured[0], self._measured[-1]
        return free / (before - free) * seconds if before > free else None

    def growth(self) -> dict[str, float]:
        """By how many bytes each part grows in a day, at the same rate; empty while that is unknown."""
        if (seconds := self._seconds()) is None:
            return {}
        before, sizes = self._measured[0][2], self._measured[-1][2]
        return {part: (size - before.get(part, 0)) * DAY / seconds for part, size in sizes.items()}

    def is_over(self, budget: int | None) -> bool:
        """Whether all parts together take more than a budget."""
        return budget is not None and bool(self._measured) and sum(self._measured[-1][2].values()) > budget

    def limits(self, retention: RetentionConfig) -> DiskLimits:
        """What each model may keep just now."""
        return DiskLimits.of(retention, is_over=self.is_over(retention.disk))

    def event_bytes(self, budget: int | None, models: int) -> int | None:
        """What the event store of one of so many models may take, where all together takes more than a budget."""
        if budget is None or not self.is_over(budget):
            return None
        sizes = self._measured[-1][2]
        others = sum(sizes.values()) - sizes.get("events", 0)
        return int(max(budget - others, _LEAST_EVENTS * budget) / max(1, models))

    def _seconds(self) -> float | None:
        seconds = self._measured[-1][0] - self._measured[0][0] if self._measured else 0.0
        return seconds if seconds >= SHORTEST else None


def versions_in_use(state: ModelState, override: Override) -> set[int]:
    """The versions that serve or may serve again at once, are being built, or that the operator names."""
    build, hand_over, probation = state.build, state.hand_over, state.probation
    named = {
        state.champion,
        state.previous,
        state.pinned,
        *state.served,
        override.pin,
        override.approve,
        override.reject,
        None if build is None else build.number,
        None if state.failed is None else state.failed.number,  # it may be retried
        None if build is None else build.serves,
        None if build is None else build.judged_against,
        None if hand_over is None else hand_over.version,
        None if hand_over is None else hand_over.from_version,
        None if probation is None else probation.previous,
    }
    return {version for version in named if version is not None}


def prune_model(
    places: Places, state: ModelState, override: Override, open_actions: Collection[int], limits: DiskLimits
) -> None:
    """Let the oldest of a model go where there is more than the limits say; nothing that is in use.

    While a build is under way or somebody reproduces a version, what they read is not known here, and only the folders
    of ended jobs and old reports go.
    """
    model, registry = state.model, Registry(places)
    _prune_folders(places, model, open_actions, limits)
    if state.build is not None or is_in_use(places.model(model)):
        return
    there = () if state.registry is None else state.registry.registered
    unregistered = () if state.registry is None else set(registry.versions(model)) - {*there}  # lost to it, once gone
    in_use = {*versions_in_use(state, override), *unregistered}
    first = registry.versions(model)[:1]  # what the very first rows were learned from cannot be had again
    retired = registry.retire(model, {*in_use, *first}, limits.versions)
    removed = registry.prune_snapshots(model, {*in_use, *first}, limits.snapshot_bytes)
    if retired or removed:
        log.info("versions_pruned", model=model, versions=list(retired), snapshots=len(removed))


def _prune_folders(places: Places, model: str, open_actions: Collection[int], limits: DiskLimits) -> None:
    jobs = places.job("x").parent
    numbered = {}
    for path in jobs.glob(f"{model}-*-*") if jobs.is_dir() else ():
        name, _, rest = path.name.removeprefix(f"{model}-").partition("-")
        if name.isdecimal() and "-" not in rest:
            numbered[int(name)] = path
    for number in sorted(numbered)[: -limits.jobs]:
        if number not in open_actions:
            shutil.rmtree(numbered[number], ignore_errors=True)
    reports = places.report(model, 0).parent
    found = {int(path.stem): path for path in reports.glob("*.html") if path.stem.isdecimal()}
    for number in sorted(found)[: -limits.reports]:
        found[number].unlink(missing_ok=True)


def sweep(places: Places, now: float) -> list[Path]:
    """Remove what processes that were killed left behind anywhere in state_dir; returns it."""
    left: list[Path] = []
    for pattern in ("models/*/versions", "models/*/siblings", "snapshots/*"):
        for folder in places.root.glob(pattern):
            left += sweep_staging(folder, now)
    for scratch in places.root.glob(f"jobs/*/{SCRATCH}*"):
        if not is_in_use(scratch.parent / ".lock"):  # which a job at work holds
            shutil.rmtree(scratch, ignore_errors=True)
            left.append(scratch)
    return left

"""The facts that policy asks for, counted only when they matter and not more often than they can change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from apscheduler.triggers.cron import CronTrigger

from driftd.loop.lookout import Lookout
from driftd.policy import Facts
from driftd.records import ModelState, Phase
from driftd.registry import Registry
from driftd.store.state_records import StoredAction

COUNTS_A_WINDOW = 20  # labels are counted so many times in the span of a window


@dataclass(slots=True)
class Counts:
    """What was counted last, and when."""

    model: str
    registry: Registry
    schedule: CronTrigger | None
    code: str | None
    count_labels_since_build: bool
    recount_after: float
    _labels: tuple[float, float, int] = (-1.0, -1.0, 0)  # since, counted at, count
    _since_build: tuple[float, float, int] = (-1.0, -1.0, 0)

    def forget(self) -> None:
        """Count anew at the next question."""
        self._labels = self._since_build = (-1.0, -1.0, 0)

    def facts(self, state: ModelState, open_actions: list[StoredAction], lookout: Lookout, now: float) -> Facts:
        """The facts of this moment."""
        versions = self.registry.versions(self.model)
        since = labels_count_from(state)
        if since is not None:
            self._labels = self._counted(self._labels, since, lookout, now)
        if self.count_labels_since_build:
            last_build = state.build_starts[-1] if state.build_starts else 0.0
            self._since_build = self._counted(self._since_build, last_build, lookout, now)
        numbers = [*versions, *state.barred, *([state.build.number] if state.build else [])]
        return Facts(
            next_version=max(numbers, default=0) + 1,
            versions=frozenset(versions),
            labels=self._labels[2] if since is not None else 0,
            labels_since_build=self._since_build[2],
            schedule_due=self._is_due(state, now),
            code=self.code,
            working=frozenset(action.kind for action in open_actions),
        )

    def _counted(
        self, last: tuple[float, float, int], since: float, lookout: Lookout, now: float
    ) -> tuple[float, float, int]:
        if last[0] == since and 0 <= now - last[1] < self.recount_after:
            return last
        return since, now, lookout.guard.run(lookout.source.count_labelled, since, now)

    def _is_due(self, state: ModelState, now: float) -> bool:
        if self.schedule is None or state.last_schedule <= 0:
            return False
        last = datetime.fromtimestamp(state.last_schedule, UTC)
        due = self.schedule.get_next_fire_time(last, last)
        return due is not None and due.timestamp() <= now


def labels_count_from(state: ModelState) -> float | None:
    """From when on labelled rows count for what the model is about; None when nothing waits for labels."""
    if state.phase is Phase.PROBATION and state.probation is not None:
        return state.probation.since
    if state.build is not None:
        return state.build.change_at or 0.0
    if state.want is not None:
        return state.want.change_at or 0.0
    return None

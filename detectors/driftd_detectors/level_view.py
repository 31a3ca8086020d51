"""What the detectors that decide by `LevelEvidence` show of it."""

from __future__ import annotations

from driftd_detectors.assessment import StandingAlarm
from driftd_detectors.performance.level_evidence import LevelEvidence


class LevelView:
    """A detector that holds a stream against a promised level: its evidence, its limit, and the alarm that stands."""

    __slots__ = ()
    evidence: LevelEvidence

    @property
    def value(self) -> float:
        """The evidence; at least the threshold while an alarm stands."""
        return self.evidence.value

    @property
    def threshold(self) -> float:
        """The evidence at which it alarms."""
        return self.evidence.threshold

    @property
    def alarmed(self) -> bool:
        """Whether an alarm stands."""
        return self.evidence.alarmed

    @property
    def crossed(self) -> bool:
        """Whether the last window raised it."""
        return self.evidence.crossed

    @property
    def cleared(self) -> bool:
        """Whether the last window ended it."""
        return self.evidence.cleared

    @property
    def standing(self) -> StandingAlarm | None:
        """The alarm that stands."""
        return None if self.evidence.alarm is None else self.evidence.alarm.standing

    @property
    def ended(self) -> StandingAlarm | None:
        """The alarm that the last window ended."""
        return None if self.evidence.ended is None else self.evidence.ended.standing

    @property
    def change_start(self) -> float | None:
        """The start of the window at which the change most likely began."""
        return self.evidence.change_start

    @property
    def is_learning(self) -> bool:
        """Whether the labels so far say too little for any average to be judged."""
        return self.evidence.is_learning

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        return self.evidence.learning

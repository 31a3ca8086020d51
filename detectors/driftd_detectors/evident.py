"""What the detectors that decide by `Evidence` show of it."""

from __future__ import annotations

from driftd_detectors.evidence import Evidence


class Evident:
    """A detector that bears evidence: the evidence, its limit, and whether an alarm stands, read off it."""

    __slots__ = ()
    evidence: Evidence

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
    def since(self) -> int:
        """For how many windows in a row it has been suspected."""
        return self.evidence.since

    @property
    def is_learning(self) -> bool:
        """Whether it learns first what windows always do; no alarm before that."""
        return self.evidence.is_learning

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        return self.evidence.learning

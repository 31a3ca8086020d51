"""From the false alarms that a user accepts to the thresholds of the evidence (STATISTICS 1).

An e-detector that alarms when its evidence reaches A has an average of at least A clean windows between two false
alarms, and P(false alarm within N windows) <= N / A (Shin, Ramdas, Rinaldo, *E-detectors*, 2024, Theorem 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from driftd_detectors.assessment import EvidenceKind

FEWEST_WINDOWS = 100.0  # between two false alarms, whatever the budget: below, noise alone would look like evidence
SHARES: Mapping[EvidenceKind, float] = {
    EvidenceKind.DATA: 0.4,
    EvidenceKind.PREDICTION: 0.05,
    EvidenceKind.PERFORMANCE: 0.4,
    EvidenceKind.QUALITY: 0.1,
    EvidenceKind.HARM: 0.05,
}
MONTHS_A_YEAR = 12
_DAYS_A_YEAR = 365.25
_MONTHS_TOLD_AS_MONTHS = 24


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false alarms a year, over everything that is watched of a model, and who gets which share of them.

    Raises ValueError when the number, the windows a year or a share is not positive.
    """

    windows_per_year: float
    false_alarms_per_year: float = 1.0
    shares: Mapping[EvidenceKind, float] = field(default_factory=lambda: dict(SHARES))

    def __post_init__(self) -> None:
        if not self.windows_per_year > 0:
            raise ValueError(f"windows_per_year is {self.windows_per_year}; it must be above 0")
        if not self.false_alarms_per_year > 0:
            raise ValueError(f"false_alarms_per_year is {self.false_alarms_per_year}; it must be above 0")
        wrong = {str(kind): share for kind, share in self.shares.items() if not share > 0}
        if wrong:
            raise ValueError(f"shares of the budget must be above 0, got {wrong}")

    @property
    def windows_between_alarms(self) -> float:
        """A: the average number of clean windows between two false alarms of the whole model."""
        return max(FEWEST_WINDOWS, self.windows_per_year / self.false_alarms_per_year)

    def threshold(self, kind: EvidenceKind) -> float:
        """The evidence at which a kind alarms: A over the kind's share of the budget (shares are scaled to sum 1)."""
        shares = {**SHARES, **self.shares}
        return self.windows_between_alarms * sum(shares.values()) / shares[kind]

    @property
    def promise(self) -> str:
        """The contract in words: "about one false alarm in 13 months"."""
        years = self.windows_between_alarms / self.windows_per_year
        months = years * MONTHS_A_YEAR
        if months < 1:
            days = years * _DAYS_A_YEAR
            return f"about one false alarm in {_count(days, 'day')}" if days >= 1 else "more than one false alarm a day"
        if months < _MONTHS_TOLD_AS_MONTHS:
            return f"about one false alarm in {_count(months, 'month')}"
        return f"about one false alarm in {_count(years, 'year')}"


def _count(number: float, unit: str) -> str:
    whole = round(number)
    return f"a {unit}" if whole == 1 else f"{whole} {unit}s"

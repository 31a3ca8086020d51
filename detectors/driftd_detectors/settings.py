"""What the user decides of the monitoring of one model, and the thresholds that follow (STATISTICS 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.evidence.history import UTC_CALENDAR, Calendar

FEWEST_WINDOWS = 20.0  # between two false alarms, whatever the budget: below, an alarm says hardly more than a coin
SHARES: Mapping[EvidenceKind, float] = {
    EvidenceKind.DATA: 0.4,
    EvidenceKind.PREDICTION: 0.05,
    EvidenceKind.PERFORMANCE: 0.4,
    EvidenceKind.QUALITY: 0.1,
    EvidenceKind.HARM: 0.05,
}
DETECTORS_SHARE = 0.25  # of data's budget, that all detectors of the user have together
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
    def is_capped(self) -> bool:
        """Whether more false alarms were granted than windows can be told apart by."""
        return self.windows_per_year / self.false_alarms_per_year < FEWEST_WINDOWS

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


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """How a model is watched; every field has an effect from the next check on.

    `ignore`d features are not looked at; `silenced` ones are scored and shown but raise no alarm. `weights` of the
    features are half uniform and half by `importance`, `uniform`, or given by name (1 where not named). `tolerance` is
    in standard deviations of a feature; `tolerated_loss` in units of the metric (None: 10 % of the reference's loss).
    `label_patience` is the age in seconds at which a cohort's labels are no longer waited for (None: twice what the
    reference's labels took, 30 days where that is not known). `learning_windows` must be known, from the reference or
    live, before anything counts as evidence: fewer do not show what windows always do. `calendar` says what the days
    and hours of a window are, and which days are special. `segments` are the columns whose values are watched apart
    (None: those that a tree found on the reference; empty: none). `has_detectors`: the user's own share the budget of
    data drift.
    """

    windows_per_year: float
    window_seconds: float | None = None
    false_alarms_per_year: float = 1.0
    shares: Mapping[EvidenceKind, float] = field(default_factory=lambda: dict(SHARES))
    ignore: frozenset[str] = frozenset()
    silenced: frozenset[str] = frozenset()
    weights: Literal["importance", "uniform"] | Mapping[str, float] = "importance"
    tolerance: float = 0.03
    metric: str = "auto"
    tolerated_loss: float | None = None
    label_patience: float | None = None
    learning_windows: int = 14
    calendar: Calendar = UTC_CALENDAR
    segments: tuple[str, ...] | None = None
    has_detectors: bool = False

    @property
    def budget(self) -> Budget:
        """The budget of false alarms and its shares."""
        return Budget(self.windows_per_year, self.false_alarms_per_year, self.shares)

    @property
    def feature_threshold(self) -> float:
        """The evidence at which the features' drift alarms: data's, beside the share of the user's detectors."""
        return self.budget.threshold(EvidenceKind.DATA) / (1 - DETECTORS_SHARE if self.has_detectors else 1)

    @property
    def off(self) -> frozenset[str]:
        """The features that raise no alarm, alone or together with others."""
        return self.ignore | self.silenced

    def feature_weights(self, names: tuple[str, ...], importance: Mapping[str, float]) -> dict[str, float]:
        """The weight of each feature, with mean 1 before anything is silenced; 0 for ignored and silenced ones."""
        if isinstance(self.weights, Mapping):
            raw = {name: max(0.0, float(self.weights.get(name, 1.0))) for name in names}
        else:
            total = sum(max(0.0, importance.get(name, 0.0)) for name in names)
            by_importance = self.weights == "importance" and total > 0
            raw = {
                name: 0.5 + 0.5 * len(names) * max(0.0, importance.get(name, 0.0)) / total if by_importance else 1.0
                for name in names
            }
        return {name: 0.0 if name in self.off else weight for name, weight in raw.items()}

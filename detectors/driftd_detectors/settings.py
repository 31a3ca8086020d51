"""What the user decides of the monitoring of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.budget import SHARES, Budget


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """How a model is watched; every field has an effect from the next check on.

    `ignore`d features are not looked at; `silenced` ones are scored and shown but raise no alarm. `weights` of the
    features are half uniform and half by `importance`, `uniform`, or given by name (1 where not named). `tolerance` is
    in standard deviations of a feature; `tolerated_loss` in units of the metric (None: 10 % of the reference's loss).
    `label_patience` is the age in seconds at which a cohort's labels are no longer waited for (None: twice what the
    reference's labels took, 30 days where that is not known). `learning_windows` must be known, from the reference or
    live, before anything counts as evidence: fewer do not show what windows always do.
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

    @property
    def budget(self) -> Budget:
        """The budget of false alarms and its shares."""
        return Budget(self.windows_per_year, self.false_alarms_per_year, self.shares)

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

"""Two metrics that are watched together: log loss and ROC AUC where positives are rare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import StandingAlarm
from driftd_detectors.performance.cohort_loss import CohortEstimate
from driftd_detectors.performance.level_spread import SpreadPrior
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.performance import Performance, tolerance_of
from driftd_detectors.serialization import as_array, pack, unpack


@dataclass(frozen=True, slots=True)
class PerformancePair:
    """Evidence on two metrics that share one budget of false alarms: each alarms at twice the threshold. Immutable.

    Log loss sees a model whose probabilities are off. It hardly sees one whose scores have become noise: at 1 %
    positives most of it is the chance of the rare class, and a useless model has a third more. ROC AUC sees that in two
    windows.

    Parameters
    ----------
    first
        The metric that is shown and gated.
    beside
        The metric that is told beside it.
    """

    first: Performance
    beside: Performance
    crossed: bool = False  # by the last window
    ended: StandingAlarm | None = None  # by the last window

    @classmethod
    def begin(
        cls,
        first: LossReference,
        beside: LossReference,
        threshold: float,
        *,
        tolerated: float | None,
        window_seconds: float | None,
        waits_for: int = 0,
        priors: tuple[SpreadPrior | None, SpreadPrior | None] = (None, None),
    ) -> PerformancePair:
        """Nothing live is known yet. `tolerated` is of the first metric; the other may lose 10 % of its reference."""
        parts = [
            Performance.begin(
                reference,
                2 * threshold,
                tolerated=tolerance_of(reference, own),
                window_seconds=window_seconds,
                prior=prior,
                waits_for=waits_for,
            )
            for reference, own, prior in ((first, tolerated, priors[0]), (beside, None, priors[1]))
        ]
        return cls(parts[0], parts[1])

    @property
    def leading(self) -> Performance:
        """The one that says more: that whose alarm stands, else that of more evidence."""
        return max(self.first, self.beside, key=lambda one: (one.alarmed, one.value))

    @property
    def tolerated(self) -> float:
        """The rise of the first metric's loss that is no reason for an alarm."""
        return self.first.tolerated

    @property
    def value(self) -> float:
        """The evidence; at least the threshold while an alarm stands."""
        return self.leading.value / 2

    @property
    def threshold(self) -> float:
        """The evidence at which it alarms."""
        return self.first.threshold / 2

    @property
    def alarmed(self) -> bool:
        """Whether an alarm of either metric stands."""
        return self.first.alarmed or self.beside.alarmed

    @property
    def standing(self) -> StandingAlarm | None:
        """The alarm that stands; of two the one that was raised first."""
        alarms = [one.standing for one in (self.first, self.beside) if one.standing is not None]
        return min(alarms, key=lambda alarm: alarm.raised_at, default=None)

    @property
    def cleared(self) -> bool:
        """Whether the last window ended it."""
        return self.ended is not None

    @property
    def change_start(self) -> float | None:
        """The start of the cohort at which the change most likely began."""
        return self.leading.change_start

    @property
    def is_learning(self) -> bool:
        """Whether the labels so far say too little for any average of either metric to be judged."""
        return self.first.is_learning and self.beside.is_learning

    @property
    def learning(self) -> str | None:
        """What is not learned yet, in one phrase."""
        return self.first.learning

    def update(self, estimate: CohortEstimate, start: float, beside: CohortEstimate) -> PerformancePair:
        """One cohort more; a loss of NaN changes nothing of its metric."""
        after = PerformancePair(self.first.update(estimate, start), self.beside.update(beside, start))
        ends = [part.ended for part in (after.first, after.beside) if part.ended is not None]
        return replace(
            after,
            crossed=after.alarmed and not self.alarmed,
            ended=ends[0] if ends and not after.alarmed else None,
        )

    def absorb(self) -> PerformancePair:
        """Take the losses since the change for what is promised from now on."""
        return PerformancePair(self.first.absorb(), self.beside.absorb())

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        return {"pair": True}, {name: as_array(pack(*getattr(self, name).pack())) for name in ("first", "beside")}

    def taken_up(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> PerformancePair | None:
        """This, with the state that `pack` gave; None when the state is of another detector."""
        if not values.get("pair"):
            return None
        first, beside = (
            getattr(self, name).taken_up(*unpack(np.asarray(arrays[name]).tobytes())) for name in ("first", "beside")
        )
        return None if first is None or beside is None else PerformancePair(first, beside)

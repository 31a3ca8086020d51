"""Performance with labels: the loss of cohorts held against what the reference promised (STATISTICS 12.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import StandingAlarm
from driftd_detectors.metrics import BOUNDED
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohort_loss import CohortEstimate
from driftd_detectors.performance.level_averages import LONGEST, ROUGHEST, SpreadPrior, Stretch, places_of
from driftd_detectors.performance.level_evidence import LevelEvidence, Promise
from driftd_detectors.performance.level_view import LevelView, pack_level, unpack_level
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.serialization import JsonObject, as_array, pack, unpack

TOLERATED_SHARE = 0.10  # of the reference's loss, when nothing else is said


@dataclass(frozen=True, slots=True)
class Performance(LevelView):
    """Evidence that the loss of cohorts is above the reference's by more than is tolerated. Immutable.

    Parameters
    ----------
    reference
        The losses of the reference, with those of its windows.
    tolerated
        The rise of the loss that is no reason for an alarm.
    evidence
        The averages of the last windows against that level.

    Notes
    -----
    Every metric is a stream of losses, one for each cohort, with its own sampling variance: that of the estimate
    (`labels.Estimate.sampling_sd`), which knows how many labels a cohort is worth and how its labels were weighted.
    The level is the reference windows' own mean, weighted as live windows are: a metric that is no mean over rows (AUC,
    F1) is another number on a month than on a day. Below three windows it is the metric of the whole reference.

    Examples
    --------
    >>> from driftd_detectors.performance.loss_reference import flat_reference
    >>> reference = flat_reference("error", 0.10, rows=200 * 28, windows=28)
    >>> watched = Performance.begin(reference, 1000.0, tolerated=0.01, window_seconds=None)
    >>> for start in range(8):
    ...     watched = watched.update(CohortEstimate.of_sum(40, 200), float(start))
    >>> watched.alarmed
    True

    References
    ----------
    .. [1] von Neumann, *Distribution of the ratio of the mean square successive difference to the variance*, 1941.
    .. [2] Robins, Rotnitzky, Zhao, *Estimation of regression coefficients when some regressors are not always
       observed*, 1994.
    """

    reference: LossReference
    tolerated: float
    evidence: LevelEvidence

    @classmethod
    def begin(
        cls,
        reference: LossReference,
        threshold: float,
        *,
        tolerated: float,
        window_seconds: float | None,
        prior: SpreadPrior | None = None,
        waits_for: int = 0,
    ) -> Performance:
        """Nothing live is known yet; `prior` is what a predecessor learned of how windows differ."""
        evidence = LevelEvidence.begin(
            promise_of(reference, window_seconds),
            threshold,
            tolerance=tolerated,
            window_seconds=window_seconds,
            prior=prior,
            waits_for=waits_for,
        )
        return cls(reference, tolerated, evidence)

    def update(self, estimate: CohortEstimate, start: float) -> Performance:
        """One cohort more; a loss of NaN changes nothing."""
        evidence = self.evidence.update(estimate.loss, estimate.sampling_sd**2, start)
        return replace(self, evidence=evidence)

    def rebaseline(self) -> Performance:
        """Take the loss since the change for what is promised from now on."""
        return replace(self, evidence=self.evidence.rebaseline())

    def successor_prior(self) -> SpreadPrior:
        """What the detector of the next version begins with."""
        return self.evidence.successor_prior()

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        return pack_level(self.evidence)

    def restore_from(self, values: dict[str, object], arrays: dict[str, NDArray[Any]]) -> Performance | None:
        """This, with the state that `pack` gave; None when the state is of another detector."""
        found = unpack_level(self.evidence, values, arrays)
        return None if found is None else replace(self, evidence=found)


def begin_performance(
    reference: LossReference,
    threshold: float,
    *,
    tolerated: float | None,
    window_seconds: float | None,
    waits_for: int = 0,
    prior: SpreadPrior | None = None,
) -> Performance | CertifiedPerformance:
    """The detector that fits the reference: by betting where even the longest average has too few errors to judge.

    `waits_for` windows are to be known before the status calls their spread learned; alarms do not wait for them.
    """
    margin = tolerance_of(reference, tolerated)
    if is_too_rough(reference):
        return CertifiedPerformance.begin(reference, threshold, tolerated=margin)
    return Performance.begin(
        reference, threshold, tolerated=margin, window_seconds=window_seconds, prior=prior, waits_for=waits_for
    )


def is_too_rough(reference: LossReference) -> bool:
    """Whether 64 windows of the usual size say too little of a bounded loss, so that no average is ever judged."""
    if reference.metric not in BOUNDED or not len(reference.counts):
        return False
    rows = LONGEST * float(np.median(reference.counts))
    return bool(reference.row_sd / np.sqrt(rows) > ROUGHEST * abs(reference.mean))


def promise_of(reference: LossReference, window_seconds: float | None) -> Promise:
    """The level of the reference, with its windows at their places on the calendar."""
    sampling = reference.row_sd**2 / np.maximum(reference.counts, 1.0)
    places = places_of(reference.starts, window_seconds)
    windows = Stretch(places, np.asarray(reference.values, dtype=np.float64), sampling)
    return Promise(reference.mean, windows, reference.row_sd**2 / max(1, reference.rows))


def tolerance_of(reference: LossReference, tolerated: float | None) -> float:
    """The tolerated rise of the *loss*; what the user says is in units of the metric."""
    level = abs(reference.mean)
    if reference.metric == "rmse":
        rise = TOLERATED_SHARE * np.sqrt(level) if tolerated is None else tolerated
        return float((np.sqrt(level) + rise) ** 2 - level)
    return TOLERATED_SHARE * level if tolerated is None else tolerated


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
        return max(self.first, self.beside, key=lambda evidence: (evidence.alarmed, evidence.value))

    @property
    def span(self) -> int:
        """Windows of the average that stands out most."""
        return self.leading.span

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
        alarms = [part.standing for part in (self.first, self.beside) if part.standing is not None]
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

    def rebaseline(self) -> PerformancePair:
        """Take the losses since the change for what is promised from now on."""
        return PerformancePair(self.first.rebaseline(), self.beside.rebaseline())

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        return {"pair": True}, {name: as_array(pack(*getattr(self, name).pack())) for name in ("first", "beside")}

    def restore_from(self, values: dict[str, object], arrays: dict[str, NDArray[Any]]) -> PerformancePair | None:
        """This, with the state that `pack` gave; None when the state is of another detector."""
        if not values.get("pair"):
            return None
        first, beside = (
            getattr(self, name).restore_from(*unpack(np.asarray(arrays[name]).tobytes()))
            for name in ("first", "beside")
        )
        return None if first is None or beside is None else PerformancePair(first, beside)

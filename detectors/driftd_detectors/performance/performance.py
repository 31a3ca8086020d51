"""Performance with labels: the one-sided e-detector on the mean loss of cohorts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.evidence import Evidence, EvidenceView, StreamWeights
from driftd_detectors.evidence.residuals import STRONG_WANDER
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohort_loss import CohortEstimate
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.losses import MEAN_METRICS

TOLERATED_SHARE = 0.10  # of the reference's loss, when nothing else is said
_FEW_ERRORS = 10.0  # expected in a window; below, a proportion is far from normal
_QUARANTINE = 1.5  # a loss that creeps up must not be learned as normal: clean evidence is mostly below one
_RARE_ERRORS = 2.0  # below, even its arcsine is


@dataclass(frozen=True, slots=True)
class Performance(EvidenceView):
    """Evidence that the loss of cohorts has risen above the reference's by more than is tolerated. Immutable.

    Parameters
    ----------
    reference
        The losses of the reference, with those of its windows.
    threshold
        A: the evidence at which it alarms.
    tolerated
        The rise of the loss that is no reason for an alarm.
    window_seconds
        The length of windows, for seasons; None for windows of rows.

    Notes
    -----
    The stream is the cohort's loss minus the reference's, with the tolerance as margin, upward only; the e-detector of
    `evidence.Evidence` does the rest. A proportion of which fewer than 10 are expected in a window goes through
    2 asin sqrt((k + 3/8) / (n + 3/4)), whose sd is 1 / sqrt(n) whatever the proportion (Anscombe 1948): without it a
    clean world of rare errors gives 1.1 false alarms per 1,000 windows.

    A wander of the loss gets its margin only where it is strong (`STRONG_WANDER`): losses of real streams are
    correlated from day to day at .3 to .5, and with the full margin a loss that rose by half for good was never found.

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
    .. [1] Anscombe, *The transformation of Poisson, binomial and negative-binomial data*, Biometrika 1948.
    .. [2] Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """

    reference: LossReference
    tolerated: float
    arcsine: bool
    evidence: Evidence

    @classmethod
    def begin(
        cls, reference: LossReference, threshold: float, *, tolerated: float, window_seconds: float | None
    ) -> Performance:
        """Learn from the reference's windows."""
        arcsine = reference.metric in {"error", "accuracy"} and expected_errors(reference) < _FEW_ERRORS
        bare = cls(reference, tolerated, arcsine, _no_evidence(threshold, window_seconds))
        streams = [
            bare.stream(value, reference.row_sd / np.sqrt(count), count)
            for value, count in zip(reference.values, reference.counts, strict=True)
        ]
        table = np.array(streams).reshape(-1, 3)
        evidence = Evidence.begin(
            bare.evidence.lanes, threshold, reference.starts, table[:, :1], table[:, 1:2], window_seconds
        )
        return replace(bare, evidence=replace(evidence, wander=STRONG_WANDER, quarantine=_QUARANTINE))

    def stream(self, loss: float, sampling_sd: float, counted: float) -> tuple[float, float, float]:
        """The stream's value, its sampling sd and the tolerance, for a loss of so many rows."""
        if not self.arcsine:
            return loss - self.reference.mean, sampling_sd, self.tolerated
        level = _arcsine(self.reference.mean, counted)
        margin = _arcsine(self.reference.mean + self.tolerated, counted) - level
        return _arcsine(loss, counted) - level, 1 / np.sqrt(max(counted, 1.0)), margin

    def update(self, estimate: CohortEstimate, start: float) -> Performance:
        """One cohort more; a loss of NaN changes nothing."""
        if not np.isfinite(estimate.loss):
            return replace(self, evidence=replace(self.evidence, crossed=False))
        value, sd, tolerance = (
            np.array([value]) for value in self.stream(estimate.loss, estimate.sampling_sd, estimate.counted)
        )
        return replace(self, evidence=self.evidence.update(value, sd, tolerance, start))

    def absorb(self) -> Performance:
        """Take the loss since the change for normal."""
        return replace(self, evidence=self.evidence.absorb())

    def change_start(self) -> float | None:
        """The start of the cohort at which the change most likely began."""
        return self.evidence.change_start()

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        return self.evidence.pack()

    def taken_up(self, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Performance:
        """This, with the state that `pack` gave; as it is when the state is of another detector."""
        if "logs" not in arrays:
            return self
        found = self.evidence.taken_up(values, arrays)
        return self if found is None else replace(self, evidence=found)


def begin_performance(
    reference: LossReference,
    threshold: float,
    *,
    tolerated: float | None,
    window_seconds: float | None,
    waits_for: int = 0,
) -> Performance | CertifiedPerformance:
    """The detector that fits the reference: by betting where errors are very rare.

    A reference of few windows does not say how much windows differ; the detector then learns that from the first live
    ones, because a bet that knows nothing of day effects raises false alarms on most real streams.
    """
    margin = tolerance_of(reference, tolerated)
    rare = reference.metric in {"error", "accuracy"} and expected_errors(reference) < _RARE_ERRORS
    if rare and reference.metric in MEAN_METRICS:
        return CertifiedPerformance.begin(reference, threshold, tolerated=margin)
    found = Performance.begin(reference, threshold, tolerated=margin, window_seconds=window_seconds)
    return replace(found, evidence=replace(found.evidence, waits_for=waits_for))


def tolerance_of(reference: LossReference, tolerated: float | None) -> float:
    """The tolerated rise of the *loss*; what the user says is in units of the metric."""
    level = abs(reference.mean)
    if reference.metric == "rmse":
        rise = TOLERATED_SHARE * np.sqrt(level) if tolerated is None else tolerated
        return float((np.sqrt(level) + rise) ** 2 - level)
    return TOLERATED_SHARE * level if tolerated is None else tolerated


def expected_errors(reference: LossReference) -> float:
    """How many errors a window of the usual size is expected to have; infinite without reference windows."""
    return reference.mean * float(np.median(reference.counts)) if len(reference.counts) else float("inf")


def _arcsine(share: float, count: float) -> float:
    inside = (np.clip(share, 0.0, 1.0) * count + 0.375) / (count + 0.75)
    return float(2 * np.arcsin(np.sqrt(inside)))


def _no_evidence(threshold: float, window_seconds: float | None) -> Evidence:
    lanes = StreamWeights.of(np.ones(1), np.zeros(1, dtype=bool))
    nothing: Numbers = np.empty((0, 1))
    return Evidence.begin(lanes, threshold, np.empty(0), nothing, nothing, window_seconds)

"""What watches the losses of a version, begun from its reference: labelled ones, and estimated ones without labels."""

from __future__ import annotations

from driftd_detectors.assessment import (
    EvidenceKind,
)
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.harm import Harm
from driftd_detectors.performance.level_averages import SpreadPrior
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.performance import Performance, PerformancePair, begin_performance, tolerance_of
from driftd_detectors.reference import Reference
from driftd_detectors.settings import MonitorSettings

WatchedLoss = Performance | CertifiedPerformance | PerformancePair


def begin_estimated_loss(reference: Reference, settings: MonitorSettings, loss: LossReference | None) -> Harm | None:
    """The estimate of the metric that is watched; of the gate's loss where that is no mean over rows."""
    names = (reference.loss,) if loss is None else (loss.metric, reference.loss)
    expected = next((reference.expected[name] for name in names if name in reference.expected), None)
    if expected is None:
        return None
    tolerated = settings.tolerated_loss if loss is not None and loss.metric == expected.metric else None
    summary = reference.summary
    seen = summary.rows > 0
    return Harm.begin_estimated(
        expected,
        settings.budget.threshold(EvidenceKind.HARM),
        summary.starts[seen],
        summary.estimated[expected.metric][seen],
        summary.rows[seen],
        tolerated=tolerance_of(reference.losses[expected.metric], tolerated),
        window_seconds=settings.window_seconds,
        waits_for=settings.learning_windows,
    )


def begin_labelled_loss(
    reference: Reference,
    settings: MonitorSettings,
    threshold: float,
    loss: LossReference | None,
    before: WatchedLoss | None,
) -> WatchedLoss | None:
    """What watches labelled losses: two metrics together where log loss was chosen because positives are rare."""
    if loss is None:
        return None
    carried, tolerated, every = _spread_priors(before), settings.tolerated_loss, settings.window_seconds
    waits_for, beside = settings.learning_windows, reference.losses.get("roc_auc")
    if settings.metric == "auto" and loss.metric == "log_loss" and beside is not None:
        priors = (carried.get(loss.metric), carried.get(beside.metric))
        return PerformancePair.begin(
            loss, beside, threshold, tolerated=tolerated, window_seconds=every, waits_for=waits_for, priors=priors
        )
    return begin_performance(
        loss,
        threshold,
        tolerated=tolerated,
        window_seconds=every,
        waits_for=waits_for,
        prior=carried.get(loss.metric),
    )


def _spread_priors(before: WatchedLoss | None) -> dict[str, SpreadPrior]:
    """What the version before learned of how windows differ, by metric."""
    parts = (before.first, before.beside) if isinstance(before, PerformancePair) else (before,)
    return {part.reference.metric: part.successor_prior() for part in parts if isinstance(part, Performance)}

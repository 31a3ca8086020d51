"""Every detector by name, each as a function that begins it: what the conformance tests run over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, Self

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.evidence.stream_drift import begin_data_drift, begin_prediction_drift, score_reference
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.harm import Harm
from driftd_detectors.performance.performance import Performance, tolerance_of
from driftd_detectors.quality.fault_evidence import FaultEvidence
from driftd_detectors.reference import Reference
from driftd_detectors.settings import MonitorSettings


class Detector(Protocol):
    """What all detectors have in common: they are immutable, and `update` gives the detector after one window more."""

    @property
    def threshold(self) -> float:
        """The evidence at which it alarms."""

    @property
    def crossed(self) -> bool:
        """Whether the last window raised the alarm."""


class Absorbing(Detector, Protocol):
    """A detector of drift, whose alarm stands until it is absorbed."""

    @property
    def value(self) -> float:
        """The evidence."""

    @property
    def alarmed(self) -> bool:
        """Whether an alarm stands."""

    def absorb(self) -> Self:
        """Take what was seen since the change for normal."""


Begin = Callable[[Reference, MonitorSettings], "Detector | None"]


def _data(reference: Reference, settings: MonitorSettings) -> Detector | None:
    learned = score_reference(reference.layout, reference.profile, reference.windows)
    return begin_data_drift(reference.layout, learned, settings, reference.importance)


def _prediction(reference: Reference, settings: MonitorSettings) -> Detector | None:
    learned = score_reference(reference.layout, reference.profile, reference.windows)
    return begin_prediction_drift(reference.layout, learned, settings)


def _performance(reference: Reference, settings: MonitorSettings) -> Detector:
    loss = reference.losses[reference.loss]
    threshold = settings.budget.threshold(EvidenceKind.PERFORMANCE)
    margin = tolerance_of(loss, settings.tolerated_loss)
    return Performance.begin(loss, threshold, tolerated=margin, window_seconds=settings.window_seconds)


def _certified_performance(reference: Reference, settings: MonitorSettings) -> Detector:
    loss = reference.losses[reference.loss]
    threshold = settings.budget.threshold(EvidenceKind.PERFORMANCE)
    return CertifiedPerformance.begin(loss, threshold, tolerated=tolerance_of(loss, settings.tolerated_loss))


def _quality(reference: Reference, settings: MonitorSettings) -> Detector:
    return FaultEvidence(settings.budget.threshold(EvidenceKind.QUALITY), len(reference.layout.columns))


def _harm(reference: Reference, settings: MonitorSettings) -> Detector:
    loss = reference.losses[reference.loss]
    return Harm.begin(
        reference.expected[reference.loss],
        settings.budget.threshold(EvidenceKind.HARM),
        reference.windows,
        tolerated=tolerance_of(loss, settings.tolerated_loss),
        window_seconds=settings.window_seconds,
    )


DETECTORS: Mapping[str, tuple[EvidenceKind, Begin]] = {
    "data_drift": (EvidenceKind.DATA, _data),
    "prediction_drift": (EvidenceKind.PREDICTION, _prediction),
    "performance": (EvidenceKind.PERFORMANCE, _performance),
    "certified_performance": (EvidenceKind.PERFORMANCE, _certified_performance),
    "quality": (EvidenceKind.QUALITY, _quality),
    "harm": (EvidenceKind.HARM, _harm),
}

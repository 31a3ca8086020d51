"""Laws that every detector of a monitor keeps: the ones that the daemon really runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import Any

import numpy as np
import pytest

from driftd_detectors.assessment import EvidenceKind, Fault
from driftd_detectors.monitor import Monitor
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.performance.performance import tolerance_of
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import Reference
from driftd_detectors.scores.scoring import score_window
from driftd_detectors.settings import MonitorSettings
from worlds import DAY, day_of, reference_of

SETTINGS = MonitorSettings(windows_per_year=365, window_seconds=DAY)
DETECTORS = {
    "data_drift": EvidenceKind.DATA,
    "prediction_drift": EvidenceKind.PREDICTION,
    "performance": EvidenceKind.PERFORMANCE,
    "certified_performance": EvidenceKind.PERFORMANCE,
    "quality": EvidenceKind.QUALITY,
    "harm": EvidenceKind.HARM,
}
DOCUMENTED = {
    "data_drift": "evidence.stream_drift:begin_data_drift",
    "prediction_drift": "evidence.stream_drift:begin_prediction_drift",
    "performance": "performance.performance:Performance",
    "certified_performance": "performance.betting:CertifiedPerformance",
    "quality": "quality.checks:FaultEvidence",
    "harm": "performance.harm:Harm",
}


@pytest.fixture(scope="module")
def reference() -> Reference:
    """A calm month."""
    return reference_of(np.random.default_rng(11))


def begun(name: str, reference: Reference) -> Any:
    """The detector as a monitor begins it; the certified one, which is for rarer errors than these, by itself."""
    if name == "certified_performance":
        loss, threshold = reference.losses[reference.loss], SETTINGS.budget.threshold(EvidenceKind.PERFORMANCE)
        return CertifiedPerformance.begin(loss, threshold, tolerated=tolerance_of(loss, SETTINGS.tolerated_loss))
    monitor = Monitor.begin(reference, SETTINGS)
    found = {
        EvidenceKind.DATA: monitor.data,
        EvidenceKind.PREDICTION: monitor.prediction,
        EvidenceKind.PERFORMANCE: monitor.performance,
        EvidenceKind.QUALITY: monitor.quality,
        EvidenceKind.HARM: monitor.harm,
    }
    return found[DETECTORS[name]]


def fed(name, detector, reference, rng, number, *, bad=False):
    """The detector after one day more: calm, or with moved features, wrong labels and a missing column."""
    columns, outcomes = day_of(rng, number, shift=0.5 if bad else 0.0, wrong=0.4 if bad else 0.0)
    kind = DETECTORS[name]
    if kind is EvidenceKind.PERFORMANCE:
        loss = reference.losses[reference.loss]
        return detector.update(estimate_loss(outcomes, loss, None, (number + 1) * DAY), number * DAY)
    if kind is EvidenceKind.QUALITY:
        fault = Fault("a", "missing", "a is missing in half of the rows", 0.5, evidence=200.0)
        return detector.update([fault] if bad else [])[0]
    profile = profile_of(columns, outcomes, reference.layout)
    if kind is EvidenceKind.PREDICTION and bad:
        outcomes.prediction[:] = 1.0
        profile = profile_of(columns, outcomes, reference.layout)
    if kind is EvidenceKind.HARM:
        if bad:
            outcomes.score[:] = 0.5
        return detector.update(profile_of(columns, outcomes, reference.layout), number * DAY)
    return detector.update(score_window(profile, reference.profile, reference.layout), number * DAY)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_calm_month_raises_no_alarm_and_a_bad_week_does(name, reference) -> None:
    """Nothing is raised while nothing happens; a gross change is found within a week, and crosses only once."""
    rng = np.random.default_rng(12)
    detector = begun(name, reference)
    for number in range(28, 56):
        detector = fed(name, detector, reference, rng, number)
        assert not detector.crossed
    crossings = 0
    for number in range(56, 63):
        detector = fed(name, detector, reference, rng, number, bad=True)
        crossings += detector.crossed
    assert crossings == 1


@pytest.mark.parametrize("name", DETECTORS)
def test_update_leaves_the_detector_itself_as_it_was(name, reference) -> None:
    """A detector is immutable: feeding it twice from the same state gives the same."""
    detector = begun(name, reference)
    first = fed(name, detector, reference, np.random.default_rng(3), 28, bad=True)
    second = fed(name, detector, reference, np.random.default_rng(3), 28, bad=True)
    assert first is not detector
    assert first.crossed == second.crossed
    if DETECTORS[name] is not EvidenceKind.QUALITY:
        assert first.value == second.value


@pytest.mark.parametrize("name", [name for name, kind in DETECTORS.items() if kind is not EvidenceKind.QUALITY])
def test_a_standing_alarm_is_over_once_it_is_absorbed(name, reference) -> None:
    """An alarm stands at or above its threshold when the world calms down, until it is absorbed."""
    rng = np.random.default_rng(13)
    detector = begun(name, reference)
    for number in range(28, 40):
        detector = fed(name, detector, reference, rng, number, bad=True)
    for number in range(40, 44):
        detector = fed(name, detector, reference, rng, number)
    assert detector.alarmed
    assert detector.value >= detector.threshold
    calm = detector.rebaseline()
    assert not calm.alarmed
    assert calm.value == 0


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_explains_itself(name) -> None:
    """Each has a docstring of four parts, whose example runs."""
    module, _, symbol = DOCUMENTED[name].partition(":")
    loaded = importlib.import_module(f"driftd_detectors.{module}")
    text = inspect.getdoc(getattr(loaded, symbol)) or ""
    assert all(f"{part}\n---" in text for part in ("Parameters", "Notes", "Examples", "References"))
    outcome = doctest.testmod(loaded)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_every_kind_of_evidence_has_a_detector(reference) -> None:
    """Each budget is spent by a detector that a monitor begins, and each detector is documented here."""
    assert set(DETECTORS.values()) == set(EvidenceKind)
    assert set(DOCUMENTED) == set(DETECTORS)
    assert all(begun(name, reference) is not None for name in DETECTORS)

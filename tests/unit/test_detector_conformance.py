"""Laws that every registered detector keeps."""

from __future__ import annotations

import doctest
import importlib
import inspect

import numpy as np
import pytest

from driftd_detectors.assessment import EvidenceKind, Fault
from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.registry import DETECTORS
from driftd_detectors.scores.scoring import score_window
from driftd_detectors.settings import MonitorSettings
from worlds import DAY, day_of, reference_of

SETTINGS = MonitorSettings(windows_per_year=365, window_seconds=DAY)
DOCUMENTED = {
    "data_drift": "data_drift:begin_data_drift",
    "prediction_drift": "prediction_drift:begin_prediction_drift",
    "performance": "performance:Performance",
    "certified_performance": "certified:CertifiedPerformance",
    "quality": "fault_evidence:FaultEvidence",
    "harm": "harm:Harm",
}


@pytest.fixture(scope="module")
def reference():
    """A calm month."""
    return reference_of(np.random.default_rng(11))


def fed(name, detector, reference, rng, number, *, bad=False):
    """The detector after one day more: calm, or with moved features, wrong labels and a missing column."""
    columns, outcomes = day_of(rng, number, shift=0.5 if bad else 0.0, wrong=0.4 if bad else 0.0)
    kind = DETECTORS[name][0]
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
    detector = DETECTORS[name][1](reference, SETTINGS)
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
    detector = DETECTORS[name][1](reference, SETTINGS)
    first = fed(name, detector, reference, np.random.default_rng(3), 28, bad=True)
    second = fed(name, detector, reference, np.random.default_rng(3), 28, bad=True)
    assert first is not detector
    assert first.crossed == second.crossed
    if DETECTORS[name][0] is not EvidenceKind.QUALITY:
        assert first.value == second.value


@pytest.mark.parametrize("name", [name for name, (kind, _) in DETECTORS.items() if kind is not EvidenceKind.QUALITY])
def test_a_standing_alarm_is_over_once_it_is_absorbed(name, reference) -> None:
    """An alarm stands at or above its threshold when the world calms down, until it is absorbed."""
    rng = np.random.default_rng(13)
    detector = DETECTORS[name][1](reference, SETTINGS)
    for number in range(28, 40):
        detector = fed(name, detector, reference, rng, number, bad=True)
    for number in range(40, 44):
        detector = fed(name, detector, reference, rng, number)
    assert detector.alarmed
    assert detector.value >= detector.threshold
    calm = detector.absorb()
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


def test_every_kind_of_evidence_has_a_detector() -> None:
    """The registry covers every budget, and each entry is documented here."""
    assert {kind for kind, _ in DETECTORS.values()} == set(EvidenceKind)
    assert set(DOCUMENTED) == set(DETECTORS)

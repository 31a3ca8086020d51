"""The charts of quality: each weighted, and the same as scikit-learn's where that has one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, confusion_matrix, precision_recall_curve, roc_auc_score

from driftd_detectors.columns import Outcomes
from driftd_detectors.performance.cohort_loss import label_weights
from driftd_detectors.performance.curves import MOST_POINTS, quality_charts
from driftd_detectors.performance.label_delay import LabelDelay

ROWS = 5_000


def outcomes(label, prediction, score=None, classes=()) -> Outcomes:
    """Labelled predictions; a label of -1 or NaN has not come."""
    rows = len(label)
    known = label >= 0 if classes else np.isfinite(label)
    label_at = np.where(known, 10.0, np.nan)
    scores = np.full(rows, np.nan) if score is None else score
    return Outcomes(np.zeros(rows), prediction, scores, label, label_at, np.ones(rows, dtype=np.int64), classes)


@pytest.fixture
def binary() -> tuple[Outcomes, np.ndarray]:
    """Two classes with a score that says something, and a weight for each row."""
    rng = np.random.default_rng(3)
    score = rng.beta(2, 3, ROWS).round(3)  # with ties
    label = (rng.random(ROWS) < score).astype(float)
    return outcomes(label, (score > 0.5).astype(float), score, ("no", "yes")), rng.uniform(0.5, 5, ROWS)


def test_the_curves_of_two_classes_are_those_of_scikit_learn(binary: tuple[Outcomes, np.ndarray]) -> None:
    """The area below ROC, the points of precision and recall, and the matrix, each with weights."""
    rows, weight = binary
    charts = quality_charts(rows, weight)
    assert charts.roc is not None
    assert charts.precision_recall is not None
    assert charts.confusion is not None
    expected = roc_auc_score(rows.label, rows.score, sample_weight=weight)
    assert auc(charts.roc.x, charts.roc.y) == pytest.approx(expected, abs=1e-3)  # of 101 points
    precision, recall, _ = precision_recall_curve(rows.label, rows.score, sample_weight=weight)
    ours = np.interp(0.5, charts.precision_recall.x, charts.precision_recall.y)
    assert ours == pytest.approx(np.interp(0.5, recall[::-1], precision[::-1]), abs=0.01)
    assert len(charts.roc.x) <= MOST_POINTS + 1
    matrix = confusion_matrix(rows.label, rows.prediction, sample_weight=weight)
    assert np.array(charts.confusion.counts)[:2, :2] == pytest.approx(matrix)


def test_a_score_that_keeps_its_promise_lies_on_the_diagonal(binary: tuple[Outcomes, np.ndarray]) -> None:
    """Each bin's share is its mean score, and the weights of the bins are those of all rows."""
    rows, weight = binary
    bins = quality_charts(rows, weight).calibration
    assert bins is not None
    assert [part.share for part in bins] == pytest.approx([part.score for part in bins], abs=0.06)
    assert sum(part.weight for part in bins) == pytest.approx(weight.sum())


def test_a_label_outside_the_classes_is_a_class_of_its_own() -> None:
    """A stray label counts as "other" in the matrix, and is left out of the curves."""
    rows = outcomes(np.array([0.0, 1.0, -2.0]), np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.9, 0.8]), ("a", "b"))
    strays = Outcomes(**{**{name: getattr(rows, name) for name in rows.__slots__}, "label_at": np.full(3, 10.0)})
    confusion = quality_charts(strays, np.ones(3)).confusion
    assert confusion is not None
    assert confusion.classes == ("a", "b", "other")
    assert confusion.counts == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]


def test_residuals_hold_all_weight_and_their_mean() -> None:
    """The histogram loses nothing at its ends; a prediction that is too low by one has a mean of one."""
    rng = np.random.default_rng(4)
    prediction = rng.normal(size=ROWS)
    weight = rng.uniform(0.5, 2, ROWS)
    residuals = quality_charts(outcomes(prediction + 1 + rng.standard_t(2, ROWS), prediction), weight).residuals
    assert residuals is not None
    assert sum(residuals.weights) == pytest.approx(weight.sum())
    assert residuals.mean == pytest.approx(1.0, abs=0.15)
    assert len(residuals.by_prediction) == 10


def test_rows_without_labels_draw_nothing() -> None:
    """No label, one class, and one value alone are no error."""
    nothing = quality_charts(outcomes(np.full(5, np.nan), np.zeros(5)), np.zeros(5))
    assert (nothing.residuals, nothing.roc) == (None, None)
    alone = quality_charts(outcomes(np.ones(5), np.ones(5), np.full(5, 0.5), ("a", "b")), np.ones(5))
    assert alone.roc is None
    assert quality_charts(outcomes(np.ones(5), np.zeros(5)), np.ones(5)).residuals is not None


def test_an_early_label_counts_for_those_that_are_still_to_come() -> None:
    """Where half of the labels of that age are there, each counts twice; a missing one counts nothing."""
    at = np.zeros(1000)
    delay = LabelDelay.learn(at, at + np.linspace(1, 100, 1000), np.zeros(1000), 1)
    rows = outcomes(np.where(np.arange(1000) < 500, 0.0, -1.0), np.zeros(1000), None, ("a",))
    weights = label_weights(rows, delay, 50.0)
    assert weights[:500] == pytest.approx(2.0, rel=0.05)
    assert not weights[500:].any()

"""Losses, metrics, budgets and the estimate of a cohort whose labels are still coming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.columns import Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.performance.label_delay import FIRST_SHARE, LabelDelay
from driftd_detectors.performance.loss_reference import LossReference, learn_losses
from driftd_detectors.performance.losses import loss_of, losses, metric_value, value_of
from driftd_detectors.schema import HIGHER_IS_BETTER, METRICS, Task, cost_metric, display_name
from driftd_detectors.serialization import pack, unpack
from driftd_detectors.settings import Budget
from worlds import DAY, day_of, known_by, together


def regression(rng, rows=500):
    """Predictions of a number, all labelled."""
    label = rng.normal(10, 3, rows)
    at = np.arange(rows, dtype=float)
    nothing = np.full(rows, np.nan)
    return Outcomes(at, label + rng.normal(0, 1, rows), nothing, label, at, np.zeros(rows, dtype=np.int64))


def test_binary_metrics_are_those_of_scikit_learn() -> None:
    """Every metric of a binary task agrees with scikit-learn, weights included."""
    rng = np.random.default_rng(1)
    _, seen = day_of(rng, 0, 600)
    weights = rng.uniform(0.5, 2, 600)
    y, said, score = seen.label, seen.prediction, seen.score
    expected = {
        "error": 1 - sk.accuracy_score(y, said, sample_weight=weights),
        "accuracy": sk.accuracy_score(y, said, sample_weight=weights),
        "brier": sk.brier_score_loss(y, score, sample_weight=weights),
        "log_loss": sk.log_loss(y, score, sample_weight=weights),
        "roc_auc": sk.roc_auc_score(y, np.round(score, 1), sample_weight=weights),
        "f1": sk.f1_score(y, said, sample_weight=weights),
        "precision": sk.precision_score(y, said, sample_weight=weights),
        "recall": sk.recall_score(y, said, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(y, said, sample_weight=weights),
    }
    assert set(expected) == set(METRICS[Task.CLASSIFICATION])
    rounded = Outcomes(seen.at, said, np.round(score, 1), y, seen.label_at, seen.version, seen.classes)
    for name, value in expected.items():
        assert metric_value(name, rounded if name == "roc_auc" else seen, weights) == pytest.approx(value), name


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    """MAE, MSE, RMSE and R2 agree with scikit-learn."""
    seen = regression(np.random.default_rng(2))
    expected = {
        "mae": sk.mean_absolute_error(seen.label, seen.prediction),
        "mse": sk.mean_squared_error(seen.label, seen.prediction),
        "rmse": sk.root_mean_squared_error(seen.label, seen.prediction),
        "r2": sk.r2_score(seen.label, seen.prediction),
    }
    for name, value in expected.items():
        assert metric_value(name, seen) == pytest.approx(value), name


@pytest.mark.parametrize("metric", sorted({*METRICS[Task.CLASSIFICATION], *METRICS[Task.REGRESSION]}))
def test_a_loss_and_its_metric_turn_into_each_other(metric) -> None:
    """`value_of` undoes `loss_of`, and a higher loss is a worse metric."""
    assert value_of(metric, loss_of(metric, 0.3)) == pytest.approx(0.3)
    worse = value_of(metric, 0.5) < value_of(metric, 0.4)
    assert worse is (metric in HIGHER_IS_BETTER)


def test_missing_labels_and_scores_give_no_loss_and_unknown_classes_the_worst() -> None:
    """A row without label or score has NaN; a label that the version never saw is an error."""
    at = np.zeros(3)
    score, label = np.array([0.9, np.nan, 0.9]), np.array([-1.0, 1.0, -1.0])
    label_at = np.array([np.nan, 1.0, 1.0])
    seen = Outcomes(at, np.ones(3), score, label, label_at, np.zeros(3, dtype=np.int64), ("no", "yes"))
    brier = losses("brier", Task.CLASSIFICATION, seen)
    assert np.isnan(brier[:2]).all()
    assert brier[2] == 1.0
    assert losses("error", Task.CLASSIFICATION, seen)[1:].tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="no loss per row"):
        losses("roc_auc", Task.CLASSIFICATION, seen)


def test_the_budget_in_words_and_thresholds() -> None:
    """Thresholds are A over the share of the kind; the promise is told in months, and A is at least 20 windows."""
    hourly = Budget(8766, 1.0)
    assert hourly.threshold(EvidenceKind.DATA) == pytest.approx(8766 / 0.4)
    assert hourly.promise == "about one false alarm in 12 months"
    assert Budget(8766, 12.0).promise == "about one false alarm in a month"
    assert Budget(52.18, 1.0).windows_between_alarms == 52.18
    assert Budget(52.18, 1.0).promise == "about one false alarm in 12 months"
    assert not Budget(52.18, 2.0).is_capped
    assert Budget(52.18, 4.0).is_capped
    assert Budget(52.18, 4.0).windows_between_alarms == 20
    with pytest.raises(ValueError, match="must be above 0"):
        Budget(52, 0.0)


def late_world(rng, days, *, slow=1.0, wrong=0.0):
    """Days in which the labels of the second class come three times later than those of the first."""
    _, seen = together([day_of(rng, number, 1000, wrong=wrong) for number in range(days)])
    delay = rng.exponential(np.where(seen.label == 1, 6.0, 2.0) * DAY * slow)
    return Outcomes(seen.at, seen.prediction, seen.score, seen.label, seen.at + delay, seen.version, seen.classes)


@pytest.mark.parametrize(("slow", "wrong"), [(1.0, 0.0), (1.0, 0.1), (1.4, 0.0)])
def test_early_estimates_have_next_to_no_bias(slow, wrong) -> None:
    """At the first evaluation age the mean estimate of the error is within .006 of the truth, the naive one is not."""
    rng = np.random.default_rng(4)
    reference = late_world(rng, 30)
    learned = learn_losses("error", reference, np.floor(reference.at / DAY))
    delay = LabelDelay.learn_outcomes(reference, until=np.inf)
    age = delay.age_of(FIRST_SHARE)
    off, naive = [], []
    for _ in range(60):
        cohort = late_world(rng, 1, slow=slow, wrong=wrong)
        truth = metric_value("error", cohort)
        seen = known_by(cohort, DAY + age)
        off.append(estimate_loss(seen, learned, delay, DAY + age).loss - truth)
        naive.append(metric_value("error", seen) - truth)
    assert abs(np.mean(off)) <= 0.006


def test_the_band_of_an_early_estimate_covers_the_truth() -> None:
    """The 95 % band holds the loss of the whole cohort in at least 90 % of 100 cohorts."""
    rng = np.random.default_rng(5)
    reference = late_world(rng, 30)
    learned = learn_losses("brier", reference, np.floor(reference.at / DAY))
    delay = LabelDelay.learn_outcomes(reference, until=np.inf)
    now = DAY + delay.age_of(FIRST_SHARE)
    cohorts = [late_world(rng, 1) for _ in range(100)]
    estimates = [estimate_loss(known_by(item, now), learned, delay, now) for item in cohorts]
    truths = [metric_value("brier", item) for item in cohorts]
    assert np.mean([item.low <= true <= item.high for item, true in zip(estimates, truths, strict=True)]) >= 0.9


def test_a_loss_reference_and_packed_arrays_come_back_as_they_were() -> None:
    """What is stored is read back equal; foreign bytes are refused."""
    rng = np.random.default_rng(6)
    learned = learn_losses("mae", regression(rng), np.zeros(500))
    again = LossReference.from_dict(learned.to_dict())
    assert again.to_dict() == learned.to_dict()
    values, arrays = unpack(pack({"one": 1}, {"x": np.arange(3.0), "none": np.empty((0, 2), dtype=np.float32)}))
    assert values == {"one": 1}
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["none"].shape == (0, 2)
    with pytest.raises(ValueError, match="not written by"):
        unpack(b"something else")


def test_costs_of_classes() -> None:
    """A right answer costs nothing, a wrong one what the pair costs, an unnamed pair and a stray label the most."""
    metric = cost_metric({"bad": {"good": 5.0}, "good": {"bad": 1.0}})
    label, prediction = np.array([0.0, 0.0, 1.0, 1.0, 2.0, -2.0, -1.0]), np.array([0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    label_at = np.where(label == -1, np.nan, 1.0)
    score, version = np.full(7, np.nan), np.zeros(7, dtype=np.int64)
    outcomes = Outcomes(np.zeros(7), prediction, score, label, label_at, version, ("bad", "good", "new"))
    found = losses(metric, Task.CLASSIFICATION, outcomes)
    assert found[:6].tolist() == [0.0, 5.0, 1.0, 0.0, 5.0, 5.0]
    assert np.isnan(found[6])
    assert metric_value(metric, outcomes) == pytest.approx(16 / 6)
    assert display_name(metric) == "cost"
    with pytest.raises(DetectorError, match=r"the costs name .*, and the classes are bad, good, new"):
        losses(cost_metric({"0": {"1": 5.0}}), Task.CLASSIFICATION, outcomes)


def test_costs_of_numbers() -> None:
    """A unit too much and a unit too little have prices of their own."""
    two = np.array([3.0, 1.0])
    outcomes = Outcomes(np.zeros(2), two, np.full(2, np.nan), np.full(2, 2.0), np.ones(2), np.zeros(2, dtype=np.int64))
    found = losses(cost_metric({"over": 1.0, "under": 4.0}), Task.REGRESSION, outcomes)
    assert found.tolist() == [1.0, 4.0]


def test_the_losses_of_an_own_function_come_with_the_rows() -> None:
    """They are read off the outcomes, only of labelled rows; without them nothing is guessed."""
    label_at = np.array([1.0, np.nan])
    bare = Outcomes(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2), label_at, np.zeros(2, dtype=np.int64))
    own = replace(bare, own_loss=np.array([3.0, 4.0]))
    assert losses("pkg.mod:loss", Task.REGRESSION, own)[0] == 3.0
    assert np.isnan(losses("pkg.mod:loss", Task.REGRESSION, own)[1])
    with pytest.raises(DetectorError, match="nobody has computed the losses"):
        losses("pkg.mod:loss", Task.REGRESSION, bare)

"""Which loss is watched and gated by `metric: auto`: log loss where positives are rare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from driftd.training.compare import gate_metric, row_losses
from driftd.training.training_rows import TrainingRows
from driftd_detectors.assessment import EvidenceKind, Verdict
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.comparison.gate import judge
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.performance.losses import automatic_metric, rarer_share, value_of
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY, CLASSES = 86_400.0, ("no", "yes")
SCHEMA = Schema(Task.CLASSIFICATION, "y", (Feature("z", Kind.NUMBER),), CLASSES)
SETTINGS = MonitorSettings(windows_per_year=365.25, window_seconds=DAY)


def rare_rows(rng, day: int, rows: int = 3000, *, useless: bool = False) -> tuple[Columns, Outcomes]:
    """One day of 1 % positives and a calibrated model of AUC .85; `useless`: its scores have become noise."""
    z = 1.5 * rng.standard_normal(rows)
    chance = 1 / (1 + np.exp(-(z + np.log(0.01 / 0.99) - 1)))
    label = (rng.random(rows) < chance).astype(float)
    score = rng.permutation(chance) if useless else chance
    at = day * DAY + np.sort(rng.random(rows)) * DAY
    said = Outcomes(at, (score > 0.5).astype(float), score, label, at, np.ones(rows, dtype=np.int64), CLASSES)
    return Columns(rows, {"z": z}, {}), said


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Ten days of rare positives."""
    days = [rare_rows(np.random.default_rng(number), number) for number in range(10)]
    names = ("at", "prediction", "score", "label", "label_at", "version")
    arrays = [np.concatenate([getattr(item, name) for _, item in days]) for name in names]
    columns = Columns(30_000, {"z": np.concatenate([item.values["z"] for item, _ in days])}, {})
    starts = np.floor(arrays[0] / DAY) * DAY
    return learn_reference(
        columns, Outcomes(*arrays, CLASSES), SCHEMA, starts=starts, importance={"z": 1.0}, loss="log_loss"
    )


@pytest.mark.parametrize(
    ("task", "rarer", "metric"),
    [
        (Task.REGRESSION, float("nan"), "mae"),
        (Task.CLASSIFICATION, float("nan"), "brier"),
        (Task.CLASSIFICATION, 0.05, "brier"),
        (Task.CLASSIFICATION, 0.049, "log_loss"),
    ],
)
def test_rare_positives_are_watched_by_log_loss(task, rarer, metric) -> None:
    """Below 5 % of the rarer class it is log loss; otherwise, and where that is not known, what it always was."""
    assert automatic_metric(task, rarer) == metric
    assert gate_metric(None, task, scored=True, rarer=rarer) == metric
    assert gate_metric("roc_auc", task, scored=True, rarer=rarer) == metric


def test_a_metric_that_is_asked_for_is_kept_and_classes_without_scores_have_errors_alone() -> None:
    """The config's word comes first; without probabilities there is no log loss."""
    assert gate_metric("brier", Task.CLASSIFICATION, scored=True, rarer=0.01) == "brier"
    assert gate_metric(None, Task.CLASSIFICATION, scored=False, rarer=0.01) == "error"


def test_either_class_may_be_the_rare_one() -> None:
    """The share is of the rarer of two classes; three classes and no labels have none."""
    assert rarer_share(np.array(["yes"] * 98 + ["no"] * 2), CLASSES) == pytest.approx(0.02)
    assert rarer_share(np.array(["no"] * 98 + ["yes"] * 2), CLASSES) == pytest.approx(0.02)
    assert np.isnan(rarer_share(np.array(["a", "b"]), ("a", "b", "c")))
    assert np.isnan(rarer_share(np.array([]), CLASSES))


def test_rows_with_rare_positives_are_compared_by_log_loss() -> None:
    """The gate's losses of such rows are those of log loss."""
    rng = np.random.default_rng(1)
    _, outcomes = rare_rows(rng, 0)
    target = np.array([CLASSES[int(item)] for item in outcomes.label], dtype=object)
    rows = TrainingRows(
        SCHEMA, pd.DataFrame({"z": np.zeros(outcomes.rows)}), target, outcomes.at, outcomes.at, outcomes.version
    )
    chance = np.where(outcomes.label == 1, outcomes.score, 1 - outcomes.score)
    assert row_losses(outcomes, rows, None) == pytest.approx(-np.log(chance))


def test_a_model_that_becomes_noise_is_found_and_its_auc_is_told(reference) -> None:
    """At 1 % positives scores that became noise alarm within a week, by the ROC AUC beside the log loss."""
    monitor = Monitor.begin(Reference.from_bytes(reference.to_bytes()), SETTINGS)
    assert monitor.loss is not None
    assert monitor.loss.metric == "log_loss"
    rng, crossed = np.random.default_rng(2), []
    for day in range(10, 30):
        _, outcomes = rare_rows(rng, day, useless=day >= 16)
        monitor, seen = monitor.check_labels(outcomes, day * DAY, DAY)
        kind = seen.of(EvidenceKind.PERFORMANCE)
        crossed += [day] if kind is not None and kind.crossed else []
    assert len(crossed) == 1
    assert 16 < crossed[0] < 23
    assert kind.leaders[0][0] == "roc_auc"
    assert kind.figures.startswith("The average roc_auc of the last ")
    again = Monitor.from_bytes(reference, SETTINGS, monitor.to_bytes())
    assert again.renewed == ()
    assert again.performance.value == monitor.performance.value
    assert seen.verdict is Verdict.DRIFT
    promised = value_of("roc_auc", monitor.performance.beside.evidence.promise.mean)
    assert seen.figures["roc_auc_baseline"] == promised  # the level that the alarm's own sentence names
    assert promised == pytest.approx(0.85, abs=0.04)
    assert seen.figures["roc_auc"] < 0.7
    assert "roc_auc 0." in seen.sentence


def test_a_metric_that_the_config_names_has_nothing_beside_it(reference) -> None:
    """Who asks for log loss, or for Brier, gets that alone; an old reference, which knows no share, keeps Brier."""
    for metric in ("log_loss", "brier"):
        monitor = Monitor.begin(reference, replace(SETTINGS, metric=metric))
        _, seen = monitor.check_labels(rare_rows(np.random.default_rng(3), 10)[1], 10 * DAY, DAY)
        assert "roc_auc" not in seen.figures
    old = Monitor.begin(replace(reference, rarer=float("nan")), SETTINGS)
    assert old.loss is not None
    assert old.loss.metric == "brier"


@pytest.mark.slow
def test_the_gate_promotes_a_good_model_of_rare_positives() -> None:
    """On 3,000 rows a calibrated challenger beats the base rate in two of three cases, and hardly by Brier."""
    rng, promoted = np.random.default_rng(3), {"log_loss": 0, "brier": 0}
    for _ in range(100):
        _, outcomes = rare_rows(rng, 0)
        at = np.sort(rng.uniform(0, 10 * DAY, outcomes.rows))
        label, score, base = outcomes.label, outcomes.score, outcomes.score.mean()
        log = [-np.log(np.where(label == 1, item, 1 - item)) for item in (score, base)]
        square = [(item - label) ** 2 for item in (score, base)]
        promoted["log_loss"] += judge(log[0], log[1], at).decision == "promote"
        promoted["brier"] += judge(square[0], square[1], at).decision == "promote"
    assert promoted["log_loss"] >= 65  # whole days judge: five blocks of two days here
    assert promoted["brier"] < 50

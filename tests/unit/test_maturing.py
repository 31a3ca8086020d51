"""Late labels: the weights undo the selection of what is known early."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from driftd.training.training_rows import FIRST_SHARE, ArrivalWeights, TrainingRows, worth_weighing
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY = 86_400.0
SCHEMA = Schema(Task.CLASSIFICATION, "y", (Feature("x", Kind.NUMBER),), ("cancelled", "kept"))


def labelled(until: float, *, kept_after: float, days: int = 200, a_day: int = 60, seed: int = 0) -> TrainingRows:
    """Bookings of which half are cancelled, known in a day; kept ones are known after a mean of `kept_after`."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, days * DAY, days * a_day))
    kept = rng.random(len(at)) < 0.5
    label_at = at + np.where(kept, rng.exponential(kept_after, len(at)), rng.exponential(DAY, len(at)))
    known = label_at <= until
    target = np.where(kept, "kept", "cancelled").astype(object)[known]
    count = int(known.sum())
    frame = pd.DataFrame({"x": np.zeros(count)})
    zeros = np.zeros(count, dtype=np.int64)
    return TrainingRows(SCHEMA, frame, target, at[known], label_at[known], zeros, zeros.astype(object))


def test_the_weighted_share_of_a_slow_class_is_its_true_share() -> None:
    """Of the newest weeks' labelled rows most are cancelled; weighted, it is the half that it is in truth."""
    until = 200 * DAY
    rows = labelled(until, kept_after=20 * DAY)
    weights = ArrivalWeights.learn(rows, until).weights(rows, until)
    newest = (rows.at > until - 30 * DAY) & (weights > 0)
    kept = rows.target == "kept"
    assert kept[newest].mean() < 0.42
    assert np.average(kept[newest], weights=weights[newest]) == pytest.approx(0.5, abs=0.04)
    assert weights.max() <= 1 / FIRST_SHARE


def test_rows_too_young_to_say_are_a_suffix() -> None:
    """Only the newest rows are left out, so that positions in a snapshot keep their meaning."""
    until = 200 * DAY
    rows = labelled(until, kept_after=20 * DAY)
    weights = ArrivalWeights.learn(rows, until).weights(rows, until)
    young = weights == 0
    assert 0 < young.sum() < len(rows) / 4
    assert young[len(rows) - young.sum() :].all()


def test_labels_that_come_at_once_leave_the_weights_alone() -> None:
    """With short delays every row but the last few counts as one."""
    until = 201 * DAY
    rows = labelled(until, kept_after=3600.0)
    weights = ArrivalWeights.learn(rows, until).weights(rows, until)
    assert (weights > 0).all()
    assert worth_weighing(weights[:-200]) is None
    assert ArrivalWeights.learn(rows, until).age_of(0.9) < 3 * DAY


def test_two_rows_are_enough_to_survive() -> None:
    """Hardly any rows give weights and no error."""
    rows = labelled(200 * DAY, kept_after=DAY).take(slice(0, 2))
    assert len(ArrivalWeights.learn(rows, 200 * DAY).weights(rows, 200 * DAY)) == 2


def test_a_regression_is_grouped_by_its_target() -> None:
    """Large values that come late are weighted up like a slow class."""
    rng = np.random.default_rng(1)
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    at = np.sort(rng.uniform(0, 100 * DAY, 6000))
    value = rng.exponential(1.0, 6000)
    label_at = at + rng.exponential(np.where(value > 1.1, 10, 0.2), 6000) * DAY
    known = label_at <= 100 * DAY
    zeros = np.zeros(int(known.sum()), dtype=np.int64)
    rows = TrainingRows(
        schema,
        pd.DataFrame({"x": value[known]}),
        value[known],
        at[known],
        label_at[known],
        zeros,
        zeros.astype(object),
    )
    weights = ArrivalWeights.learn(rows, 100 * DAY).weights(rows, 100 * DAY)
    newest = (rows.at > 85 * DAY) & (weights > 0)
    plain, weighted = rows.target[newest].mean(), np.average(rows.target[newest], weights=weights[newest])
    assert abs(weighted - 1) < abs(plain - 1) / 2

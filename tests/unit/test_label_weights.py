"""Late labels: the weights undo the selection of what is known early."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from driftd.training.training_rows import TrainingRows, label_weights, learn_label_delay
from driftd_detectors.performance.label_delay import FIRST_SHARE, worth_weighing
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
    return TrainingRows(SCHEMA, frame, target, at[known], label_at[known], zeros)


def test_the_weighted_share_of_a_slow_class_is_its_true_share() -> None:
    """Of the newest weeks' labelled rows most are cancelled; weighted, it is the half that it is in truth."""
    until = 200 * DAY
    rows = labelled(until, kept_after=20 * DAY)
    weights = label_weights(rows, learn_label_delay(rows, until), until)
    newest = (rows.at > until - 30 * DAY) & (weights > 0)
    kept = rows.target == "kept"
    assert kept[newest].mean() < 0.42
    assert np.average(kept[newest], weights=weights[newest]) == pytest.approx(0.5, abs=0.04)
    assert weights.max() <= 1 / FIRST_SHARE


def test_rows_too_young_to_say_are_a_suffix() -> None:
    """Only the newest rows are left out, so that positions in a snapshot keep their meaning."""
    until = 200 * DAY
    rows = labelled(until, kept_after=20 * DAY)
    weights = label_weights(rows, learn_label_delay(rows, until), until)
    young = weights == 0
    assert 0 < young.sum() < len(rows) / 4
    assert young[len(rows) - young.sum() :].all()


def test_labels_that_come_at_once_leave_the_weights_alone() -> None:
    """With short delays every row but the last few counts as one."""
    until = 201 * DAY
    rows = labelled(until, kept_after=3600.0)
    weights = label_weights(rows, learn_label_delay(rows, until), until)
    assert (weights > 0).all()
    assert worth_weighing(weights[:-200]) is None
    assert learn_label_delay(rows, until).age_of(0.9) < 3 * DAY


def test_two_rows_are_enough_to_survive() -> None:
    """Hardly any rows give weights and no error."""
    rows = labelled(200 * DAY, kept_after=DAY).take(slice(0, 2))
    assert len(label_weights(rows, learn_label_delay(rows, 200 * DAY), 200 * DAY)) == 2


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
    )
    weights = label_weights(rows, learn_label_delay(rows, 100 * DAY), 100 * DAY)
    newest = (rows.at > 85 * DAY) & (weights > 0)
    plain, weighted = rows.target[newest].mean(), np.average(rows.target[newest], weights=weights[newest])
    assert abs(weighted - 1) < abs(plain - 1) / 2


def test_labels_without_a_time_leave_the_delay_unknown_and_the_weights_alone() -> None:
    """Nobody said when the labels came: all rows count alike, and no delay is made up."""
    rows = labelled(200 * DAY, kept_after=20 * DAY)
    for label_at in (np.full(len(rows), np.nan), rows.at.copy()):  # as it is now, and as earlier versions stored it
        without = replace(rows, label_at=label_at)
        delay = learn_label_delay(without, 200 * DAY)
        assert not delay.is_known
        assert delay.first_age is None
        assert (label_weights(without, delay, 200 * DAY) == 1).all()


def test_rows_of_a_file_without_label_times_do_not_hide_how_late_live_labels_come() -> None:
    """A file of old rows with copied times and live rows with real ones: the delay is that of the live rows."""
    old, live = labelled(200 * DAY, kept_after=DAY), labelled(200 * DAY, kept_after=20 * DAY, seed=1)
    both = replace(
        live,
        features=pd.concat([old.frame, live.frame], ignore_index=True),
        target=np.concatenate([old.target, live.target]),
        at=np.concatenate([old.at, live.at + 200 * DAY]),
        label_at=np.concatenate([old.at, live.label_at + 200 * DAY]),
        version=np.concatenate([old.version, live.version + 1]),
    )
    found, alone = learn_label_delay(both, 400 * DAY), learn_label_delay(live, 200 * DAY)
    assert found.first_age == pytest.approx(alone.first_age)
    assert found.mature_age == pytest.approx(alone.mature_age)


def test_weights_are_the_same_at_a_time_that_a_manifest_has_rounded() -> None:
    """A manifest holds microseconds; a version that is built again from it must get the very same weights."""
    until = 200 * DAY + 0.123_456_7
    stored = datetime.fromisoformat(datetime.fromtimestamp(until, UTC).isoformat()).timestamp()
    assert stored != until
    rows = labelled(until, kept_after=20 * DAY)
    first, again = (label_weights(rows, learn_label_delay(rows, moment), moment) for moment in (until, stored))
    assert worth_weighing(first[first > 0]) is not None
    assert np.array_equal(first, again)

"""The sample that a trainer gets of too many rows: repeatable, stratified, and true to the weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from driftd.training.call_trainer import TrainerSpec, fit
from driftd.training.training_rows import TrainingRows
from driftd.training.training_sample import MOST_VALUES, draw_rows, most_rows
from driftd_detectors.schema import Feature, Kind, Schema, Task

FEATURES = (Feature("x", Kind.NUMBER),)
CLASSES = Schema(Task.CLASSIFICATION, "y", FEATURES, ("no", "yes"))
NUMBERS = Schema(Task.REGRESSION, "y", FEATURES)
COUNT = 20_000


def rows(schema: Schema = CLASSES, yes: float = 0.2) -> TrainingRows:
    rng = np.random.default_rng(1)
    x, at = rng.normal(size=COUNT), np.arange(COUNT, dtype=np.float64)
    target = x + 1.0 if schema is NUMBERS else np.where(rng.random(COUNT) < yes, "yes", "no").astype(object)
    return TrainingRows(schema, pd.DataFrame({"x": x}), target, at, at, np.zeros(COUNT, dtype=np.int64))


def test_few_rows_are_all_kept() -> None:
    """Rows that are not too many come back as they are, with their weights, and the lineage says nothing."""
    known, weight = rows(), np.linspace(1, 2, COUNT)
    drawn = draw_rows(known, weight, COUNT, 1)
    assert (drawn.rows, drawn.described) == (known, {})
    assert drawn.weight is weight


def test_a_sample_repeats_and_depends_on_the_seed() -> None:
    """The same rows and seed give the same sample, in the order of time; another seed gives another."""
    first, again, other = (draw_rows(rows(), None, 1_000, seed).rows.at for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first)) == len(first) == 1_000
    assert (np.diff(first) > 0).all()


def test_each_class_has_its_share() -> None:
    """A class is as frequent in the sample as in the rows, and all rows count alike."""
    known = rows()
    drawn = draw_rows(known, None, 1_000, 3)
    assert np.mean(drawn.rows.target == "yes") == pytest.approx(np.mean(known.target == "yes"), abs=0.001)
    assert drawn.weight is None
    assert drawn.record is not None
    assert (drawn.record.seen, drawn.record.kept, drawn.record.weighted) == (COUNT, 1_000, False)
    assert sum(seen for seen, _ in drawn.record.strata.values()) == COUNT
    assert set(drawn.record.strata) == {"no", "yes"}


def test_a_rare_class_keeps_its_rows_and_its_weight() -> None:
    """Of a class with few rows all stay, and weights keep its true share for who makes something of them."""
    known = rows(yes=0.003)
    drawn = draw_rows(known, None, 1_000, 3)
    is_rare = drawn.rows.target == "yes"
    assert is_rare.sum() == (known.target == "yes").sum()
    assert drawn.weight is not None
    share = drawn.weight[is_rare].sum() / drawn.weight.sum()
    assert share == pytest.approx(np.mean(known.target == "yes"), rel=0.02)
    assert len(drawn.rows) == 1_000


def test_newer_rows_come_more_often_where_the_recipe_weighs_them_so() -> None:
    """A row's chance goes with its weight, so that what is left of the weights is alike and the trainer gets none."""
    weight = 0.5 ** (np.arange(COUNT)[::-1] / (COUNT / 4))
    drawn = draw_rows(rows(NUMBERS), weight, 500, 5)
    halves = np.histogram(drawn.rows.at, bins=4, range=(0, COUNT))[0]
    expected = [500 * part.sum() / weight.sum() for part in np.split(weight, 4)]
    assert halves == pytest.approx(np.array(expected), abs=45)
    assert drawn.weight is None


def test_what_weights_are_left_makes_the_sample_stand_for_all_rows() -> None:
    """Where the heaviest rows are all drawn, they keep more weight: weighted means stay what they were."""
    known, weight = rows(NUMBERS), np.where(np.arange(COUNT) < COUNT - 200, 1.0, 60.0)
    drawn = draw_rows(known, weight, 4_000, 5)
    assert drawn.weight is not None
    newest = drawn.rows.at >= COUNT - 200
    assert newest.sum() == 200
    truth, found = np.average(known.at, weights=weight), np.average(drawn.rows.at, weights=drawn.weight)
    assert found == pytest.approx(truth, rel=0.02)


def test_rows_that_count_nothing_are_not_drawn() -> None:
    """Very old rows, whose weight has become 0, are none of the sample, also where it could hold them."""
    weight = np.where(np.arange(COUNT) < COUNT - 300, 0.0, 1.0)
    drawn = draw_rows(rows(), weight, 1_000, 5)
    assert drawn.rows.at.tolist() == list(range(COUNT - 300, COUNT))
    assert drawn.weight is None


def test_a_trainer_sees_no_more_rows_than_the_budget() -> None:
    """`fit` hands over a sample, whichever recipe asks, and as many rows as memory allows where nothing is set."""
    estimator = fit(TrainerSpec("sample_trainers:counts", seed=1, most_rows=1_500), rows(NUMBERS))
    assert estimator.rows == 1_500
    assert fit(TrainerSpec("sample_trainers:counts", seed=1), rows(NUMBERS)).rows == COUNT
    assert 1_000 <= most_rows(50) <= MOST_VALUES // 50
    assert most_rows(1) > most_rows(50)

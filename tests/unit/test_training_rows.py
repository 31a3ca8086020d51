"""Which rows are held out, and which of the others are trained on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.training.training_rows import (
    FEWEST_ROWS,
    TrainingWindow,
    choose,
    fixed_portion,
    holdout_start,
    portions,
    validation_start,
)


def test_the_newest_quarter_is_held_out() -> None:
    """Without a change, a quarter of the rows, and at least as many as the gate needs."""
    assert holdout_start(np.arange(10_000.0), None, 300) == 7500
    assert holdout_start(np.arange(800.0), None, 300) == 500
    assert holdout_start(np.arange(100.0), None, 300) == 50


def test_after_a_change_only_new_rows_are_held_out_and_some_are_trained_on() -> None:
    """A quarter of the rows since the change, or what the gate needs, but never more than half of them."""
    at = np.arange(10_000.0)
    assert holdout_start(at, 6000.0, 300) == 9000
    assert holdout_start(at, 9400.0, 300) == 9700
    assert holdout_start(at, 9900.0, 300) == 9950


def test_a_change_outside_the_rows_is_no_change() -> None:
    """A change before the first or after the last row leaves the plain rule."""
    at = np.arange(1000.0)
    assert holdout_start(at, -5.0, 10) == holdout_start(at, 5000.0, 10) == 750


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.0, 1.0, 60.0]), min_size=40, max_size=300),
    change=st.none() | st.floats(0, 3000),
    needed=st.integers(1, 500),
)
def test_the_cut_always_leaves_rows_on_both_sides(gaps: list[float], change: float | None, needed: int) -> None:
    """Whatever the times, both sides have rows, and training rows are never later than held-out ones."""
    at = np.cumsum(gaps)
    cut = holdout_start(at, change, needed)
    assert 0 < cut < len(at)
    assert at[:cut].max() <= at[cut:].min()
    for way in portions(at[:cut], change):
        assert 0 <= way.start < cut
        weight = way.weight(cut)
        if weight is not None:
            assert weight.mean() == pytest.approx(1)
            assert weight[: way.pivot].sum() == pytest.approx(weight[way.pivot :].sum())
    assert 0 < validation_start(cut, portions(at[:cut], change)) < cut


def test_the_smallest_loss_wins_and_ties_go_to_all() -> None:
    """Evidence decides; where there is none, all rows are used; a way that could not be trained never wins."""
    ways = portions(np.arange(1000.0), 600.0)
    assert [way.name for way in ways] == ["all", "weighted", "since_change"]
    seen: dict[str, float] = {"all": 3.0, "weighted": 1.0, "since_change": np.nan}
    chosen, losses = choose(1000, ways, lambda way, _: seen[way.name])
    assert (chosen.name, losses["since_change"]) == ("weighted", None)
    assert choose(1000, ways, lambda *_: 1.0)[0].name == "all"
    assert choose(1000, ways, lambda *_: np.nan)[0].name == "all"


def test_every_way_is_compared_on_rows_that_none_of_them_saw() -> None:
    """The comparison begins after the change, so that training on new rows alone is possible at all."""
    ways = portions(np.arange(1000.0), 900.0)
    assert validation_start(1000, ways) == 950


def test_too_few_rows_since_the_change_are_not_trained_on_alone() -> None:
    """Below thirty rows they can only be weighted."""
    assert [way.name for way in portions(np.arange(1000.0), 980.0)] == ["all", "weighted"]


def test_the_config_can_fix_the_portion() -> None:
    """`all`, `recent` by rows or span, and `since_change` do what they say and keep a minimum of rows."""
    at = np.arange(1000.0)
    assert fixed_portion("all", at, 500.0).start == 0
    assert fixed_portion("recent", at, None, rows=200).start == 800
    assert fixed_portion("recent", at, None, span=99.0).start == 900
    assert fixed_portion("since_change", at, 500.0).start == 500
    assert fixed_portion("since_change", at, None).start == 0
    assert fixed_portion("since_change", at, 999.0).start == 1000 - FEWEST_ROWS


def test_a_portion_without_a_pivot_weighs_all_alike() -> None:
    """Only the weighted way has weights."""
    assert TrainingWindow("recent", 10).weight(100) is None
    assert TrainingWindow("weighted", 0, 80).weight(100).tolist() == [0.625] * 80 + [2.5] * 20

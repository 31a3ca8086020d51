"""Which rows are held out, and which of the others are trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from driftd.training import stored_rows, training_rows
from driftd.training.compare import predict_pieces
from driftd.training.stored_rows import StoredRows, write_rows
from driftd.training.training_rows import (
    FEWEST_ROWS,
    TrainingWindow,
    choose,
    fixed_portion,
    holdout_start,
    join_rows,
    portions,
    rows_of,
    validation_start,
)
from driftd_detectors.schema import Feature, Kind, Schema, Task


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
    weight = TrainingWindow("weighted", 0, 80).weight(100)
    assert weight is not None
    assert weight.tolist() == [0.625] * 80 + [2.5] * 20


MIXED = Schema(
    Task.CLASSIFICATION,
    "y",
    (Feature("n", Kind.NUMBER), Feature("c", Kind.CATEGORY, ("u", "v")), Feature("b", Kind.BOOLEAN)),
    ("no", "yes"),
)


def stored(folder: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> StoredRows:
    """Rows in a file of many row groups."""
    monkeypatch.setattr(stored_rows, "_GROUP_ROWS", 7)
    monkeypatch.setattr(stored_rows, "_FEWEST_OF_GROUP", 1)
    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "n": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.2),
            "c": rng.choice(["u", "v"], rows).tolist(),
            "b": rng.random(rows) < 0.5,
            "y": rng.choice(["no", "yes"], rows).tolist(),
            "driftd_at": np.arange(rows, dtype=np.float64),
            "driftd_label_at": np.arange(rows, dtype=np.float64),
            "driftd_version": np.ones(rows, dtype=np.int64),
        }
    )
    write_rows(folder / "rows.parquet", [table.slice(0, 11), table.slice(11)], table.schema)
    return StoredRows.open(folder / "rows.parquet")


def test_rows_on_the_disk_are_the_rows_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, in pieces, some of them, joined, one column, or as a version with fewer features sees them."""
    rows = stored(tmp_path, 40, monkeypatch)
    held = rows_of(rows, MIXED)
    monkeypatch.setattr(training_rows, "HELD_VALUES", 0)
    lazy = rows_of(rows, MIXED)
    assert isinstance(held.features, pd.DataFrame)
    assert not isinstance(lazy.features, pd.DataFrame)
    assert_frame_equal(lazy.frame, held.frame)
    some = lazy.take(np.arange(40) % 3 == 0).take(slice(2, None))
    expected = held.take(np.arange(40) % 3 == 0).take(slice(2, None))
    assert_frame_equal(some.frame, expected.frame)
    pieces = list(some.pieces())
    assert len(pieces) > 3
    assert_frame_equal(pd.concat([piece.frame for piece in pieces], ignore_index=True), expected.frame)
    assert [name for piece in pieces for name in piece.target] == expected.target.tolist()
    assert_frame_equal(
        join_rows([lazy.take(slice(0, 9)), lazy.take(slice(20, 30))]).frame,
        join_rows([held.take(slice(0, 9)), held.take(slice(20, 30))]).frame,
    )
    assert some.column("c").tolist() == expected.column("c").tolist()
    other = replace(MIXED, features=(Feature("c", Kind.CATEGORY, ("u",)), Feature("new", Kind.NUMBER)))
    assert_frame_equal(some.under(other).frame, expected.under(other).frame)
    assert len(lazy.take(slice(0, 0)).frame) == 0
    assert predict_pieces(Always(), lazy).values() == ["no"] * 40
    assert predict_pieces(Always(), lazy.take(slice(0, 0))).values() == []


class Always:
    """An estimator that says no."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """The same for every row."""
        return np.array(["no"] * len(frame), dtype=object)

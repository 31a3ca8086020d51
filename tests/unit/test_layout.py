"""The bins of every column."""

from __future__ import annotations

import json

import numpy as np
import pytest

from driftd_detectors.columns import Coded, Columns
from driftd_detectors.profile.column_layout import Scale
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.schema import Feature, Kind, Schema, Task
from profile_samples import SCHEMA, sample


def layout_of(values: np.ndarray | Coded, kind: Kind = Kind.NUMBER) -> Layout:
    rows = len(values.codes) if isinstance(values, Coded) else len(values)
    return learn_layout(Columns(rows, {"x": values}, {}), None, Schema(Task.REGRESSION, "y", (Feature("x", kind),)))


def test_round_trip() -> None:
    """A layout that went through JSON is the same, down to its fingerprint and to what it counts."""
    columns, outcomes = sample(2000, 0)
    layout = learn_layout(columns, outcomes, SCHEMA)
    again = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    assert again == layout
    assert hash(again) == hash(layout)
    assert (profile_of(columns, outcomes, again).counts == profile_of(columns, outcomes, layout).counts).all()
    assert learn_layout(*sample(2000, 1), SCHEMA) != layout


def test_quantile_bins_are_even() -> None:
    """Without ties each of the twenty bins of a number holds a twentieth of the reference."""
    (column,) = layout_of(np.random.default_rng(0).normal(size=4000)).features
    assert len(column.edges) == 23  # with those that cut .5 % off each end
    first, second, *even, last_but_one, last = column.counts[3:-4]
    assert (first, last) == (20, 20)
    assert set(even) | {first + second, last_but_one + last} <= set(range(195, 206))


def test_atoms_and_infinities_have_bins_of_their_own() -> None:
    """A value of half of the rows, missing, and both infinities are each counted alone."""
    values = np.random.default_rng(0).uniform(1, 2, 1000)
    values[:500], values[500:520], values[520:525], values[525:526] = 1.5, np.nan, np.inf, -np.inf
    (column,) = layout_of(values).features
    assert 500 in column.counts
    assert (column.counts[0], column.counts[-2], column.counts[-1]) == (1, 5, 20)
    assert sum(column.counts) == 1000


@pytest.mark.parametrize(
    ("values", "kind", "scale"),
    [
        (np.array([3.0] * 50), Kind.NUMBER, Scale.CONSTANT),
        (np.full(50, np.nan), Kind.NUMBER, Scale.CONSTANT),
        (np.empty(0), Kind.NUMBER, Scale.CONSTANT),
        (np.array([0.0, 1.0] * 25), Kind.NUMBER, Scale.BINARY),
        (np.array([0.25, 0.75] * 25), Kind.NUMBER, Scale.BINARY),
        (np.arange(20.0), Kind.NUMBER, Scale.ORDERED),
        (np.array([1e300, -1e300, 1.0]), Kind.NUMBER, Scale.ORDERED),
        (np.array([2.0**53, 2.0**53 + 2, 2.0**60]), Kind.NUMBER, Scale.ORDERED),
        (Coded(np.array([0, 1, 0], dtype=np.int32), ("0", "1")), Kind.BOOLEAN, Scale.BINARY),
        (Coded(np.array([0, 1, 2], dtype=np.int32), ("a", "b", "c")), Kind.CATEGORY, Scale.NOMINAL),
        (Coded(np.array([1, 1], dtype=np.int32), ("a", "b")), Kind.CATEGORY, Scale.CONSTANT),
        (Coded(np.array([-1, -1], dtype=np.int32), ()), Kind.CATEGORY, Scale.CONSTANT),
    ],
)
def test_scale(values: np.ndarray | Coded, kind: Kind, scale: Scale) -> None:
    """The scale follows from the distinct values, and every reference row is in exactly one bin."""
    (column,) = layout_of(values, kind).features
    assert column.scale is scale
    assert sum(column.counts) == (len(values.codes) if isinstance(values, Coded) else len(values))


def test_many_categories() -> None:
    """A hundred thousand labels give at most fifty bins, and where new labels always come, they are expected."""
    codes = np.random.default_rng(0).integers(0, 100_000, 20_000).astype(np.int32)
    (column,) = layout_of(Coded(codes, tuple(map(str, range(100_000)))), Kind.CATEGORY).features
    assert column.bins <= 53
    assert column.unseen > 0.7


def test_ages() -> None:
    """A timestamp is binned by its age at the prediction, so the same ages a year later are in the same bins."""
    columns, outcomes = sample(2000, 0)
    layout = learn_layout(columns, outcomes, SCHEMA)
    later = {**columns.values, "booked_at": columns.values["booked_at"] + 3e7}
    moved = type(outcomes)(outcomes.at + 3e7, *(getattr(outcomes, name) for name in outcomes.__slots__[1:]))
    first = profile_of(columns, outcomes, layout).counts
    assert (profile_of(Columns(2000, later, {}), moved, layout).counts == first).all()


def test_refuses_what_does_not_fit() -> None:
    """Fewer than two bins, and outcomes of other rows, are refused with the figures in the message."""
    columns, outcomes = sample(10, 0)
    with pytest.raises(ValueError, match="bins is 1"):
        learn_layout(columns, outcomes, SCHEMA, bins=1)
    with pytest.raises(ValueError, match="10 rows of features but 11"):
        learn_layout(columns, sample(11, 0)[1], SCHEMA)

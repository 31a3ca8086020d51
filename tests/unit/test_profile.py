"""The Profile: counts, moments, joint sums, and the laws of merging."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftd_detectors.columns import Coded, Columns
from driftd_detectors.profile.counting import bins_of, count_numbers, locate
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of
from driftd_detectors.schema import Feature, Kind, Schema, Task
from profile_samples import SCHEMA, only, part, sample

REFERENCE = sample(3000, 0)
LAYOUT = learn_layout(*REFERENCE, SCHEMA)
WINDOW = sample(900, 1)
LOSS = np.random.default_rng(2).random(900)
NUMBERS = st.floats(width=64) | st.sampled_from([0.0, 1.0, 2.0, np.inf, -np.inf, np.nan, 1e300, -1e308])


def alike(item: Profile, two: Profile) -> None:
    assert (item.layout, item.rows, item.joint.rows) == (two.layout, two.rows, two.joint.rows)
    for name in ("counts", "unreadable", "absent"):
        assert (getattr(item, name) == getattr(two, name)).all(), name
    for name in ("finite", "low", "high"):
        assert (getattr(item.moments, name) == getattr(two.moments, name)).all(), name
    np.testing.assert_allclose(item.moments.mean, two.moments.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(item.moments.squares, two.moments.squares, rtol=1e-9, atol=1e-9)
    assert (item.joint.sums == two.joint.sums).all()
    assert (item.joint.products == two.joint.products).all()
    assert (item.losses is None) == (two.losses is None)
    if item.losses is not None and two.losses is not None:
        assert (item.losses.rows == two.losses.rows).all()
        np.testing.assert_allclose(item.losses.loss, two.losses.loss, atol=1e-9)
        np.testing.assert_allclose(item.losses.prediction, two.losses.prediction, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=2, max_size=4).map(sorted))
def test_merging_parts_is_profiling_the_whole(cuts: list[int]) -> None:
    """However a window is cut, the merged Profiles of its parts are the Profile of the whole."""
    ends = [0, *cuts, 900]
    pieces = [
        profile_of(*part(*WINDOW, first, last), LAYOUT, loss=LOSS[first:last])
        for first, last in itertools.pairwise(ends)
    ]
    left = empty_profile(LAYOUT)
    for piece in pieces:
        left = merge(left, piece)
    right = empty_profile(LAYOUT)
    for piece in reversed(pieces):
        right = merge(piece, right)
    whole = profile_of(*WINDOW, LAYOUT, loss=LOSS)
    alike(left, whole)
    alike(right, whole)
    alike(merge(pieces[0], pieces[1]), merge(pieces[1], pieces[0]))


def test_empty_is_the_identity() -> None:
    """Merging with the Profile of no rows changes nothing, from either side."""
    window, nothing = profile_of(*WINDOW, LAYOUT), empty_profile(LAYOUT)
    alike(merge(window, nothing), window)
    alike(merge(nothing, window), window)
    alike(profile_of(*part(*WINDOW, 0, 0), LAYOUT), nothing)


def test_bytes_round_trip_and_size() -> None:
    """A Profile read back from its bytes is the same, and small."""
    for loss in (None, LOSS):
        window = profile_of(*WINDOW, LAYOUT, loss=loss)
        stored = window.to_bytes()
        alike(Profile.from_bytes(stored), window)
        assert len(stored) < 6000
    with pytest.raises(ValueError, match=r"not written by Profile\.to_bytes"):
        Profile.from_bytes(b"something else")


def test_moments_are_those_of_numpy() -> None:
    """Mean and standard deviation are those of the finite values, even far from zero."""
    values = 1e9 + np.random.default_rng(0).normal(size=100_000)
    values[::7] = np.nan
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    columns = Columns(len(values), {"x": values}, {})
    moments = profile_of(columns, None, learn_layout(columns, None, schema)).moments
    assert moments.mean[0] == pytest.approx(np.nanmean(values), abs=1e-6)
    assert moments.sd[0] == pytest.approx(np.nanstd(values, ddof=1), rel=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, max_size=60), st.lists(NUMBERS, max_size=60))
def test_counting_is_searching(reference: list[float], window: list[float]) -> None:
    """Sorted counting, the grid, and a plain search put any number, however strange, in the same bin."""
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    (column,) = learn_layout(Columns(len(reference), {"x": np.array(reference)}, {}), None, schema).features
    values = np.array([*window, *column.edges, *reference])
    searched = bins_of(values, column)
    assert (locate(values, column, 0, len(values)) == searched).all()
    counts, moments = count_numbers(values, column)
    assert (counts == np.bincount(searched, minlength=column.bins)).all()
    assert not any(np.isnan(item) for item in (moments.mean, moments.squares))


def test_bins_are_learned_from_what_they_count() -> None:
    """The reference's own Profile has the counts that the layout learned."""
    counts = profile_of(*REFERENCE, LAYOUT).counts
    assert tuple(counts) == tuple(count for column in LAYOUT.columns for count in column.counts)


def test_labels() -> None:
    """Known, rare, new and missing labels are told apart, whatever codes the window gives them."""
    window = Coded(np.array([2, 2, 1, 0, -1], dtype=np.int32), ("never seen", "carrier 59", "carrier 0"))
    columns = Columns(5, {"carrier": window}, {})
    index = LAYOUT.features.index(next(item for item in LAYOUT.features if item.name == "carrier"))
    counts = profile_of(columns, None, LAYOUT).counts[LAYOUT.starts[index] : LAYOUT.starts[index + 1]]
    assert counts[0] == 2
    assert counts[-2:].tolist() == [1, 1]
    assert counts.sum() == 5


def test_absent_and_unreadable_columns() -> None:
    """A column that is not delivered is in no bin; one of another type is missing and unreadable in every row."""
    columns, outcomes = WINDOW
    numbers = only(columns, carrier=np.zeros(900), distance=columns.values["carrier"], rain=None)
    profile = profile_of(numbers, outcomes, LAYOUT)
    names = [item.name for item in LAYOUT.columns]
    assert profile.absent[names.index("rain")] == 900
    assert profile.unreadable[names.index("carrier")] == profile.unreadable[names.index("distance")] == 900
    assert profile.joint.rows == 0


def test_loss_sums() -> None:
    """The losses of a column's bins add up to the loss of all rows that have one."""
    loss = LOSS.copy()
    loss[:100] = np.nan
    losses = profile_of(*WINDOW, LAYOUT, loss=loss).losses
    assert losses is not None
    for index in range(len(LAYOUT.columns)):
        bins = slice(LAYOUT.starts[index], LAYOUT.starts[index + 1])
        assert losses.rows[bins].sum() == 800
        assert losses.loss[bins].sum() == pytest.approx(np.nansum(loss))


def test_refusals() -> None:
    """Profiles on different layouts, and columns of different lengths, are refused with what differs."""
    other = learn_layout(*sample(500, 9), SCHEMA)
    with pytest.raises(ValueError, match="different layouts"):
        merge(empty_profile(LAYOUT), empty_profile(other))
    with pytest.raises(ValueError, match="rain has 3 rows, the window has 900"):
        profile_of(only(WINDOW[0], rain=np.zeros(3)), WINDOW[1], LAYOUT)

"""Which windows are due."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.sources.protocol import Extent, closed_until, default_lateness, due_windows, window_at, window_index


@dataclass(frozen=True)
class Spec:
    every: float | None = None
    rows: int | None = None


def extent(first_at: float | None, now: float = 1e12, rows: int = 0) -> Extent:
    return Extent(first_at, now, rows)


def test_aligned_to_the_epoch() -> None:
    """Hours begin at full hours UTC, whenever the first event came."""
    windows = list(due_windows(Spec(every=3600.0), extent(7300.0), None, 15_000.0, 10.0))
    assert [(item.index, item.start, item.end, item.by) for item in windows] == [
        (2, 7200.0, 10_800.0, "time"),
        (3, 10_800.0, 14_400.0, "time"),
    ]


def test_waits_for_stragglers() -> None:
    """A window is due exactly `lateness` after its end."""
    assert list(due_windows(Spec(every=60.0), extent(0.0), None, 69.9, 10.0)) == []
    assert len(list(due_windows(Spec(every=60.0), extent(0.0), None, 70.0, 10.0))) == 1


def test_waits_for_the_source() -> None:
    """What the source has not read yet is not complete, whatever the clock says."""
    assert list(due_windows(Spec(every=60.0), extent(0.0, now=59.0), None, 1000.0, 0.0)) == []


def test_nothing_before_the_first_event() -> None:
    """No window before the first event, even when the cursor stands before it; none at all without events."""
    assert [item.index for item in due_windows(Spec(every=10.0), extent(55.0), 0, 80.0, 0.0)] == [5, 6, 7]
    assert list(due_windows(Spec(every=10.0), extent(None), None, 80.0, 0.0)) == []


def test_a_silent_feed_is_seen() -> None:
    """Windows without events are due like any other; a day's absence is caught up in order."""
    windows = list(due_windows(Spec(every=3600.0), extent(0.0), 5, 30 * 3600.0, 0.0))
    assert [item.index for item in windows] == list(range(5, 30))


def test_a_clock_that_goes_back() -> None:
    """When the clock jumps back, nothing is due a second time; it goes on where it was."""
    assert list(due_windows(Spec(every=10.0), extent(0.0), 8, 60.0, 0.0)) == []


def test_row_windows() -> None:
    """Row windows are full or not due."""
    assert [item.index for item in due_windows(Spec(rows=500), extent(0.0, rows=1499), None, 0.0, 0.0)] == [0, 1]
    assert [
        (item.start, item.end, item.by) for item in due_windows(Spec(rows=500), extent(0.0, rows=1500), 2, 0.0, 9.0)
    ] == [(1000.0, 1500.0, "rows")]


def test_neither_time_nor_rows() -> None:
    """A spec without a size is refused."""
    with pytest.raises(ValueError, match="`every` or `rows`"):
        list(due_windows(Spec(), extent(0.0), None, 1.0, 0.0))


def test_the_default_lateness() -> None:
    """One hundredth of the window, at least a second; row windows do not wait."""
    assert default_lateness(Spec(every=3600.0)) == 36.0
    assert default_lateness(Spec(every=10.0)) == 1.0
    assert default_lateness(Spec(rows=100)) == 0.0


SECONDS = st.floats(1.0, 4e9)
EVERY = st.floats(0.1, 1e6) | st.sampled_from([0.1, 0.3, 60.0, 3600.0, 86_400.0])


@given(at=SECONDS, every=EVERY)
def test_every_time_is_in_one_window(at: float, every: float) -> None:
    """The window of a time holds it, and its neighbours begin where it ends: a partition, in floats too."""
    index = window_index(at, every)
    window = window_at(Spec(every=every), index)
    assert window.start <= at < window.end
    assert window_at(Spec(every=every), index + 1).start == window.end
    assert window_at(Spec(every=every), index - 1).end == window.start


@given(
    first=SECONDS, every=EVERY, steps=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=8), lateness=st.floats(0, 5)
)
def test_asked_again_and_again(first: float, every: float, steps: list[float], lateness: float) -> None:
    """Whenever it is asked, each window is given once, in order, without a gap, and only when it is complete."""
    now, cursor, seen = first, None, []
    for step in steps:
        now += step * every
        for window in due_windows(Spec(every=every), extent(first), cursor, now, lateness):
            assert window.end + lateness <= now + 1e-6
            seen.append(window)
            cursor = window.index + 1
    assert all(item.end == other.start for item, other in itertools.pairwise(seen))
    assert all(item.start <= first for item in seen[:1])
    closed = closed_until(Spec(every=every), now, lateness)
    if seen:
        assert closed == pytest.approx(seen[-1].end)

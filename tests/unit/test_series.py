"""Cutting long series to what a chart can show."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.store.state.records import CheckFigures
from driftd.views.series import (
    MOST_POINTS,
    CheckedWindows,
    Grouping,
    WeightedValues,
    decode_figures,
    estimate_series,
    evidence_series,
    performance_series,
    round_numbers,
    window_series,
)


def checked(window: int, *, verdict: str = "ok", evidence: float = 1.0, **figures: float) -> CheckedWindows:
    output = {"data": WeightedValues(evidence, 100.0)}
    return CheckedWindows(window, window * 3600.0, 200, verdict, 1, CheckFigures(**figures), output)


def labelled(window: int, loss: float, labels: float = 100.0) -> CheckedWindows:
    band = {"low": loss - 0.1, "high": loss + 0.1, "baseline": 0.5, "tolerated": 0.6}
    return checked(window, loss=loss, labels=labels, coverage=1.0, **band)


@given(first=st.integers(0, 10**6), count=st.integers(1, 20_000))
def test_any_number_of_windows_fits_the_chart(first: int, count: int) -> None:
    """There are never more groups than points, every window is in one, and few windows stay as they are."""
    grouping = Grouping.of(first, first + count - 1)
    assert 1 <= grouping.groups <= MOST_POINTS
    assert (first + count - 1 - grouping.first) // grouping.size < grouping.groups
    assert count > MOST_POINTS or grouping.size == 1


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500)), min_size=1, max_size=60))
def test_a_merged_point_is_the_mean_by_labels_within_its_band(rows: list[tuple[float, int]]) -> None:
    """Merging all windows to one point gives the mean loss of all their labels, and a band no wider than each one's."""
    checks = [labelled(window, loss, float(labels)) for window, (loss, labels) in enumerate(rows)]
    series = performance_series(checks, Grouping(0, len(rows) - 1, len(rows)), "mae")
    mean = sum(loss * labels for loss, labels in rows) / sum(labels for _, labels in rows)
    assert series.value == [pytest.approx(mean, rel=1e-4, abs=1e-6)]
    assert series.low[0] <= series.value[0] <= series.high[0]
    assert series.high[0] - series.low[0] <= 0.2 + 1e-4
    assert series.labels == [pytest.approx(sum(labels for _, labels in rows), rel=1e-5)]


def test_a_metric_that_is_better_when_higher_is_turned_round() -> None:
    """Accuracy is shown as accuracy, with the lower end of its band below the upper."""
    series = performance_series([labelled(0, 0.2)], Grouping(0, 0, 1), "accuracy")
    assert series.higher_is_better
    assert (series.low, series.value, series.high) == ([0.7], [0.8], [0.9])
    assert series.tolerated == [0.4]


def test_windows_without_evaluated_labels_leave_no_point() -> None:
    """A cohort that is waited for, and one whose loss is not known, are not shown as zero."""
    checks = [labelled(0, 0.4), checked(1, labels=3.0), checked(2, loss=math.nan), labelled(3, 0.5)]
    series = performance_series(checks, Grouping(0, 3, 1), None)
    assert series.at == [0.0, 3 * 3600.0]
    assert series.value == [0.4, 0.5]


def test_nothing_at_all_is_an_empty_series() -> None:
    """A model without any check has empty series, not an error."""
    grouping = Grouping(0, 0, 1)
    assert performance_series([], grouping, None).value == []
    assert estimate_series([], grouping).value == []
    assert evidence_series([], grouping) == {}
    assert window_series([], grouping).verdict == []


def test_the_highest_evidence_of_a_group_is_kept() -> None:
    """An alarm of one window is not averaged away among its neighbours."""
    checks = [checked(window, evidence=150.0 if window == 7 else 1.0) for window in range(20)]
    output = evidence_series(checks, Grouping(0, 19, 10))["data"]
    assert output.evidence == [150.0, 1.0]
    assert output.limit == [100.0, 100.0]


def test_the_loudest_verdict_of_a_group_is_kept() -> None:
    """One `drift` among `ok` shows as `drift`; `inconclusive` is louder than `ok`."""
    checks = [checked(0), checked(1, verdict="drift"), checked(2, verdict="inconclusive"), checked(3)]
    assert window_series(checks, Grouping(0, 3, 2)).verdict == ["drift", "inconclusive"]


def test_an_estimate_that_labels_have_refuted_is_not_shown() -> None:
    """Where the daemon has switched the estimate off, there is no point."""
    checks = [
        checked(0, estimated=0.4, estimated_low=0.3, estimated_high=0.5, estimate_off=0.0),
        checked(1, estimated=0.9, estimated_low=0.8, estimated_high=1.0, estimate_off=1.0),
    ]
    output = estimate_series(checks, Grouping(0, 1, 1))
    assert (output.at, output.value, output.low, output.high) == ([0.0], [0.4], [0.3], [0.5])


def test_stored_figures_may_hold_nan() -> None:
    """What Python's json wrote for NaN is read back, although it is no strict JSON."""
    decoder = msgspec.json.Decoder(CheckFigures)
    assert math.isnan(decode_figures('{"loss": NaN, "learning": null}', decoder).loss or 0.0)
    assert decode_figures('{"loss": 0.5, "learning": "3 of 14"}', decoder) == CheckFigures(loss=0.5)


def test_what_is_not_known_is_null_beside_any_number() -> None:
    """A stream that some windows could not score, and numbers of any size, are JSON without a complaint."""
    output = round_numbers(np.array([float("nan"), 0.123456789, 1_700_000_000.5, float("inf"), -2e12]))
    assert msgspec.json.encode(output) == b"[null,0.123457,1700000000,null,-2000000000000]"

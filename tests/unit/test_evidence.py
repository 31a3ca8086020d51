"""The e-detector: its guarantee, its laws and its figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftd_detectors.evidence.evidence import LAMBDAS, Evidence, StreamWeights
from driftd_detectors.evidence.history import Season, change_point, not_learned, room, season_for
from driftd_detectors.evidence.residuals import Fit

DAY, HOUR = 86_400.0, 3_600.0
SD = 0.05


def begun(rng, streams=3, windows=28, *, seconds=None, threshold=1000.0, weights=None, level=0.0):
    """Evidence with a calm reference."""
    lanes = StreamWeights.of(np.ones(streams) if weights is None else weights, np.ones(streams, dtype=bool))
    values = rng.normal(level, SD, (windows, streams))
    starts = np.arange(windows) * (seconds or 1.0)
    return Evidence.begin(lanes, threshold, starts, values, np.full((windows, streams), SD), seconds)


def fed(evidence, values, start=100.0, tolerance=0.03):
    """One window more."""
    streams = len(values)
    return evidence.update(np.asarray(values, float), np.full(streams, SD), np.full(streams, tolerance), start)


@pytest.mark.parametrize("windows", [0, 2, 5, 28])
def test_the_expectation_of_an_e_value_is_at_most_one(windows) -> None:
    """E[e] <= 1 for the first window after any number of reference windows, at zero tolerance (20,000 streams)."""
    rng = np.random.default_rng(5)
    evidence = begun(rng, 20_000, windows)
    evidence = fed(evidence, rng.normal(0, SD, 20_000), tolerance=0.0)
    e_values = np.exp(evidence.logs.astype(float))  # R = (0 + 1) e
    error = e_values.std(axis=0) / np.sqrt(len(e_values))
    assert (e_values.mean(axis=0) <= 1 + 3 * error).all()


def test_a_calm_world_keeps_the_budget_and_a_moved_stream_is_found() -> None:
    """No alarm in 800 calm windows of 20 streams at a nominal .8; a shift of 4 sds is found within 5 windows."""
    rng = np.random.default_rng(6)
    evidence = begun(rng, 20)
    for start in range(800):
        evidence = fed(evidence, rng.normal(0, SD, 20), float(start))
        assert not evidence.alarmed
    moved = np.zeros(20)
    moved[7] = 4 * SD
    for _ in range(5):
        evidence = fed(evidence, moved + rng.normal(0, SD, 20))
    assert evidence.alarmed
    assert int(np.argmax(evidence.shares)) == 7


def test_day_effects_are_learned_from_the_reference() -> None:
    """Windows that vary three times more than sampling, as the reference's did, are no drift."""
    rng = np.random.default_rng(7)
    lanes = StreamWeights.of(np.ones(5), np.ones(5, dtype=bool))
    wide = 3 * SD
    values = rng.normal(0, wide, (28, 5))
    evidence = Evidence.begin(lanes, 1000.0, np.arange(28.0), values, np.full((28, 5), SD), None)
    for start in range(300):
        evidence = fed(evidence, rng.normal(0, wide, 5), float(start))
    assert not evidence.alarmed


def test_a_weekly_season_is_learned_and_a_shift_on_top_of_it_found() -> None:
    """With 28 reference days the day of the week is no drift, and a shift of 4 sds is found in a week."""
    rng = np.random.default_rng(8)
    pattern = rng.normal(0, 5 * SD, (7, 4))
    lanes = StreamWeights.of(np.ones(4), np.ones(4, dtype=bool))
    values = pattern[np.arange(28) % 7] + rng.normal(0, SD, (28, 4))
    evidence = Evidence.begin(lanes, 1000.0, np.arange(28) * DAY, values, np.full((28, 4), SD), DAY)
    assert evidence.fit.season is Season.WEEKDAY
    for day in range(28, 128):
        evidence = fed(evidence, pattern[day % 7] + rng.normal(0, SD, 4), day * DAY)
    assert not evidence.alarmed
    for day in range(128, 135):
        evidence = fed(evidence, pattern[day % 7] + 4 * SD + rng.normal(0, SD, 4), day * DAY)
    assert evidence.alarmed


def test_a_season_is_learned_on_line_when_there_are_enough_windows() -> None:
    """Evidence that begins without reference windows knows the day of the week after 28 days."""
    rng = np.random.default_rng(9)
    evidence = begun(rng, 2, 0, seconds=DAY)
    for day in range(28):
        assert evidence.fit.season is Season.NONE
        evidence = fed(evidence, rng.normal(0, SD, 2), day * DAY)
    assert evidence.fit.season is Season.WEEKDAY
    assert evidence.learning is None


@given(st.permutations(range(6)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_streams_changes_nothing(order) -> None:
    """Permuting the streams leaves the evidence as it is."""
    values = np.random.default_rng(1).normal(0, SD, (28, 6))
    fresh = np.random.default_rng(2).normal(0.1, SD, (4, 6))
    weights = np.arange(1.0, 7.0)
    found = []
    for places in (list(range(6)), list(order)):
        lanes = StreamWeights.of(weights[places], np.ones(6, dtype=bool))
        sds = np.full((28, 6), SD)
        evidence = Evidence.begin(lanes, 1000.0, np.arange(28.0), values[:, places], sds, None)
        for row in fresh:
            evidence = fed(evidence, row[places])
        found.append(evidence.value)
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@given(st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(float("nan"))), min_size=3, max_size=3), st.integers(0, 6))
@settings(max_examples=30, deadline=None)
def test_evidence_that_was_stored_goes_on_as_if_it_had_not_been(values, windows) -> None:
    """Unpacking what was packed and feeding it gives the very same evidence."""
    evidence = fed(begun(np.random.default_rng(1), 3, windows), [0.2, 0.0, 0.1])
    again = Evidence.unpack(evidence.lanes, evidence.threshold, *evidence.pack())
    assert again is not None
    item, two = fed(fed(evidence, values), [0.1, 0.0, 0.0]), fed(fed(again, values), [0.1, 0.0, 0.0])
    assert item.value == two.value
    assert np.array_equal(item.fit.beta, two.fit.beta)
    assert np.array_equal(item.logs, two.logs)


def test_streams_without_a_value_stay_as_they_are() -> None:
    """A NaN leaves a stream's evidence, level and noise untouched, and the others do as they would alone."""
    evidence = fed(begun(np.random.default_rng(3), 3), [0.1, 0.1, 0.0])
    after = fed(evidence, [np.nan, 0.0, 0.0])
    ours = evidence.lanes.stream == 0
    assert np.array_equal(after.logs[ours], evidence.logs[ours])
    for name in ("beta", "ssr", "sampling", "previous"):
        assert np.array_equal(getattr(after.fit, name)[0], getattr(evidence.fit, name)[0])
    assert after.fit.freedom[after.fit.group[0]] == evidence.fit.freedom[0]
    assert after.fit.freedom[after.fit.group[1]] == evidence.fit.freedom[0] + 1


@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, -np.inf, np.nan, 0.0])
def test_no_value_breaks_the_evidence(value) -> None:
    """Infinite and huge scores give finite evidence, and one glitch alone raises no alarm."""
    evidence = begun(np.random.default_rng(4), 3)
    with np.errstate(all="ignore"):
        after = fed(evidence, [value, 0.0, 0.0])
    assert np.isfinite(after.value)
    assert not after.alarmed


def test_suspected_windows_are_learned_only_if_the_evidence_falls_again() -> None:
    """While suspected nothing is learned; afterwards everything that waited is."""
    evidence = fed(begun(np.random.default_rng(4), 1), [0.17])
    while evidence.since == 0:
        evidence = fed(evidence, [0.17])
    held = evidence.fit.windows
    evidence = fed(evidence, [0.15])
    assert evidence.fit.windows == held
    while evidence.since:
        evidence = fed(evidence, [-0.05])
    assert evidence.fit.windows > held
    assert evidence.history.learned.all()


def test_an_absorbed_change_is_normal_from_then_on_and_the_next_one_is_found() -> None:
    """After `rebaseline` the new level raises nothing in 100 windows, the way back to the old one does."""
    rng = np.random.default_rng(14)
    evidence = begun(rng, 3)
    for start in range(10):
        evidence = fed(evidence, 0.3 + rng.normal(0, SD, 3), 100.0 + start)
    evidence = evidence.rebaseline()
    for start in range(100):
        evidence = fed(evidence, 0.3 + rng.normal(0, SD, 3), 200.0 + start)
    assert not evidence.alarmed
    for start in range(5):
        evidence = fed(evidence, rng.normal(0, SD, 3), 300.0 + start)
    assert evidence.alarmed


def test_recursive_residuals_are_those_of_least_squares() -> None:
    """The sum of squared recursive residuals is the residual sum of squares of the whole fit (Brown et al. 1975)."""
    rng = np.random.default_rng(15)
    values, starts = rng.normal(0, 1, 40), np.arange(40) * DAY
    fit = Fit.begin(1, Season.WEEKDAY, DAY)
    for start, value in zip(starts, values, strict=True):
        fit = fit.learn(np.array([value]), np.array([1.0]), float(start))
    z = np.array([fit.regressors(float(start)) for start in starts])
    beta, *_ = np.linalg.lstsq(z, values, rcond=None)
    assert fit.ssr[0] == pytest.approx(((values - z @ beta) ** 2).sum(), rel=1e-3)
    assert fit.freedom[0] == 40 - 7 - 1  # days of the week, and that January ended


@pytest.mark.parametrize(("shift", "within"), [(1.0, 0.45), (2.0, 0.85), (4.0, 0.97)])
def test_the_change_point_is_within_two_windows(shift, within) -> None:
    """For shifts of 1, 2 and 4 sds after 100 windows the change is dated within two windows as often as promised."""
    rng = np.random.default_rng(16)
    hits = 0
    for _ in range(200):
        series = rng.normal(0, 1, (120, 1))
        series[100:] += shift
        hits += abs(change_point(series) - 100) <= 2
    assert hits / 200 >= within


def test_seasons_wait_for_enough_windows() -> None:
    """Hours learn their day after a week and their week after two; days need four weeks; rows have no season."""
    assert season_for(HOUR, 167) is Season.NONE
    assert season_for(HOUR, 168) is Season.HOUR_AND_WEEKEND
    assert season_for(HOUR, 336) is Season.HOUR_OF_WEEK
    assert season_for(DAY, 27) is Season.NONE
    assert season_for(DAY, 28) is Season.WEEKDAY
    assert season_for(None, 10_000) is Season.NONE
    assert not_learned(HOUR, 30) == "seasonality not learned yet (30 of 168 windows)"


def test_the_state_of_a_stream_is_small() -> None:
    """Evidence and fit of a two-sided stream with weekly seasons take at most 120 bytes; the history is bounded."""
    evidence = begun(np.random.default_rng(1), 1500, 28, seconds=DAY)
    _, arrays = evidence.pack()
    per_stream = {name: array for name, array in arrays.items() if name in {"logs", *evidence.fit.arrays()}}
    del per_stream["covariance"], per_stream["freedom"]
    assert sum(array.nbytes for array in per_stream.values()) / 1500 <= 120
    assert len(LAMBDAS) == evidence.logs.shape[1]
    assert room(1500) * 1500 * 8 <= 1_000_000

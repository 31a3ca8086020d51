"""Errors of two ways of keeping a model, beside each other: means of windows, differences and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftd.rehearsal.curves import Curve, difference, window_means

DAY = 86_400.0


def days_of(errors: np.ndarray, rows: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """So many rows a day, each with the error of its day."""
    at = np.repeat(np.arange(len(errors)) * DAY, rows) + np.tile(np.arange(rows) * 60.0, len(errors))
    return at, np.repeat(errors, rows)


def test_the_error_of_a_window_is_the_mean_of_its_labelled_rows() -> None:
    """Rows without a label count nowhere, and a window without any is a gap."""
    at = np.array([0.0, 1.0, 2.0, DAY, 3 * DAY, 3 * DAY + 1])
    error = np.array([1.0, 3.0, np.nan, 7.0, np.nan, np.nan])
    means, counts = window_means(Curve("x", at, error, 1), np.arange(4) * DAY)
    assert means[:2].tolist() == [2.0, 7.0]
    assert np.isnan(means[2:]).all()
    assert counts.tolist() == [2, 1, 0, 0]


def test_the_mean_of_a_curve_leaves_out_rows_without_a_label() -> None:
    """Every labelled row counts alike; without any there is no mean."""
    assert Curve("x", np.arange(3.0), np.array([1.0, np.nan, 2.0]), 1).mean == 1.5
    assert math.isnan(Curve("x", np.arange(1.0), np.array([np.nan]), 1).mean)


def test_two_ways_that_err_alike_cannot_be_told_apart() -> None:
    """The interval of the difference of a way to itself is nothing but zero."""
    at, error = days_of(np.random.default_rng(1).gamma(2.0, 1.0, 40))
    found = difference(error, error, at, DAY)
    assert (found.mean, found.lower, found.upper) == (0.0, 0.0, 0.0)
    assert not found.is_apart


def test_the_difference_is_paired() -> None:
    """What both ways err by on bad days cancels, so that a small steady gain is seen through large noise."""
    rng = np.random.default_rng(2)
    at, noise = days_of(rng.gamma(2.0, 10.0, 60))
    found = difference(noise - 0.1, noise, at, DAY)
    assert found.mean == pytest.approx(-0.1)
    assert found.is_apart


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of worlds without a difference, whose days are alike for a while, about one in twenty is told apart."""
    rng, wrong, worlds = np.random.default_rng(3), 0, 200
    for _ in range(worlds):
        steps = rng.normal(size=150)
        days = np.zeros(150)
        for number in range(1, 150):
            days[number] = 0.4 * days[number - 1] + steps[number]
        at, error = days_of(days, rows=3)
        wrong += difference(error, np.zeros(len(error)), at, DAY).is_apart
    assert wrong / worlds < 0.14


def test_rows_of_few_days_give_no_interval() -> None:
    """Rows of one day share their luck: of four days nobody can say how much days differ."""
    at, error = days_of(np.array([1.0, 2.0, 1.0, 2.0]))
    found = difference(error, np.zeros(len(error)), at, DAY)
    assert found.mean == 1.5
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)


def test_the_same_rows_give_the_same_interval() -> None:
    """The draws are seeded: two rehearsals of the same rows say the same to the last digit."""
    at, error = days_of(np.random.default_rng(4).gamma(2.0, 1.0, 50))
    assert difference(error, error**2, at, DAY) == difference(error, error**2, at, DAY)

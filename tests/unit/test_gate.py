"""The gate: three outcomes, and how often it errs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftd_detectors.comparison.gate import DAY, join_days, judge, whole_days

ROWS_A_DAY = 200


def pair(rng: np.random.Generator, days: int, gain: float, day_sd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """0/1 losses of two models that disagree on 6 % of the rows; days tilt who is right there."""
    rows = days * ROWS_A_DAY
    at = np.repeat(np.arange(days), ROWS_A_DAY) * DAY + np.sort(rng.uniform(0, DAY, rows))
    tilt = gain / 0.12 + np.repeat(rng.normal(0, day_sd, days), ROWS_A_DAY)
    apart = rng.random(rows) < 0.06
    right = rng.random(rows) < np.clip(0.5 + tilt, 0, 1)
    wrong = rng.random(rows) < 0.07
    return np.where(apart, ~right, wrong).astype(float), np.where(apart, right, wrong).astype(float), at


def days_of(rows: int) -> np.ndarray:
    """The times of rows that come evenly over ten days."""
    return np.linspace(0, 10 * DAY, rows, endpoint=False)


def equal_pair(
    rng: np.random.Generator, days: int, per_day: int, day_sd: float, rho: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses of two equal regressors; who wins differs by day: AR(rho) of sd `day_sd` where the loss is about .8."""
    day = np.zeros(days)
    day[0] = rng.standard_normal()
    for number in range(1, days):
        day[number] = rho * day[number - 1] + math.sqrt(1 - rho**2) * rng.standard_normal()
    rows = days * per_day
    at = np.repeat(np.arange(days), per_day) * DAY + np.sort(rng.uniform(0, DAY, (days, per_day)), axis=1).ravel()
    base = np.abs(rng.standard_normal(rows))
    apart = 0.3 * rng.standard_normal(rows) + day_sd * np.repeat(day, per_day)
    return np.maximum(0, base + apart / 2), np.maximum(0, base - apart / 2), at


@pytest.mark.slow
@pytest.mark.parametrize(("day_sd", "rho", "most"), [(0.04, 0.0, 0.07), (0.08, 0.0, 0.07), (0.04, 0.5, 0.127)])
def test_an_equal_challenger_is_hardly_ever_promoted_over_all_looks(day_sd: float, rho: float, most: float) -> None:
    """Looks at 3 to 48 days promote an equal one in 5 %, where days differ by 5 or 10 % of the loss, in 10 % at AR(.5).

    500 gates; the bounds are two standard errors up.
    """
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(500):
        new, old, at = equal_pair(rng, 48, 100, day_sd, rho)
        for look, days in enumerate((3, 6, 12, 24, 48), start=1):
            rows = days * 100
            decision = judge(new[:rows], old[:rows], at[:rows], look=look).decision
            wrong += decision == "promote"
            if decision != "inconclusive":
                break
    assert wrong / 500 <= most


@pytest.mark.slow
@pytest.mark.parametrize(("days", "day_sd"), [(20, 0.0), (20, 0.15), (20, 0.3), (4, 0.15)])
def test_an_equal_challenger_is_promoted_in_at_most_one_of_twenty_gates(days: int, day_sd: float) -> None:
    """Wrong promotions stay at their nominal 5 %, with day effects too (600 gates; 6.8 % is two standard errors up)."""
    rng = np.random.default_rng(1)
    wrong = sum(judge(*pair(rng, days, 0.0, day_sd)).decision == "promote" for _ in range(600))
    assert wrong / 600 <= 0.068


def test_a_better_challenger_is_promoted() -> None:
    """Two points of gain on twenty days are found nearly always."""
    rng = np.random.default_rng(3)
    found = [judge(*pair(rng, 20, 0.02, 0.0)) for _ in range(50)]
    assert sum(judged.decision == "promote" for judged in found) >= 45
    assert np.mean([judged.gain for judged in found]) == pytest.approx(0.02, abs=0.003)
    assert "surely above the margin" in found[0].sentence


def test_a_worse_challenger_is_rejected() -> None:
    """Two points of harm are rejected, with the figures in the sentence."""
    judged = judge(*pair(np.random.default_rng(4), 20, -0.02, 0.0))
    assert judged.decision == "reject"
    assert judged.upper < 0
    assert "4000 later rows in 5 time blocks" in judged.sentence


def test_identical_versions_are_inconclusive() -> None:
    """No difference at all is no gain."""
    loss = np.random.default_rng(5).random(500)
    judged = judge(loss, loss, days_of(500))
    assert (judged.decision, judged.gain, judged.overdispersion) == ("inconclusive", 0.0, 1.0)


def test_a_schedule_only_asks_that_the_challenger_is_not_worse() -> None:
    """With a tolerance, identical versions pass, and one that is worse by more is rejected."""
    loss = np.random.default_rng(6).random(500)
    assert judge(loss, loss, days_of(500), tolerance=0.01).decision == "promote"
    assert judge(loss + 0.05, loss, days_of(500), tolerance=0.01).decision == "reject"


def test_a_margin_must_be_exceeded() -> None:
    """A gain below the margin is inconclusive however sure it is."""
    rng = np.random.default_rng(7)
    old = rng.random(1000)
    assert judge(old - 0.02, old, days_of(1000)).decision == "promote"
    assert judge(old - 0.02, old, days_of(1000), margin=0.05).decision == "inconclusive"


@pytest.mark.parametrize("rows", [0, 1, 2, 9, 50])
def test_too_few_rows_are_inconclusive(rows: int) -> None:
    """Below `min_rows` nothing is concluded, and nothing breaks."""
    judged = judge(np.zeros(rows), np.ones(rows), days_of(rows), min_rows=60)
    assert judged.decision == "inconclusive"
    assert f"only {rows} labelled rows" in judged.sentence
    assert math.isnan(judged.gain)


def test_rows_that_cannot_be_scored_are_left_out() -> None:
    """A NaN loss on either side removes the row and nothing else."""
    rng = np.random.default_rng(8)
    new, old = rng.random(100), rng.random(100) + 1
    new[3], old[7] = np.nan, np.inf
    judged = judge(new, old, days_of(100))
    assert (judged.rows, judged.decision) == (98, "promote")


@pytest.mark.parametrize("hours", [1, 30, 47, 56])
def test_rows_of_less_than_three_days_are_inconclusive_however_many(hours: int) -> None:
    """Parts of a day cannot show that days differ: the gate waits, and says for what."""
    at = np.linspace(0, hours * 3600, 5000, endpoint=False)
    judged = judge(np.zeros(5000), np.ones(5000), at)
    assert judged.decision == "inconclusive"
    assert "whole days; 3 are needed" in judged.sentence
    assert math.isnan(judged.lower)
    assert judge(np.zeros(5000), np.ones(5000), at, day=600.0).decision == "promote"


def test_windows_that_are_longer_than_a_day_are_the_days() -> None:
    """With windows of a week, sixteen days are two weeks and a small part: too few; three weeks are enough."""
    week, loss = 7 * DAY, np.zeros(2000)
    short = judge(loss, loss + 1, np.linspace(0, 16 * DAY, 2000, endpoint=False), day=week)
    assert "cover 2 whole spans of 7 days" in short.sentence
    enough = judge(loss, loss + 1, np.linspace(0, 21 * DAY, 2000, endpoint=False), day=week)
    assert (enough.decision, enough.blocks) == ("promote", 3)


def test_a_day_of_few_rows_joins_its_neighbour() -> None:
    """Twelve full days are twelve days, and two rows of a thirteenth belong to the twelfth."""
    full = np.repeat(np.arange(12), 100) * DAY
    assert whole_days(full).tolist() == np.repeat(np.arange(12), 100).tolist()
    ragged = whole_days(np.concatenate([full, np.full(2, 12 * DAY)]))
    assert ragged.max() == 11
    assert ragged[-1] == 11
    assert whole_days(np.empty(0)).tolist() == []


@pytest.mark.parametrize(
    ("days", "sizes"),
    [
        (0, []),
        (2, [1, 1]),
        (5, [1, 1, 1, 1, 1]),
        (6, [2, 2, 2]),
        (9, [3, 2, 2, 2]),
        (24, [5, 5, 5, 5, 4]),
        (48, [6] * 8),
    ],
)
def test_days_are_joined_to_few_equal_blocks(days: int, sizes: list[int]) -> None:
    """A block for each of up to five days, then at most five blocks, then one for six days."""
    assert np.bincount(join_days(days)).tolist() == sizes


def test_the_order_of_rows_does_not_matter() -> None:
    """Rows are placed by their time, not by their position."""
    new, old, at = pair(np.random.default_rng(9), 4, 0.01, 0.1)
    order = np.random.default_rng(0).permutation(len(at))
    assert judge(new[order], old[order], at[order]).gain == pytest.approx(judge(new, old, at).gain)

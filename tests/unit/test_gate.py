"""The gate: three outcomes, and how often it errs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftd_detectors.comparison.gate import DAY, judge, time_blocks

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


@pytest.mark.slow
@pytest.mark.parametrize(("days", "day_sd"), [(20, 0.0), (20, 0.15), (20, 0.3), (4, 0.15)])
def test_an_equal_challenger_is_promoted_in_at_most_one_of_twenty_gates(days: int, day_sd: float) -> None:
    """Wrong promotions stay at their nominal 5 %, with day effects too (600 gates; 6.5 % is two standard errors up)."""
    rng = np.random.default_rng(1)
    wrong = sum(judge(*pair(rng, days, 0.0, day_sd)).decision == "promote" for _ in range(600))
    assert wrong / 600 <= 0.065


@pytest.mark.slow
def test_looking_again_does_not_add_up_to_more_errors() -> None:
    """Four judgements of one pair with ever more rows together promote an equal challenger in at most 5 %."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(300):
        new, old, at = pair(rng, 40, 0.0, 0.15)
        looks = [judge(new[:n], old[:n], at[:n], look=k) for k, n in enumerate((2000, 4000, 6000, 8000), start=1)]
        wrong += any(one.decision == "promote" for one in looks)
    assert wrong / 300 <= 0.065


def test_a_better_challenger_is_promoted() -> None:
    """Two points of gain on twenty days are found nearly always."""
    rng = np.random.default_rng(3)
    found = [judge(*pair(rng, 20, 0.02, 0.0)) for _ in range(50)]
    assert sum(one.decision == "promote" for one in found) >= 48
    assert np.mean([one.gain for one in found]) == pytest.approx(0.02, abs=0.003)
    assert "surely above the margin" in found[0].sentence


def test_a_worse_challenger_is_rejected() -> None:
    """Two points of harm are rejected, with the figures in the sentence."""
    judged = judge(*pair(np.random.default_rng(4), 20, -0.02, 0.0))
    assert judged.decision == "reject"
    assert judged.upper < 0
    assert "4000 later rows in 20 time blocks" in judged.sentence


def test_identical_versions_are_inconclusive() -> None:
    """No difference at all is no gain."""
    loss = np.random.default_rng(5).random(500)
    judged = judge(loss, loss, np.arange(500.0))
    assert (judged.decision, judged.gain, judged.overdispersion) == ("inconclusive", 0.0, 1.0)


def test_a_schedule_only_asks_that_the_challenger_is_not_worse() -> None:
    """With a tolerance, identical versions pass, and one that is worse by more is rejected."""
    loss = np.random.default_rng(6).random(500)
    assert judge(loss, loss, np.arange(500.0), tolerance=0.01).decision == "promote"
    assert judge(loss + 0.05, loss, np.arange(500.0), tolerance=0.01).decision == "reject"


def test_a_margin_must_be_exceeded() -> None:
    """A gain below the margin is inconclusive however sure it is."""
    rng = np.random.default_rng(7)
    old = rng.random(1000)
    assert judge(old - 0.02, old, np.arange(1000.0)).decision == "promote"
    assert judge(old - 0.02, old, np.arange(1000.0), margin=0.05).decision == "inconclusive"


@pytest.mark.parametrize("rows", [0, 1, 2, 9, 50])
def test_too_few_rows_are_inconclusive(rows: int) -> None:
    """Below `min_rows` nothing is concluded, and nothing breaks."""
    judged = judge(np.zeros(rows), np.ones(rows), np.arange(float(rows)), min_rows=60)
    assert judged.decision == "inconclusive"
    assert f"only {rows} labelled rows" in judged.sentence
    assert math.isnan(judged.gain)


def test_rows_that_cannot_be_scored_are_left_out() -> None:
    """A NaN loss on either side removes the row and nothing else."""
    rng = np.random.default_rng(8)
    new, old = rng.random(100), rng.random(100) + 1
    new[3], old[7] = np.nan, np.inf
    judged = judge(new, old, np.arange(100.0))
    assert (judged.rows, judged.decision) == (98, "promote")


def test_days_are_blocks_where_there_are_ten_and_small_ones_join() -> None:
    """Twelve full days make twelve blocks; a day of two rows joins a neighbour; three days make ten parts."""
    full = np.repeat(np.arange(12), 100) * DAY
    assert time_blocks(full).max() + 1 == 12
    ragged = np.concatenate([full, np.full(2, 12 * DAY)])
    blocks = time_blocks(ragged)
    assert blocks.max() + 1 == 12
    assert blocks[-1] == 11
    parts = time_blocks(np.linspace(0, 3 * DAY, 95))
    assert np.bincount(parts).tolist() == [10, 9, 10, 9, 10, 9, 10, 9, 10, 9]


def test_the_order_of_rows_does_not_matter() -> None:
    """Rows are placed by their time, not by their position."""
    new, old, at = pair(np.random.default_rng(9), 4, 0.01, 0.1)
    order = np.random.default_rng(0).permutation(len(at))
    assert judge(new[order], old[order], at[order]).gain == pytest.approx(judge(new, old, at).gain)

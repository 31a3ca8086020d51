"""The watch over a new version: how often it errs, and how soon it finds harm."""

from __future__ import annotations

import numpy as np
import pytest

from driftd.training.tasks.shadow import conclude
from driftd_detectors.comparison.gate import DAY, judge
from driftd_detectors.comparison.probation import Watch, watch

ROWS_A_DAY = 200


def pair(rng: np.random.Generator, days: int, harm: float, day_sd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """0/1 losses of a new and an old version that disagree on 6 % of the rows."""
    rows = days * ROWS_A_DAY
    at = np.repeat(np.arange(days), ROWS_A_DAY) * DAY
    tilt = harm / 0.12 + np.repeat(rng.normal(0, day_sd, days), ROWS_A_DAY)
    apart = rng.random(rows) < 0.06
    worse = rng.random(rows) < np.clip(0.5 + tilt, 0, 1)
    wrong = rng.random(rows) < 0.07
    return np.where(apart, worse, wrong).astype(float), np.where(apart, ~worse, wrong).astype(float), at


@pytest.mark.slow
@pytest.mark.parametrize("day_sd", [0.0, 0.15, 0.3])
def test_an_equal_version_is_rolled_back_in_at_most_one_of_twenty_watches(day_sd: float) -> None:
    """The largest wealth of 28 days stays below 20 in 95 % (200 watches; 8 % is two standard errors up)."""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(200):
        gate = judge(*pair(rng, 20, -0.01, day_sd))
        wrong += watch(*pair(rng, 28, 0.0, day_sd), tolerated=0.002, overdispersion=gate.overdispersion).roll_back
    assert wrong / 200 <= 0.08


@pytest.mark.slow
def test_two_points_of_harm_are_found_within_two_thousand_labels() -> None:
    """The median harmed version is rolled back after 800 to 2,000 labels."""
    rng = np.random.default_rng(12)
    needed = []
    for _ in range(60):
        new, old, at = pair(rng, 28, 0.02, 0.0)
        days = (n * ROWS_A_DAY for n in range(1, 29))
        needed.append(next((n for n in days if watch(new[:n], old[:n], at[:n], tolerated=0.002).roll_back), 10**6))
    assert 800 <= np.median(needed) <= 2000


def test_a_better_version_is_never_suspected() -> None:
    """A version that is two points better keeps the wealth near one."""
    seen = watch(*pair(np.random.default_rng(13), 28, -0.02, 0.0))
    assert not seen.roll_back
    assert seen.wealth < 2
    assert "lower than the old one's" in seen.sentence


def test_wealth_only_counts_the_past() -> None:
    """A later look never takes an earlier rollback back: the wealth is the largest reached so far."""
    new, old, at = pair(np.random.default_rng(14), 10, 0.05, 0.0)
    good = np.zeros(5000)
    early = watch(new, old, at)
    late = watch(np.concatenate([new, good]), np.concatenate([old, good + 1]), np.concatenate([at, at[-1] + good]))
    assert early.roll_back
    assert late.roll_back


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_labels_decide_nothing(rows: int) -> None:
    """No label, one, or two give a wealth near one and a sentence."""
    seen = watch(np.ones(rows), np.zeros(rows), np.zeros(rows))
    assert (seen.roll_back, seen.labels) == (False, rows)
    assert seen.wealth < 3
    assert seen.sentence


def test_errors_of_a_regression_are_bounded_first() -> None:
    """One absurd error of the new version does not roll it back; a lasting one does."""
    old = np.random.default_rng(15).exponential(10, 400)
    glitch = old.copy()
    glitch[5] = 1e300
    assert not watch(glitch, old, np.zeros(400), bound=50).roll_back
    assert watch(old + 8, old, np.zeros(400), bound=50).roll_back


def test_losses_that_are_missing_are_left_out() -> None:
    """NaN losses count neither as labels nor as harm."""
    seen = watch(np.array([np.nan, 1.0]), np.array([0.0, 1.0]), np.zeros(2))
    assert seen.labels == 1


def test_harm_is_seen_where_both_versions_are_beyond_the_bound() -> None:
    """When the world moved so far that both losses exceed the bound, the worse version is still rolled back."""
    rng = np.random.default_rng(5)
    old = 10 + rng.normal(0, 1, 400)
    at = np.arange(400) * 600.0
    assert watch(old + 3, old, at, bound=5.0).roll_back
    assert not watch(old - 3, old, at, bound=5.0).roll_back


@pytest.mark.parametrize(("days", "telling"), [(2, False), (4, False), (12, True)])
def test_a_watch_says_whether_it_could_have_seen_harm(days: int, telling: bool) -> None:
    """Harm of a tenth of the loss is seen in twelve days of 400 labels; four days can say nothing of days."""
    rng = np.random.default_rng(22)
    old = 1 + np.abs(rng.normal(0, 0.5, days * 400))
    new = old + rng.normal(0, 0.3, len(old))
    seen = watch(new, old, np.repeat(np.arange(days), 400) * DAY, bound=3.0)
    assert (seen.roll_back, seen.is_telling) == (False, telling)
    assert not watch(new[:30], old[:30], np.arange(30) * DAY, bound=3.0).is_telling


SPAN = 7 * DAY


@pytest.mark.parametrize(
    ("seen", "passed", "decision"),
    [
        (Watch(roll_back=True, wealth=25.0, labels=40, sentence="worse"), 1.0, "roll_back"),
        (Watch(roll_back=False, wealth=1.0, labels=0, sentence="no labels"), 1000 * SPAN, "continue"),
        (Watch(roll_back=False, wealth=1.0, labels=5000, sentence="so far"), 1 * DAY, "continue"),
        (Watch(roll_back=False, wealth=1.0, labels=299, sentence="few"), SPAN, "continue"),
        (Watch(roll_back=False, wealth=1.0, labels=299, sentence="few"), 10 * SPAN, "confirm"),
        (Watch(roll_back=False, wealth=1.0, labels=300, sentence="enough"), SPAN, "confirm"),
        (Watch(roll_back=False, wealth=1.0, labels=300, sentence="telling", is_telling=True), 5 * DAY, "confirm"),
        (Watch(roll_back=False, wealth=1.0, labels=100, sentence="telling", is_telling=True), 5 * DAY, "continue"),
    ],
)
def test_probation_ends_when_it_has_seen_enough(seen: Watch, passed: float, decision: str) -> None:
    """A version is confirmed after the span, or when harm would have been seen, on labels enough, and never without."""
    said, sentence = conclude(seen, passed, span=SPAN, min_labels=300)
    assert said == decision
    assert seen.sentence in sentence

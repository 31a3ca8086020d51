"""The delay of labels: learned from those that have a time, unknown until then, and never zero."""

from __future__ import annotations

import numpy as np
import pytest

from driftd_detectors.performance.label_delay import FIRST_SHARE, MATURE_SHARE, LabelDelay

HOUR, DAY = 3600.0, 86_400.0


def learned(delay: np.ndarray, *, until: float = np.inf, classes: int = 1, values: np.ndarray | None = None):
    """What these delays teach, of rows a minute apart."""
    at = np.arange(len(delay)) * 60.0
    return LabelDelay.learn(at, at + delay, np.zeros(len(delay)) if values is None else values, classes, until=until)


@pytest.mark.parametrize(
    "delay",
    [np.full(500, np.nan), np.full(500, -np.inf), np.zeros(500), np.full(29, DAY), np.empty(0)],
    ids=["none has a time", "known since ever", "copies of the prediction's time", "too few", "no rows"],
)
def test_what_says_nothing_of_the_delay_leaves_it_unknown(delay: np.ndarray) -> None:
    """There is then no age at which anything may be evaluated, and no share that could be taken for one."""
    found = learned(delay)
    assert not found.is_known
    assert (found.first_age, found.mature_age, found.last_age) == (None, None, None)
    assert found.to_dict() is None
    assert not LabelDelay.from_dict(None).is_known


def test_shares_and_ages_are_those_of_the_delays() -> None:
    """Labels that come evenly over a day: G rises evenly, and the ages are its quantiles."""
    found = learned(np.random.default_rng(0).uniform(0, DAY, 5000))
    ages = np.linspace(0.1, 0.9, 9) * DAY
    assert found.share(np.zeros(9), ages) == pytest.approx(ages / DAY, abs=0.03)
    assert found.first_age == pytest.approx(FIRST_SHARE * DAY, rel=0.05)
    assert found.mature_age == pytest.approx(MATURE_SHARE * DAY, rel=0.05)
    assert found.last_age is not None
    assert found.last_age > DAY


def test_a_curve_jumps_where_many_labels_come_at_one_age() -> None:
    """A tenth of the labels after an hour, the rest after a day: nothing comes in between, and nothing is promised."""
    found = learned(np.where(np.random.default_rng(1).random(3000) < 0.1, HOUR, DAY))
    between = found.share(np.zeros(3), np.array([2.0, 12.0, 23.0]) * HOUR)
    assert between == pytest.approx(0.1, abs=0.03)
    assert found.first_age == pytest.approx(DAY)


def test_each_group_has_its_own_delay_and_the_slowest_decides() -> None:
    """Of two classes the one that comes after ten days says when a cohort may be evaluated."""
    rng = np.random.default_rng(2)
    values = rng.integers(0, 2, 4000).astype(float)
    found = learned(np.where(values == 1, 10 * DAY, HOUR) * rng.uniform(0.9, 1.1, 4000), classes=2, values=values)
    assert found.share(np.array([0.0, 1.0, -1.0]), np.full(3, DAY)) == pytest.approx([1.0, 0.0, 0.5], abs=0.01)
    assert found.first_age == pytest.approx(9.6 * DAY, rel=0.05)
    assert found.least(DAY) < 0.001


def test_the_newest_labelled_rows_do_not_make_labels_look_quick() -> None:
    """Only rows that are old enough for all their labels teach: the others are labelled because theirs were quick."""
    rng = np.random.default_rng(3)
    at, delay = np.sort(rng.uniform(0, 30 * DAY, 20_000)), rng.exponential(3 * DAY, 20_000)
    known = at + delay <= 30 * DAY
    found = LabelDelay.learn(at[known], (at + delay)[known], np.zeros(known.sum()), 1, until=30 * DAY)
    naive = LabelDelay.learn(at[known], (at + delay)[known], np.zeros(known.sum()), 1)
    truth = -3 * DAY * np.log(1 - MATURE_SHARE)
    assert naive.mature_age is not None
    assert found.mature_age is not None
    assert abs(found.mature_age - truth) < abs(naive.mature_age - truth)
    assert found.mature_age == pytest.approx(truth, rel=0.15)


def test_windows_are_mature_when_the_slowest_group_has_nearly_all_its_labels() -> None:
    """With labels after three days at most, the last whole window of three days ago is mature, and not a later one."""
    found = learned(np.random.default_rng(5).uniform(0, 3 * DAY, 4000), classes=0, values=np.arange(4000.0))
    until = 100 * DAY + 1000.0
    mature = found.mature_until(until, DAY)
    assert mature % DAY == 0
    assert mature == pytest.approx(until - MATURE_SHARE * 3 * DAY, abs=1.1 * DAY)
    assert found.mature_until(until) == pytest.approx(until - MATURE_SHARE * 3 * DAY, rel=0.01)
    assert LabelDelay.unknown().mature_until(until, DAY) == until


def test_what_is_stored_is_read_back_as_it_was() -> None:
    """Every age, share and edge survives, and so does not to know."""
    found = learned(np.random.default_rng(4).exponential(DAY, 400), classes=0, values=np.arange(400.0))
    again = LabelDelay.from_dict(found.to_dict())
    for name in ("ages", "shares", "edges"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert not LabelDelay.from_dict({"ages": [0.0], "shares": [[1.0], [1.0]], "edges": []}).is_known

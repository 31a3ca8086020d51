"""Averages of the last windows against a promised level: what raises, what clears, and what is never learned."""

from __future__ import annotations

import numpy as np
import pytest

from driftd_detectors.performance.level_averages import (
    DAYS,
    SpreadPrior,
    Stretch,
    learn_rhythm,
    learn_spread,
    variance_factor,
)
from driftd_detectors.performance.level_evidence import LevelEvidence, Promise, period_of
from driftd_detectors.performance.level_view import pack_level, unpack_level
from driftd_detectors.serialization import pack, unpack

DAY = 86_400.0
SD = 0.05  # of a window by sampling alone; the promised loss is 1


def stretch(values, sds=SD, places=None):
    """Windows in time order."""
    values = np.asarray(values, dtype=float)
    at = np.arange(len(values)) if places is None else np.asarray(places)
    return Stretch(at, values, np.broadcast_to(np.square(sds), values.shape).astype(float))


def begun(rng, windows=28, *, tolerance=0.1, prior=None, window_seconds=DAY):
    """Evidence begun from windows that differ by .1."""
    known = stretch(1 + 0.1 * rng.standard_normal(windows) + SD * rng.standard_normal(windows))
    promise = Promise(1.0, known, SD**2)
    return LevelEvidence.begin(promise, 913.0, tolerance=tolerance, window_seconds=window_seconds, prior=prior)


def lived(evidence, losses, *, begin=28, sds=SD):
    """The evidence after each of these windows."""
    for number, (loss, sd) in enumerate(zip(losses, np.broadcast_to(sds, len(losses)), strict=True)):
        evidence = evidence.update(float(loss), float(sd) ** 2, (begin + number) * DAY)
        yield evidence


def days(rng, count, level=1.0):
    """Losses of so many days about a level."""
    return level * (1 + 0.1 * rng.standard_normal(count)) + SD * rng.standard_normal(count)


@pytest.mark.parametrize("windows", [1, 2, 3, 7, 10, 14, 28])
def test_a_loss_that_doubles_on_the_first_live_day_is_found_within_four(windows) -> None:
    """Whatever the hold-out, what the first live windows show is not taken for normal."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        states = list(lived(begun(rng, windows), days(rng, 4, 2.0), begin=windows))
        assert states[-1].alarmed


def test_a_lasting_rise_is_raised_once_and_stands_for_good() -> None:
    """A loss that is half as high again for two years raises one alarm, which never clears."""
    rng = np.random.default_rng(2)
    states = list(lived(begun(rng), np.concatenate([days(rng, 30), days(rng, 400, 1.5)])))
    assert sum(state.crossed for state in states) == 1
    assert not any(state.cleared for state in states)
    assert states[-1].alarmed
    assert states[-1].value >= states[-1].threshold


def test_an_alarm_clears_when_its_span_averages_within_what_is_tolerated() -> None:
    """After 40 bad days the alarm clears in one to three weeks; older windows are no evidence then, a new rise is."""
    rng = np.random.default_rng(3)
    losses = np.concatenate([days(rng, 30), days(rng, 40, 1.5), days(rng, 30), days(rng, 10, 1.6)])
    states = list(lived(begun(rng), losses))
    cleared = [number for number, state in enumerate(states) if state.cleared]
    raised = [number for number, state in enumerate(states) if state.crossed]
    assert len(cleared) == 1
    assert 70 + 6 <= cleared[0] <= 70 + 21
    assert states[cleared[0]].value == 0
    assert states[cleared[0]].ended.raised_at == (28 + raised[0]) * DAY
    assert len(raised) == 2
    assert raised[1] >= 100


def test_an_alarm_does_not_clear_by_windows_from_before_the_change() -> None:
    """Two bad days after a calm month: the average of the last 14 is soon low, but only days after the change count."""
    rng = np.random.default_rng(4)
    losses = np.concatenate([days(rng, 30), days(rng, 3, 2.0), days(rng, 30)])
    states = list(lived(begun(rng), losses))
    raised = next(number for number, state in enumerate(states) if state.crossed)
    cleared = next(number for number, state in enumerate(states) if state.cleared)
    assert cleared - raised >= 12


@pytest.mark.parametrize("uneven", [False, True])
def test_one_glitch_never_alarms(uneven) -> None:
    """One window of a hundredfold loss raises nothing, also where windows have labels of very different number."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        losses = days(rng, 60)
        losses[30] = 100.0
        sds = SD * np.exp(rng.normal(0, 0.8, 60)) if uneven else SD
        assert not any(state.crossed for state in lived(begun(rng), losses, sds=sds))


def test_a_change_is_dated_to_the_window_at_which_it_began() -> None:
    """The alarm says since when: the first window after the change, not the one that raised it."""
    rng = np.random.default_rng(5)
    states = list(lived(begun(rng), np.concatenate([days(rng, 30), days(rng, 10, 1.8)])))
    alarm = next(state.alarm for state in states if state.crossed)
    assert alarm.change_at == (28 + 30) * DAY
    assert alarm.raised_at > alarm.change_at


def test_a_lucky_short_reference_is_judged_by_the_second_level_too() -> None:
    """Three reference windows say little of the level: the first 28 together make a second one, which is then fixed."""
    rng = np.random.default_rng(6)
    *_, last = lived(begun(rng, 3), days(rng, 25, 1.05), begin=3)
    assert last.completed == pytest.approx(1.05, abs=0.08)
    *_, later = lived(last, days(rng, 10, 1.3), begin=28)
    assert later.completed == last.completed


def test_what_was_learned_of_the_spread_is_carried_to_the_next_version() -> None:
    """With three windows of its own, a version finds a rise of half sooner when it knows how its predecessor varied."""
    delays = {False: [], True: []}
    for seed in range(30):
        rng = np.random.default_rng(seed)
        *_, known = lived(begun(rng), 1 + SD * rng.standard_normal(60))
        losses = 1.5 + SD * rng.standard_normal(60)
        for carried, found in delays.items():
            evidence = begun(np.random.default_rng(seed), 3, prior=known.successor_prior() if carried else None)
            states = lived(evidence, losses, begin=3)
            found.append(next(number for number, state in enumerate(states) if state.crossed))
    assert known.successor_prior().windows == 20
    assert known.successor_prior().sd < SpreadPrior().sd
    assert np.mean(delays[True]) < np.mean(delays[False])


def test_the_spread_of_uneven_windows_is_found_beneath_their_sampling() -> None:
    """Windows whose sampling sds differ tenfold show the same spread and correlation as those that are alike."""
    rng = np.random.default_rng(7)
    wander = np.empty(4000)
    at = 0.0
    for number in range(len(wander)):
        at = 0.8 * at + 0.1 * np.sqrt(1 - 0.8**2) * rng.standard_normal()
        wander[number] = at
    sds = np.exp(rng.uniform(np.log(0.03), np.log(0.3), len(wander)))
    seen = stretch(1 + wander + sds * rng.standard_normal(len(wander)), sds)
    variance, rho = learn_spread([seen], scale=1.0, inflation=1.0, pace=DAYS, prior=SpreadPrior())
    assert np.sqrt(variance) == pytest.approx(0.1, rel=0.15)
    assert rho == pytest.approx(0.8, abs=0.08)


def test_the_rhythm_of_a_week_is_found_where_weekends_have_no_windows() -> None:
    """Five windows a week on their places of the calendar give five phases; the days that never come have no shape."""
    rng = np.random.default_rng(8)
    pattern = np.array([0.2, 0.1, 0.0, -0.1, -0.2, 0.0, 0.0])
    places = np.array([day for day in range(1000, 1070) if day % 7 < 5])
    found = learn_rhythm(places, 1 + pattern[places % 7] + 0.02 * rng.standard_normal(len(places)), 7)
    assert found.at(np.arange(1001, 1006)) == pytest.approx(pattern[np.arange(1001, 1006) % 7], abs=0.03)


def test_a_level_that_rises_is_no_rhythm_and_no_spread() -> None:
    """A step halfway leaves the learned shape at nothing, and the spread about where it was."""
    rng = np.random.default_rng(9)
    values = np.concatenate([days(rng, 28), days(rng, 28, 2.0)])
    shape = learn_rhythm(np.arange(56), values, 7).shape
    assert np.abs(shape).max() < 0.15
    variance, _ = learn_spread([stretch(values)], scale=1.0, inflation=1.0, pace=DAYS, prior=SpreadPrior())
    before, _ = learn_spread([stretch(values[:28])], scale=1.0, inflation=1.0, pace=DAYS, prior=SpreadPrior())
    assert variance > before  # seen by the differences across the step; its own windows are judged by what was before


def test_the_variance_of_a_mean_follows_the_correlation() -> None:
    """Against the double sum of rho^|i - j|."""
    for rho in (0.0, 0.5, 0.9):
        for b in (1, 2, 7, 64):
            lags = np.abs(np.subtract.outer(np.arange(b), np.arange(b)))
            assert variance_factor(float(b), rho) == pytest.approx((rho**lags).sum() / b**2)


def test_the_state_is_small_and_goes_on_as_it_was() -> None:
    """After two years the state has about 8 KB; read back it says what the one in memory says."""
    rng = np.random.default_rng(10)
    *_, evidence = lived(begun(rng), days(rng, 700))
    stored = pack(*pack_level(evidence))
    assert len(stored) < 10_000
    again = unpack_level(begun(np.random.default_rng(10)), *unpack(stored))
    for loss in days(rng, 20, 1.3):
        evidence, again = (item.update(float(loss), SD**2, evidence.starts[-1] + DAY) for item in (evidence, again))
        assert again.value == evidence.value
    assert again.alarmed == evidence.alarmed


def test_without_an_alarm_there_is_nothing_to_absorb() -> None:
    """The promise stays when no alarm stands, so that no level is ever learned by the way."""
    rng = np.random.default_rng(14)
    *_, evidence = lived(begun(rng), days(rng, 20, 1.08))
    assert evidence.rebaseline().promise == evidence.promise
    assert evidence.rebaseline().value == 0


def test_an_absorbed_level_is_the_promise_and_is_kept() -> None:
    """What an operator calls normal is held against from then on, also after a restart; a further rise is found."""
    rng = np.random.default_rng(11)
    *_, evidence = lived(begun(rng), days(rng, 20, 1.6))
    normal = evidence.rebaseline()
    assert not normal.alarmed
    assert normal.value == 0
    assert normal.promise.mean == pytest.approx(1.6, abs=0.1)
    again = unpack_level(begun(np.random.default_rng(11)), *unpack(pack(*pack_level(normal))))
    *_, calm = lived(again, days(rng, 30, 1.6), begin=48)
    assert not calm.alarmed
    *_, worse = lived(calm, days(rng, 10, 2.6), begin=78)
    assert worse.alarmed


def test_windows_whose_labels_say_too_little_are_not_judged_yet() -> None:
    """Averages whose sampling error exceeds 30 % of the loss wait for more windows, and the evidence says so."""
    rng = np.random.default_rng(12)
    rough = stretch(1 + rng.standard_normal(28), sds=1.0)
    evidence = LevelEvidence.begin(Promise(1.0, rough, 1 / 28), 913.0, tolerance=0.1, window_seconds=DAY)
    states = list(lived(evidence, 3 + rng.standard_normal(30), sds=1.0))
    assert [state.is_learning for state in states[1:9]] == [True] * 8
    assert not states[11].is_learning
    assert states[-1].alarmed


@pytest.mark.parametrize("loss", [np.inf, -np.inf, np.nan, 1e300, -1e300, 0.0])
def test_no_loss_breaks_the_evidence(loss) -> None:
    """Whatever a window's loss is, the evidence stays finite and can be stored."""
    with np.errstate(all="raise"):
        evidence = begun(np.random.default_rng(13))
        for number in range(5):
            evidence = evidence.update(loss, SD**2, (28 + number) * DAY)
    assert np.isfinite(evidence.value)
    pack(*pack_level(evidence))


def test_the_rhythm_follows_the_length_of_windows() -> None:
    """Days and half days have weeks, hours and quarters of an hour have days; weeks, odd windows and rows have none."""
    lengths = (None, 60.0, 900.0, 3600.0, 5 * 3600.0, 43_200.0, DAY, 7 * DAY)
    assert [period_of(item) for item in lengths] == [1, 1, 96, 24, 1, 14, 7, 1]

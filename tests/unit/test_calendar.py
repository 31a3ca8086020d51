"""Local time, month ends and holidays: what they do every time is learned, and uses up no budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from driftd.config.load import parse
from driftd.config.types import read_holidays
from driftd.loop.config_history import monitor_settings
from driftd_detectors.evidence.evidence import Evidence, StreamWeights
from driftd_detectors.evidence.history import Calendar, Season, level_columns, regressors
from driftd_detectors.evidence.residuals import Fit

DAY, HOUR, SD = 86_400.0, 3_600.0, 0.05
FIRST = datetime(2025, 2, 1, tzinfo=UTC).timestamp()
STREAMS = 12
PLAIN = Calendar(month_ends=False)


def begun(values: np.ndarray, starts: np.ndarray, seconds: float, calendar: Calendar) -> Evidence:
    """Evidence that has learned from reference windows."""
    lanes = StreamWeights.of(np.ones(STREAMS), np.ones(STREAMS, dtype=bool))
    return Evidence.begin(lanes, 1000.0, starts, values, np.full(values.shape, SD), seconds, calendar)


def alarms(values: np.ndarray, starts: np.ndarray, seconds: float, calendar: Calendar, reference: int) -> list[int]:
    """The windows at which an alarm is raised; after each, the evidence begins anew and knows what it knew."""
    evidence, found = begun(values[:reference], starts[:reference], seconds, calendar), []
    for at in range(reference, len(values)):
        evidence = evidence.update(values[at], np.full(STREAMS, SD), np.full(STREAMS, 0.03), float(starts[at]))
        if evidence.crossed:
            found.append(at)
            evidence = evidence.forget(np.ones(STREAMS, dtype=bool))
    return found


def days_with(special: frozenset[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two years of days; special ones and the last two of a month have an effect of six sds of a window."""
    rng, starts = np.random.default_rng(seed), FIRST + np.arange(730) * DAY
    dates = [datetime.fromtimestamp(start, UTC).date() for start in starts]
    odd = np.array(
        [day.toordinal() in special or (day.month != date.fromordinal(day.toordinal() + 2).month) for day in dates]
    )
    effect = 6 * SD * rng.choice([-1, 1], STREAMS)
    return rng.normal(0, SD, (730, STREAMS)) + odd[:, None] * effect, starts


@pytest.mark.slow
def test_month_ends_and_holidays_use_up_no_budget() -> None:
    """Two years of month ends and holidays raise no alarm with the calendar, and do not count as noise from then on."""
    off = [(1, 1), (1, 2), (4, 23), (5, 1), (5, 2), (8, 29), (8, 30), (10, 28), (10, 29)]
    holidays = frozenset(date(year, *day).toordinal() for year in (2025, 2026, 2027) for day in off)
    values, starts = days_with(holidays, 3)
    calendar = Calendar(holidays=holidays)
    assert alarms(values, starts, DAY, PLAIN, 56)
    assert alarms(values, starts, DAY, calendar, 56) == []
    noise = {
        known: float(begun(values, starts, DAY, known).fit.noise(np.full(STREAMS, SD)).mean())
        for known in (PLAIN, calendar)
    }
    assert noise[calendar] < 1.1 * SD
    assert noise[PLAIN] > 1.5 * SD


def test_a_change_on_a_special_day_is_found_when_it_lasts() -> None:
    """A shift that begins at the end of a month is found in the next days."""
    values, starts = days_with(frozenset(), 4)
    change = 30 + 28 * 2 + 30 - 1  # the last day but one of May
    values[change:] += 0.25
    assert alarms(values, starts, DAY, Calendar(), 56)[0] <= change + 5


@pytest.mark.slow
def test_local_hours_stay_in_place_when_summer_time_begins() -> None:
    """A feature that follows the local hour alarms after the clocks change in UTC, and not in its zone."""
    rng, hours = np.random.default_rng(5), 24 * 65
    starts = FIRST + np.arange(hours) * HOUR
    berlin = Calendar("Europe/Berlin", month_ends=False)
    pattern = rng.normal(0, 4 * SD, (24, STREAMS))
    local = (berlin.local(starts, HOUR) // HOUR).astype(int) % 24
    values = pattern[local] + rng.normal(0, SD, (hours, STREAMS))
    clocks = int((datetime(2025, 3, 30, 1, tzinfo=UTC).timestamp() - FIRST) / HOUR)
    assert min(alarms(values, starts, HOUR, PLAIN, 336)) in range(clocks, clocks + 12)
    assert alarms(values, starts, HOUR, berlin, 336) == []


def test_days_are_those_of_the_zone() -> None:
    """The day of the week of a daily window is that of most of its hours where the model is used."""
    monday = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    for zone, weekday in (("UTC", 0), ("Asia/Tokyo", 0), ("America/Los_Angeles", 0), ("Pacific/Auckland", 1)):
        (row,) = regressors(Season.WEEKDAY, np.array([monday]), DAY, Calendar(zone, month_ends=False))
        assert row.tolist() == [float(day == weekday) for day in range(7)]


def test_special_days_are_no_part_of_the_level() -> None:
    """Absorbing a level moves every cell of the season and no effect of a special day."""
    calendar = Calendar(holidays=frozenset({date(2026, 1, 1).toordinal()}))
    columns = regressors(Season.HOUR_AND_WEEKEND, np.zeros(1), HOUR, calendar).shape[1]
    level = level_columns(Season.HOUR_AND_WEEKEND, columns, 2)
    assert level.tolist() == [1.0] * 24 + [0.0, 0.0, 0.0]
    assert regressors(Season.NONE, np.zeros(1), None, calendar).shape == (1, 1)
    assert regressors(Season.NONE, np.zeros(1), 7 * DAY, calendar).shape == (1, 1)


def test_what_was_learned_goes_on_under_another_calendar() -> None:
    """New kinds of special days are added to what is known; another zone is learned anew from the last windows."""
    values, starts = days_with(frozenset(), 6)
    before = begun(values[:60], starts[:60], DAY, PLAIN)
    for calendar in (Calendar(), Calendar("Europe/Istanbul"), PLAIN):
        blank = begun(np.empty((0, STREAMS)), np.empty(0), DAY, calendar)
        after = blank.restore_from(*before.pack())
        assert after is not None
        assert after.fit.calendar == calendar
        assert after.fit.beta.shape == (STREAMS, 7 + calendar.month_ends)
        assert after.fit.windows == 60
        again = blank.restore_from(*after.pack())
        assert again is not None
        assert np.array_equal(again.fit.beta, after.fit.beta)
    extended = before.fit.under(Calendar(), PLAIN.key, before.history)
    assert np.array_equal(extended.beta[:, :7], before.fit.beta)
    assert not isinstance(extended, Fit) or extended.covariance[0, 7, 7] > 1e5


def test_a_calendar_file_is_read(tmp_path: Path) -> None:
    """Lines begin with a date; a header, comments and names are allowed, anything else is refused with its line."""
    path = tmp_path / "holidays.csv"
    path.write_text('date,name\n2026-01-01,New Year\n# spring\n"2026-04-23",\n\n2026-05-01\n')
    assert read_holidays(path) == (date(2026, 1, 1), date(2026, 4, 23), date(2026, 5, 1))
    detect = f"{{calendar: {{zone: Europe/Istanbul, holidays: {path}}}}}"
    text = f"models:\n  demand: {{task: regression, target: y, detect: {detect}}}\n"
    settings = monitor_settings(parse(text.encode()).models["demand"])
    assert settings.calendar.zone == "Europe/Istanbul"
    assert date(2026, 4, 23).toordinal() in settings.calendar.holidays
    assert replace(settings.calendar, month_ends=False).key == ("Europe/Istanbul", False, True)
    path.write_text("2026-01-01\n1 May 2026\n")
    with pytest.raises(ValueError, match=r"holidays.csv, line 2: '1 May 2026' is no date"):
        read_holidays(path)
    path.write_text("date\n")
    with pytest.raises(ValueError, match="holds no date"):
        read_holidays(path)

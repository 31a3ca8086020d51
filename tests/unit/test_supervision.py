"""How often a failure that repeats is told, what the scheduler makes of a clock that is set, and signs of life."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler

from driftd.loop.run import Interval
from driftd.loop.supervision import STANDSTILL_SECONDS, LogThrottle, Service, describe_faults


def test_the_first_is_told_at_once_and_then_one_a_minute_with_the_count_between() -> None:
    """Of a failure each second, the first line and one a minute come through, each with how many did not."""
    repeats = LogThrottle()
    output = {second: repeats.due("step_failed", "demand", "OSError", now=1000.0 + second) for second in range(150)}
    assert {second: count for second, count in output.items() if count is not None} == {0: 0, 60: 59, 120: 59}


def test_each_kind_is_told_for_itself() -> None:
    """Another event, model or error is told at once, whatever else repeats, and its count is its own."""
    repeats = LogThrottle()
    assert repeats.due("step_failed", "demand", "OSError", now=0.0) == 0
    assert repeats.due("step_failed", "demand", "OSError", now=1.0) is None
    for kind in (("failed", "demand", "OSError"), ("step_failed", "orders", "OSError"), ("step_failed", "demand", "E")):
        assert repeats.due(*kind, now=2.0) == 0
    assert repeats.due("step_failed", "demand", "OSError", now=60.0) == 1


def test_what_was_told_once_begins_anew_after_a_quiet_time() -> None:
    """A count is told once: the next line of the same kind counts from it on."""
    repeats = LogThrottle()
    output = [repeats.due("step_failed", now=moment) for moment in (0.0, 1.0, 60.0, 3600.0)]
    assert output == [0, None, 1, 0]


def test_a_clock_that_was_set_back_keeps_nothing_back() -> None:
    """After the wall clock went back by an hour the next failure is told at once."""
    repeats = LogThrottle()
    assert [repeats.due("step_failed", now=moment) for moment in (3600.0, 3601.0, 1.0, 2.0)] == [0, None, 1, None]


NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
SECOND, YEAR = timedelta(seconds=1), timedelta(days=365.25)


def scheduled_job(scheduler: BackgroundScheduler, at: datetime) -> Job:
    """A job of every second that is due at a time; the scheduler is not started."""
    options = {"misfire_grace_time": None, "coalesce": True}
    return scheduler.add_job(print, Interval(1.0), id="tick", next_run_time=at, **options)


@pytest.mark.parametrize("late", [timedelta(0), 5 * SECOND, YEAR, 5 * YEAR, 50 * YEAR])
def test_a_jump_ahead_makes_no_list_of_missed_runs(late: timedelta) -> None:
    """However late a job of every second is, it is run once and then after a second of the new time."""
    scheduler = BackgroundScheduler(timezone="UTC")
    job = scheduled_job(scheduler, NOON)
    assert job._get_run_times(NOON + late) == [NOON]
    assert job.trigger.get_next_fire_time(NOON, NOON + late) == NOON + late + SECOND


def test_runs_keep_their_distance_while_the_clock_runs_evenly() -> None:
    """A run that begins a little late does not push the next one; the first is an interval after the start."""
    trigger = Interval(1.0)
    assert trigger.get_next_fire_time(None, NOON) == NOON + SECOND
    assert trigger.get_next_fire_time(NOON, NOON + SECOND / 4) == NOON + SECOND
    assert trigger.get_next_fire_time(NOON, NOON - 10 * YEAR) == NOON - 10 * YEAR + SECOND


def test_a_main_loop_without_a_sign_of_life_is_not_healthy() -> None:
    """Within two minutes of the last one all is well; after them the process says that it hangs, until the next one."""
    service = Service()
    service.alive()
    assert service.standstill() is None
    service.alive_at = time.monotonic() - STANDSTILL_SECONDS - 1
    assert "has not moved for 121 s" in (service.standstill() or "")
    service.alive()
    assert service.standstill() is None


def test_models_that_fail_are_named_and_the_first_with_its_reason() -> None:
    """A few names, how many more there are, and the reason of the first."""
    faults = {f"model_{number}": "Too many open files" for number in range(5)}
    expected = "5 of 300 models fail (model_0, model_1, model_2 and 2 more); model_0: Too many open files"
    assert describe_faults(faults, 300) == expected
    assert describe_faults({"a": "no file"}, 1) == "1 of 1 models fail (a); a: no file"

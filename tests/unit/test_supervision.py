"""How often a failure that repeats is told."""

from __future__ import annotations

from driftd.loop.supervision import LogThrottle


def test_the_first_is_told_at_once_and_then_one_a_minute_with_the_count_between() -> None:
    """Of a failure each second, the first line and one a minute come through, each with how many did not."""
    repeats = LogThrottle()
    told = {second: repeats.due("step_failed", "demand", "OSError", now=1000.0 + second) for second in range(150)}
    assert {second: count for second, count in told.items() if count is not None} == {0: 0, 60: 59, 120: 59}


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
    told = [repeats.due("step_failed", now=moment) for moment in (0.0, 1.0, 60.0, 3600.0)]
    assert told == [0, None, 1, 0]


def test_a_clock_that_was_set_back_keeps_nothing_back() -> None:
    """After the wall clock went back by an hour the next failure is told at once."""
    repeats = LogThrottle()
    assert [repeats.due("step_failed", now=moment) for moment in (3600.0, 3601.0, 1.0, 2.0)] == [0, None, 1, None]

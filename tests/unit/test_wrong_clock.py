"""Windows and decisions under a clock that is wrong by years, and what mends them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger

from driftd.loop.check_schedule import WINDOWS_A_STEP, CheckScheduler
from driftd.loop.decide import Counts
from driftd.loop.supervision import TimeoutWorker
from driftd.paths import Places
from driftd.policy import ClockTick, Facts, OperatorRequest, Override, PolicySettings, advance
from driftd.policy.inputs import RefreshSettings
from driftd.policy.recovery import without_future_times
from driftd.policy.triggers import LONGEST_WAIT
from driftd.records import (
    Build,
    BuildRequest,
    BuildStep,
    Event,
    ModelState,
    Phase,
    Probation,
    RefreshState,
    Transition,
    Trigger,
    Window,
)
from driftd.sources.protocol import Extent, count_ahead, count_due, due_windows, is_clock_ahead, window_index
from driftd.sources.store import StoreSource
from driftd.store.state.writer import StateStore
from driftd_detectors.assessment import Assessment, Verdict
from event_samples import SCHEMA, keep, open_store, prediction

HOUR, DAY, YEAR = 3600.0, 86_400.0, 31_557_600.0
BEGIN = 1_700_000_000.0 // DAY * DAY
NOW = BEGIN + 3 * DAY + 600.0  # ten minutes into the hour after the newest event
AHEAD = 40_000_000.0


@dataclass
class Hourly:
    """Windows of an hour."""

    every: float | None = HOUR
    rows: int | None = None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    """A state whose next window is the last hour with events."""
    with StateStore.open(tmp_path / "state.db", durable=False) as store:
        store.save_cursor("m", "window", window_index(NOW, HOUR) - 1)
        store.save_cursor("m", "labels", window_index(NOW, HOUR) - 3)
        yield store


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[CheckScheduler]:
    """The checks of a model with an event each hour for three days."""
    places = Places(tmp_path)
    events = open_store(places.events_db("m").parent)
    keep(events, [prediction(hour, at=BEGIN + hour * HOUR) for hour in range(72)], NOW)
    events.close()
    guard = TimeoutWorker("m", 60.0)
    yield CheckScheduler("m", Hourly(), StoreSource("m", SCHEMA, places), guard, lateness=1.0)
    guard.close()


@pytest.mark.parametrize("jump", [AHEAD, YEAR, 5 * YEAR, -10 * YEAR])
def test_no_window_is_passed_over_on_a_clock_that_jumps(
    scheduler: CheckScheduler, store: StateStore, jump: float
) -> None:
    """The hour with events stays due, none after it becomes so, and the clock's return changes nothing."""
    for now in (NOW + jump, NOW):
        scheduler.refresh(now)
        expected = [window_index(NOW, HOUR) - 1] if now >= NOW else []
        assert [window.index for window in scheduler.due(store, now)] == expected
        assert scheduler.count_due(store, now) == len(expected)
        assert scheduler.doubts_clock(store, now) == (now > NOW)
        assert (scheduler.count_ahead(store, now) > 80_000) == (now < NOW)


def test_history_says_nothing_of_the_clock(scheduler: CheckScheduler, store: StateStore) -> None:
    """Events that were a year old when the model came under watch are history; of a feed, a sign of a wrong clock.

    History that is followed by live events is a feed.
    """
    now = NOW + YEAR
    scheduler.refresh(now)
    assert "months ahead of the newest prediction" in str(scheduler.clock_fault(store, now))
    with store.transaction():
        begun = Transition(ModelState("m"), "under watch", Event.ADOPTED)
        store.save_transition(ModelState("m"), begun, at=now, actor="driftd", config_hash="")
    assert not scheduler.doubts_clock(store, now)
    assert scheduler.clock_fault(store, now) is None
    assert [window.index for window in scheduler.due(store, now)] == [window_index(NOW, HOUR) - 1]
    assert is_clock_ahead(newest=now, now=now + YEAR, begun_at=now)
    assert not is_clock_ahead(newest=now, now=now + 89 * DAY, begun_at=now)


FAULT = "the clock is months ahead of the newest prediction"
WANTED = BuildRequest(Trigger.SCHEDULE, "the schedule is due", NOW)


def decide(state: ModelState, now: float, fault: str | None, **facts: Any) -> Transition:
    """One tick of a model whose two versions can be served."""
    known = Facts(next_version=3, versions=frozenset({1, 2}), clock_fault=fault, **facts)
    settings = PolicySettings(retrain_on=frozenset({Trigger.SCHEDULE}), probation_span=DAY, refresh=RefreshSettings())
    return advance(state, ClockTick(), known, settings, Override(), now)


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        (ModelState("m", champion=2, last_schedule=NOW - DAY), {"schedule_due": True}),
        (ModelState("m", champion=2, want=WANTED), {"labels": 9000}),
        (ModelState("m", champion=2, refresh=RefreshState(1, 10.0, NOW)), {"window": 9000, "fresh_labels": 9000}),
        (ModelState("m", Phase.PROBATION, champion=2, probation=Probation(1, NOW)), {"labels": 0}),
        (ModelState("m", Phase.RETRAINING, champion=2, build=Build(3, Trigger.DATA_DRIFT, "x", BuildStep.COLLECT, NOW)),
         {}),
    ],
)  # fmt: skip
def test_nothing_is_decided_because_a_clock_says_that_a_year_passed(state: ModelState, facts: dict[str, Any]) -> None:
    """Schedule, build, refresh, probation and collecting wait for the right clock, and go on with it."""
    held = decide(state, NOW + YEAR, FAULT, **facts)
    assert (held.event, held.actions) == (None, ())
    assert FAULT in held.reason
    assert replace(held.state, waits=None) == state
    on = decide(held.state, NOW + YEAR, None, **facts)
    assert on.event is not None or on.actions


def test_what_a_person_asks_for_waits_for_no_clock() -> None:
    """A build by hand starts on any clock; an override still acts."""
    asked = ModelState("m", champion=2, want=replace(WANTED, trigger=Trigger.MANUAL))
    assert decide(asked, NOW + YEAR, FAULT).event is Event.BUILD_STARTED


@pytest.mark.parametrize(
    "state",
    [
        ModelState("m", champion=2, want=WANTED, failures=3, backoff_until=NOW + YEAR),
        ModelState("m", champion=2, want=WANTED, cooldown_until=NOW + YEAR),
        ModelState("m", champion=2, want=WANTED, build_starts=(NOW + YEAR,) * 9),
        ModelState("m", champion=2, refresh=RefreshState(90_000, 10.0, NOW)),
    ],
)
def test_no_build_waits_for_a_time_that_a_clock_ahead_wrote_down(state: ModelState) -> None:
    """Pauses, the budget and the last refresh of a year ahead hold nothing up; those of tomorrow do."""
    facts: dict[str, Any] = {"labels": 9000, "fresh_labels": 9000, "window": 400}
    assert decide(state, NOW, None, **facts).event is Event.BUILD_STARTED
    soon = replace(state, backoff_until=min(state.backoff_until, NOW + HOUR))
    soon = replace(soon, cooldown_until=min(state.cooldown_until, NOW + HOUR), build_starts=(NOW - HOUR,) * 9)
    assert decide(replace(soon, refresh=None), NOW, None, **facts).event is None


def test_a_schedule_of_a_year_ahead_is_due() -> None:
    """A schedule that ran on a clock ahead runs again at once; one that ran within the hour does not."""
    counts = Counts(
        "m", None, CronTrigger.from_crontab("0 3 * * *", timezone="UTC"), lambda _: (None, ""), False, 1.0, Hourly()
    )  # type: ignore[arg-type]
    for last, due in ((NOW + YEAR, True), (NOW + HOUR, False), (NOW - HOUR, False), (NOW - 2 * DAY, True)):
        assert counts.is_due(ModelState("m", last_schedule=last), NOW) is due


def test_a_silent_feed_of_weeks_is_no_wrong_clock(scheduler: CheckScheduler, store: StateStore) -> None:
    """Within ninety days every empty window is due, in steps; the count of those that wait makes no list."""
    now = NOW + 60 * DAY
    scheduler.refresh(now)
    assert not scheduler.doubts_clock(store, now)
    assert len(scheduler.due(store, now)) == WINDOWS_A_STEP
    assert scheduler.count_due(store, now) == 60 * 24 + 1


def test_a_reset_has_windows_checked_that_were_passed_over(scheduler: CheckScheduler, store: StateStore) -> None:
    """The checks of the clock that was ahead are forgotten, both cursors go back, and their windows can be recorded."""
    first = window_index(NOW, HOUR) - 1
    for index in range(first, first + 50):
        window = Window(index, index * HOUR, (index + 1) * HOUR)
        store.save_check(
            "m", "window", window, Assessment(Verdict.INCONCLUSIVE, "no rows", 0), at=NOW + AHEAD, version=1
        )
    store.save_cursor("m", "window", window_index(NOW + AHEAD, HOUR))
    store.save_cursor("m", "labels", window_index(NOW + AHEAD, HOUR) - 1)
    scheduler.refresh(NOW)
    assert scheduler.due(store, NOW) == []
    assert scheduler.count_ahead(store, NOW) > 11_000
    with store.transaction():
        sentence, is_anew = scheduler.reset_cursor(store, NOW)
    assert "windows were passed over; checks go on with the window of" in sentence
    assert not is_anew
    assert store.cursor("m", "window") == store.cursor("m", "labels") == first
    (window,) = scheduler.due(store, NOW)
    store.save_check("m", "window", window, Assessment(Verdict.OK, "calm", 1), at=NOW, version=1)
    assert scheduler.count_ahead(store, NOW) == 0
    with store.transaction():
        assert scheduler.reset_cursor(store, NOW) == ("", False)


def test_windows_are_counted_as_they_are_listed() -> None:
    """For times and rows, with and without a cursor, the count of due windows is the length of their list."""
    extent = Extent(BEGIN + 100.0, NOW, rows=105)
    for spec in (Hourly(), Hourly(None, 10)):
        for cursor in (None, 0, 3, window_index(NOW, HOUR) - 5, window_index(NOW, HOUR) + 5):
            listed = list(due_windows(spec, extent, cursor, NOW, 1.0)) if spec.rows or cursor != 0 else None
            if listed is not None:
                assert count_due(spec, extent, cursor, NOW, 1.0) == len(listed)
    assert count_ahead(Hourly(None, 10), extent, 14, NOW) == 4
    assert count_ahead(Hourly(), extent, window_index(NOW, HOUR) + 1, NOW) == 0
    assert count_ahead(Hourly(), extent, None, NOW) == 0


STATE = ModelState(
    "m",
    champion=2,
    last_schedule=NOW + AHEAD,
    build_starts=(NOW - DAY, NOW + AHEAD),
    cooldown_until=NOW + AHEAD,
    backoff_until=NOW + 60.0,
    probation=Probation(1, NOW + AHEAD, looked_at=NOW + AHEAD, window=500_000),
    refresh=RefreshState(500_000, 10.0, NOW + AHEAD, extra=(7, 500_001)),
)


def test_nothing_waits_for_a_time_that_a_clock_ahead_wrote_down() -> None:
    """Schedule, budget, cool-down, probation and refresh go by the clock of now; a pause that is under way stays."""
    mended = without_future_times(STATE, 400, NOW)
    assert (mended.last_schedule, mended.build_starts) == (NOW, (NOW - DAY, NOW))
    assert (mended.cooldown_until, mended.backoff_until) == (NOW, NOW + 60.0)
    assert mended.probation == Probation(1, NOW, looked_at=NOW, window=400)
    assert mended.refresh == RefreshState(400, 10.0, NOW, extra=(7,))
    assert without_future_times(mended, 400, NOW) == mended
    assert without_future_times(replace(mended, cooldown_until=NOW + LONGEST_WAIT), 400, NOW).cooldown_until > NOW


@pytest.mark.parametrize(
    ("state", "text", "event"),
    [
        (STATE, "", Event.CURSOR_RESET),
        (ModelState("m", champion=2), "12 windows were passed over", Event.CURSOR_RESET),
        (ModelState("m", champion=2), "", Event.REQUEST_REFUSED),
    ],
)
def test_a_reset_is_decided_and_told(state: ModelState, text: str, event: Event) -> None:
    """What was mended is in the history with who asked; where nothing lies ahead of the clock it is refused."""
    facts = Facts(next_version=3, versions=frozenset({1, 2}), window=400)
    decided = advance(state, OperatorRequest("reset-cursor", "ada", text), facts, PolicySettings(), Override(), NOW)
    assert decided.event is event
    assert ("ada" in decided.reason) == (event is Event.CURSOR_RESET)

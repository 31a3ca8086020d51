"""Windows and decisions under a clock that is wrong by years, and what mends them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from driftd.loop.check_schedule import WINDOWS_A_STEP, CheckScheduler
from driftd.loop.supervision import TimeoutWorker
from driftd.paths import Places
from driftd.policy import Facts, OperatorRequest, Override, PolicySettings, advance
from driftd.policy.recovery import LONGEST_WAIT, without_future_times
from driftd.records import Event, ModelState, Probation, RefreshState, Window
from driftd.sources.protocol import Extent, count_ahead, count_due, due_windows, window_index
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
        assert scheduler.doubts_clock(now) == (now > NOW)
        assert (scheduler.count_ahead(store, now) > 80_000) == (now < NOW)


def test_a_silent_feed_of_weeks_is_no_wrong_clock(scheduler: CheckScheduler, store: StateStore) -> None:
    """Within ninety days every empty window is due, in steps; the count of those that wait makes no list."""
    now = NOW + 60 * DAY
    scheduler.refresh(now)
    assert not scheduler.doubts_clock(now)
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

"""Where the clock of the house leaps by an hour twice a year: windows and schedules go by UTC, which does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loop_world import CONFIG, HOUR, MODEL, World

pytestmark = pytest.mark.slow

KNOWN = 120  # hours that version 1 is trained on
LIVE = 30  # hours: the day of the leap, and the morning after
# 2:30 by the clock on the wall is the hour that is left out in spring and comes twice in autumn.
DAILY = CONFIG.replace(
    "{{on: [performance], cooldown: 1h}}", '{{on: [schedule], schedule: "30 2 * * *", cooldown: 1h}}'
)
SPRING, AUTUMN = datetime(2024, 3, 31, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process and its children are in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    if time.localtime(SPRING.timestamp()).tm_hour != 3:
        pytest.skip("Debian package tzdata is not installed")
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("leap", [SPRING, pytest.param(AUTUMN, marks=pytest.mark.soak)], ids=["spring", "autumn"])
@pytest.mark.usefixtures("berlin")
def test_each_window_is_checked_once_and_the_daily_build_begins_once_a_day(tmp_path: Path, leap: datetime) -> None:
    """Over either leap of local time hourly windows have no gap and no double, and a schedule keeps its hour of UTC."""
    assert local_hours_of_the_day(leap) == (23 if leap is SPRING else 25)
    midnight = leap - timedelta(hours=1)
    world = World.begin(tmp_path, hours=KNOWN, config=DAILY, start=midnight.timestamp() - KNOWN * HOUR)
    world.live(LIVE)
    store = world.daemon.assembly.store
    checks = store.checks(MODEL, 1000, "window")
    history = store.history(MODEL, 1000)
    world.close()
    assert sorted(check.window_start for check in checks) == [
        midnight.timestamp() + number * HOUR for number in range(LIVE)
    ]
    assert {check.rows for check in checks} == {200}
    scheduled = [datetime.fromtimestamp(line.at, UTC) for line in reversed(history) if line.event == "build_wanted"]
    assert [(at.date(), at.hour) for at in scheduled] == [
        ((midnight + timedelta(days=day)).date(), 3)
        for day in range(2)  # the first look at or after 2:30 UTC
    ]
    assert [line.event for line in history].count("build_started") == 2


def local_hours_of_the_day(leap: datetime) -> float:
    """How long the day of a leap is by local midnights."""
    date = datetime.fromtimestamp(leap.timestamp()).date()  # noqa: DTZ006 - local time is what leaps
    first, last = (time.mktime((date + timedelta(days=day)).timetuple()) for day in (0, 1))
    return (last - first) / HOUR

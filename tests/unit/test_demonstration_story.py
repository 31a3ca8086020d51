"""The year of the demonstration in words."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from driftd.demonstration.report import Curve, Keeper
from driftd.demonstration.story import tell_year
from driftd.events import Event
from driftd.store.state.records import StoredTransition

DAY = 86_400.0
START = datetime(2013, 3, 1, tzinfo=UTC).timestamp()
AT = START + np.arange(61) * DAY  # March and April


def curve(name: str, march: float, april: float, builds: int = 1) -> Curve:
    """A way of keeping the model, with a flat error in each month."""
    return Curve(name, AT, np.where(AT < START + 31 * DAY, march, april), builds)


def line(event: Event, day: int, reason: str = "") -> StoredTransition:
    """A decision on a day since March began."""
    return StoredTransition(
        day, START + day * DAY, "airtime", event, "steady", "steady", reason, {}, "driftd", "c0ffee"
    )


CURVES = [curve(Keeper.DRIFTD, 9.0, 7.0, 3), curve(Keeper.STATIC, 8.0, 14.0), curve(Keeper.WEEKLY, 9.0, 9.0, 9)]
HISTORY = [
    line(Event.BUILD_STARTED, 3),
    line(Event.CHALLENGER_REJECTED, 4),
    line(Event.ALARM, 32, "the error rose"),
    line(Event.BUILD_STARTED, 33),
    line(Event.PROMOTED, 34),
]


def told(mistakes: list[str]) -> str:
    """All of it as one text."""
    return "\n".join(part for head, lines in tell_year(CURVES, HISTORY, mistakes) for part in (head, *lines))


def test_the_year_is_told_month_by_month() -> None:
    """Each month has its error beside that of the model left alone, and what was done in it."""
    text = told([])
    assert "March       9.00 (8.00): 1 new version not taken; worse than left alone" in text
    assert "April       7.00 (14.00): 1 alarm and 1 new version put into service" in text
    assert text.startswith("From March to April the model that driftd kept was off by 8.02 minutes a flight, ")
    assert "27% less than the 10.95 of the first model left alone. Rebuilt weekly it would have been 9.00." in text
    assert "The first alarm came on 2 April: the error rose." in text


def test_the_year_says_where_it_was_wrong() -> None:
    """The costliest four of many mistakes are told, with how many there were; none is said as such."""
    text = told([f"mistake {number}" for number in range(6)])
    assert "driftd was wrong 6 times. The costliest:" in text
    assert text.count("mistake ") == 4
    assert "driftd was wrong once.\nmistake 0" in told(["mistake 0"])
    assert "no decision and no month was wrong" in told([])

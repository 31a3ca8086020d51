"""Up to which time what is stored may be deleted, on a clock that may be wrong by years. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

DAY = 86_400.0
DISAGREES = 90 * DAY  # seconds between the clock and the newest time that is stored: then the clock is not believed
_GAP = 30 * DAY  # without a row: the few rows that lie beyond one were stamped by a clock that was wrong
_FEW, _FEW_ROWS = 0.01, 10  # share of all rows, and rows


class Times(Protocol):
    """The times of the rows of a table, which has some. All are epoch seconds."""

    def newest(self) -> float:
        """The greatest time."""
        ...

    def last_until(self, at: float) -> float | None:
        """The greatest time that is at most `at`; None where there is none."""
        ...

    def first_after(self, at: float) -> float:
        """The smallest time after `at`, which there is."""
        ...

    def count_from(self, at: float, most: int) -> int:
        """How many rows have a time of at least `at`, counted up to `most`."""
        ...

    def count_before(self, at: float, most: int) -> int:
        """How many rows have a time before `at`, counted up to `most`."""
        ...

    def count(self) -> int:
        """How many rows there are, about; no fewer."""
        ...


@dataclass(frozen=True, slots=True)
class Cutoff:
    """Rows older than `at` may go; None where none may, and `reason` says why."""

    at: float | None
    reason: str = ""


def newest_plausible(times: Times) -> float:
    """The newest time that no single wrong clock explains: not that of few rows that lie months after all others."""
    at = plausible = times.newest()
    most = max(_FEW_ROWS, int(_FEW * times.count())) + 1
    while (before := times.last_until(at - _GAP)) is not None:
        first = times.first_after(before)
        if first - before >= _GAP:
            if times.count_from(first, most) >= most:
                break
            plausible = before
        at = before
    return plausible


def choose_cutoff(times: Times, now: float, keep: float, share: float) -> Cutoff:
    """Rows may go that are `keep` seconds older than the newest plausible one, as long as the clock agrees.

    Nothing goes on a clock that lies months beside what is stored, nor where more than `share` of all rows would go at
    once: a person says so then.
    """
    newest = newest_plausible(times)
    if now > newest and not times.count_before(now - keep, 1):
        return Cutoff(newest - keep)  # nothing is as old as that, not even by this clock
    if abs(now - newest) > DISAGREES:
        side = "after" if now > newest else "before"
        days = abs(now - newest) / DAY
        return Cutoff(
            None,
            f"the clock says {_date(now)}, {days:,.0f} days {side} the newest plausible row ({_date(newest)}): is it "
            "right, or has the feed ended?",
        )
    at = min(now, newest) - keep
    total = times.count()
    if share < 1 and (old := times.count_before(at, total)) > share * total:
        return Cutoff(
            None,
            f"{old:,} of {total:,} rows are older than {_date(at)}: more than the {share:.0%} that may go at once "
            "(retention.share)",
        )
    return Cutoff(at)


class SortedTimes:
    """The times of rows that are in memory: see `Times`."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = sorted(times)

    def newest(self) -> float:
        """See `Times.newest`."""
        return self._times[-1]

    def last_until(self, at: float) -> float | None:
        """See `Times.last_until`."""
        place = bisect_right(self._times, at)
        return self._times[place - 1] if place else None

    def first_after(self, at: float) -> float:
        """See `Times.first_after`."""
        return self._times[bisect_right(self._times, at)]

    def count_from(self, at: float, most: int) -> int:
        """See `Times.count_from`."""
        return min(most, len(self._times) - bisect_left(self._times, at))

    def count_before(self, at: float, most: int) -> int:
        """See `Times.count_before`."""
        return min(most, bisect_left(self._times, at))

    def count(self) -> int:
        """See `Times.count`."""
        return len(self._times)


def _date(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return "no date of the calendar"

"""The last windows of all streams, their known seasons (STATISTICS 3), and when a change began (STATISTICS 9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers

HOUR, DAY = 3_600.0, 86_400.0
DAYS_A_WEEK = 7
FEWEST_DAYS = 28  # daily windows before the day of the week is learned
_FIRST_MONDAY = 4  # days after the epoch, a Thursday
_SATURDAY = 5


class Season(StrEnum):
    """What of a window's start the level of a stream may depend on."""

    NONE = "none"
    WEEKDAY = "day of the week"
    HOUR_AND_WEEKEND = "hour of the day and weekend"
    HOUR_OF_WEEK = "hour of the week"


def season_for(window_seconds: float | None, windows: int) -> Season:
    """The richest season that `windows` learned windows of this length can bear; row windows have none."""
    return max(
        (season for season, needed in ladder(window_seconds) if windows >= needed),
        key=list(Season).index,
        default=Season.NONE,
    )


def ladder(window_seconds: float | None) -> list[tuple[Season, int]]:
    """The seasons that windows of this length can have, each with the number of windows that it needs."""
    if window_seconds is None or window_seconds > DAY:
        return []
    if window_seconds == DAY:
        return [(Season.WEEKDAY, FEWEST_DAYS)]
    week = round(DAYS_A_WEEK * DAY / window_seconds)
    return [(Season.HOUR_AND_WEEKEND, max(FEWEST_DAYS, week)), (Season.HOUR_OF_WEEK, max(2 * FEWEST_DAYS, 2 * week))]


def not_learned(window_seconds: float | None, windows: int) -> str | None:
    """What to tell of a season that is not learned yet; None when there is nothing to wait for."""
    first = next(iter(ladder(window_seconds)), None)
    if first is None or windows >= first[1]:
        return None
    return f"seasonality not learned yet ({windows} of {first[1]} windows)"


@dataclass(frozen=True, slots=True)
class Calendar:
    """What the days and hours of a window are where the model is used, and which days are unlike the others.

    Two days at the end of a month and the `holidays` (ordinals of dates in the zone) have an effect of their own, which
    is learned like a season; the first of them only teach. Raises ZoneInfoNotFoundError when there is no such zone.
    """

    zone: str = "UTC"
    holidays: frozenset[int] = frozenset()
    month_ends: bool = True

    def __post_init__(self) -> None:
        ZoneInfo(self.zone)

    @property
    def key(self) -> tuple[str, bool, bool]:
        """Equal for calendars whose regressors mean the same."""
        return self.zone, self.month_ends, bool(self.holidays)

    def local(self, starts: Numbers, window_seconds: float) -> Numbers:
        """The middles of windows in local time, as seconds since the epoch of that clock."""
        middles = starts + window_seconds / 2
        if self.zone == "UTC":
            return middles
        return np.array([middle + _offset(self.zone, float(middle)) for middle in middles])

    def special(self, local: Numbers) -> Numbers:
        """Indicators of special days: shape (windows, number of kinds)."""
        days = np.floor(local / DAY).astype(np.int64)
        kinds = []
        if self.month_ends:
            dates = days.astype("datetime64[D]")
            kinds.append((dates + _MONTH_END).astype("datetime64[M]") != dates.astype("datetime64[M]"))
        if self.holidays:
            kinds.append(np.isin(days + _EPOCH, list(self.holidays)))
        return np.array(kinds, dtype=np.float64).reshape(len(kinds), len(local)).T


UTC_CALENDAR = Calendar()
_MONTH_END = 2  # days
_EPOCH = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=8192)
def _offset(zone: str, moment: float) -> float:
    span = datetime.fromtimestamp(moment, ZoneInfo(zone)).utcoffset()
    return span.total_seconds() if span is not None else 0.0


def regressors(
    season: Season, starts: Numbers, window_seconds: float | None, calendar: Calendar = UTC_CALENDAR
) -> Numbers:
    """The regressors of windows that begin at `starts` (epoch seconds): shape (windows, number of regressors).

    Every row has exactly one 1 in its first columns, so that adding a constant to their coefficients moves the level.
    The last columns are the special days of the calendar, of windows of at most a day.
    """
    if window_seconds is None or window_seconds > DAY:
        return np.ones((len(starts), 1))
    local = calendar.local(starts, window_seconds)
    return np.column_stack([_seasonal(season, local, window_seconds), calendar.special(local)])


def _seasonal(season: Season, local: Numbers, window_seconds: float) -> Numbers:
    days = np.floor(local / DAY)
    weekday = (days - _FIRST_MONDAY) % DAYS_A_WEEK
    if season is Season.NONE:
        return np.ones((len(local), 1))
    if season is Season.WEEKDAY:
        return _indicators(weekday, DAYS_A_WEEK)
    slot_seconds = max(window_seconds, HOUR)
    slots = int(np.ceil(DAY / slot_seconds))
    slot = np.floor((local - days * DAY) / slot_seconds)
    if season is Season.HOUR_OF_WEEK:
        return _indicators(weekday * slots + slot, DAYS_A_WEEK * slots)
    return np.column_stack([_indicators(slot, slots), (weekday >= _SATURDAY).astype(np.float64)])


def level_columns(season: Season, columns: int, specials: int = 0) -> Numbers:
    """1 for the regressors that together make the level, 0 for the others; the last `specials` are of special days."""
    level = np.ones(columns)
    if season is Season.HOUR_AND_WEEKEND:
        level[columns - specials - 1] = 0.0
    level[columns - specials :] = 0.0
    return level


def _indicators(cell: Numbers, cells: int) -> Numbers:
    return np.asarray(cell[:, None] == np.arange(cells)[None, :], dtype=np.float64)


MOST_WINDOWS = 336  # two weeks of hours: what the richest season needs
FEWEST_WINDOWS = 56
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class History:
    """Up to `MOST_WINDOWS` windows, fewer when there are many streams: the newest last. Immutable."""

    starts: Numbers  # (H,)
    values: NDArray[np.float32]  # (H, S)
    sampling_sd: NDArray[np.float32]  # (H, S)
    learned: NDArray[np.bool_]  # (H,) whether the window was learned; it is not while it waits in quarantine

    @classmethod
    def of(cls, starts: Numbers, values: Numbers, sampling_sd: Numbers) -> History:
        """The newest of the reference windows, all learned."""
        kept = slice(max(0, len(starts) - room(values.shape[1])), None)
        return cls(
            np.asarray(starts, dtype=np.float64)[kept],
            np.asarray(values, dtype=np.float32)[kept],
            np.asarray(sampling_sd, dtype=np.float32)[kept],
            np.ones(len(starts), dtype=bool)[kept],
        )

    def with_window(self, start: float, values: Numbers, sampling_sd: Numbers) -> History:
        """One window more, not learned yet; the oldest falls out when there is no room."""
        kept = slice(max(0, len(self.starts) + 1 - room(len(values))), None)
        return History(
            np.append(self.starts[kept], start),
            np.concatenate([self.values[kept], values.astype(np.float32)[None]]),
            np.concatenate([self.sampling_sd[kept], sampling_sd.astype(np.float32)[None]]),
            np.append(self.learned[kept], False),
        )

    def all_learned(self) -> History:
        """Nothing waits any more."""
        return replace(self, learned=np.ones(len(self.starts), dtype=bool))

    def shift_by(self, shift: Numbers, since: int) -> History:
        """As if the level had always been the one since position `since`."""
        values = self.values.copy()
        values[:since] += shift.astype(np.float32)
        return replace(self.all_learned(), values=values)

    def without(self, since: int, until: int) -> History:
        """As if nothing had been seen from position `since` up to `until`."""
        values, sds = self.values.copy(), self.sampling_sd.copy()
        values[since:until] = sds[since:until] = np.nan
        return replace(self, values=values, sampling_sd=sds)

    def regressors(self, season: Season, window_seconds: float | None, calendar: Calendar = UTC_CALENDAR) -> Numbers:
        """Z of every window, (H, p)."""
        return regressors(season, self.starts, window_seconds, calendar)

    def scatter(self, streams: NDArray[np.bool_]) -> History:
        """The same windows of more streams: these are those of `streams`, (S,); the others were not seen."""
        values = np.full((len(self.starts), len(streams)), np.nan, dtype=np.float32)
        sds = values.copy()
        values[:, streams], sds[:, streams] = self.values, self.sampling_sd
        return replace(self, values=values, sampling_sd=sds)

    def only(self, streams: NDArray[np.bool_]) -> History:
        """The same windows of some of the streams, (S,)."""
        return replace(self, values=self.values[:, streams], sampling_sd=self.sampling_sd[:, streams])

    def filled_from(self, other: History) -> History:
        """These windows with what `other` saw in windows of the same start, where nothing was seen here."""
        values, sds = self.values.copy(), self.sampling_sd.copy()
        _, own, theirs = np.intersect1d(self.starts, other.starts, return_indices=True)
        missing = np.isnan(values[own])
        values[own] = np.where(missing, other.values[theirs], values[own])
        sds[own] = np.where(missing, other.sampling_sd[theirs], sds[own])
        return replace(self, values=values, sampling_sd=sds)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to be kept."""
        names = ("starts", "values", "sampling_sd", "learned")
        return {name: getattr(self, name) for name in names}


LEVEL_WINDOWS = 7


def level_windows(window_seconds: float | None) -> int:
    """How many of the last windows a level is taken from: seven, and those of a day at least, so of all its hours."""
    if window_seconds is None or window_seconds >= DAY:
        return LEVEL_WINDOWS
    return max(LEVEL_WINDOWS, int(np.ceil(DAY / window_seconds)))


def room(streams: int) -> int:
    """How many windows of so many streams are kept."""
    return int(np.clip(MOST_BYTES // (8 * max(1, streams)), FEWEST_WINDOWS, MOST_WINDOWS))


CHANGE_WINDOWS = 200  # the newest ones, in which a change is looked for


def change_point(residuals: Numbers, *, latest: int = 0) -> int:
    """The position of the first window after the most likely change of level.

    Parameters
    ----------
    residuals
        Windows by streams, in time order: values minus their seasonal prediction, NaN where there is none. Only the
        last 200 windows count. The streams are those that alarm.
    latest
        How many of the last windows are surely after the change (those that were already suspected); the change is
        not looked for among them, save for the first.

    Returns
    -------
    int
        A position in `residuals`; 0 when there are fewer than two windows.

    Notes
    -----
    With both means unknown the generalised log likelihood ratio of a split into k windows before and n after is
    k n / (k + n) (mean after - mean before)^2 / (2 sigma^2), summed over streams (Siegmund and Venkatraman 1995).
    sigma^2 of a stream is taken from the differences of neighbouring windows (von Neumann 1941), which a single
    change of level hardly touches.

    Examples
    --------
    >>> change_point(np.array([[0.1], [-0.1], [0.0], [0.1], [1.1], [0.9], [1.0]]))
    4
    """
    offset = max(0, len(residuals) - CHANGE_WINDOWS)
    recent = residuals[offset:]
    windows = len(recent)
    if windows < 2 or recent.shape[1] == 0:  # noqa: PLR2004 - a split needs two
        return max(0, len(residuals) - 1)
    known = np.isfinite(recent)
    values = np.where(known, recent, 0.0)
    before_count = np.cumsum(known, axis=0)[:-1]
    before_sum = np.cumsum(values, axis=0)[:-1]
    after_count = known.sum(axis=0) - before_count
    after_sum = values.sum(axis=0) - before_sum
    usable = (before_count > 0) & (after_count > 0)
    gap = after_sum / np.maximum(after_count, 1) - before_sum / np.maximum(before_count, 1)
    weight = before_count * after_count / np.maximum(before_count + after_count, 1)
    ratio = np.where(usable, weight * gap**2, 0.0) / _noise(recent)
    total = ratio.sum(axis=1)
    last = max(1, windows - max(1, latest) + 1)
    return offset + int(np.argmax(total[:last])) + 1 if total[:last].size else offset


def _noise(values: Numbers) -> Numbers:
    steps = np.diff(values, axis=0)
    known = np.isfinite(steps)
    squares = np.where(known, steps, 0.0) ** 2
    return np.asarray(np.maximum(squares.sum(axis=0) / np.maximum(known.sum(axis=0), 1) / 2, 1e-12))

"""Event times of files: one function reads them, when rows are found as when they are read, with one set of bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.sources.catalogue import Stretch
from driftd.store.events.arrow_columns import read_numbers
from driftd.store.events.feature_parsing import FUTURE_SECONDS, time_obstacle
from driftd_detectors.columns import Numbers

_BASIC_DATE = 8  # characters of 20240131, which is a date and not a count of seconds
_WHOLE_COLUMN = (pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.float64())


def read_times(column: pa.ChunkedArray | pa.Array, null_at: float | None = None) -> Numbers:
    """A column of times as epoch seconds; NaN where there is none or where it cannot be read as one.

    Where `null_at` is given, it is the time of rows that have none.
    A column of texts is cast as a whole where every text has one form, else text by text: the values are the same.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        times = np.full(len(column), np.nan)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        times = _times_of_text(column)
    else:
        times = read_numbers(column)
    if null_at is None or not column.null_count:
        return times
    return np.where(column.is_null().to_numpy(), null_at, times)


def usable_rows(table: pa.Table, at: str, found_at: float, null_at: float | None = None) -> pa.Table:
    """The rows of a table whose times were usable when they were found."""
    if at not in table.column_names:
        return table.slice(0, 0)
    return table.filter(pa.array(are_possible(read_times(table.column(at), null_at), found_at)))


def _times_of_text(column: pa.ChunkedArray) -> Numbers:
    for kind in _WHOLE_COLUMN:
        try:
            cast = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        if kind == pa.float64() and pc.any(pc.equal(pc.utf8_length(column), _BASIC_DATE)).as_py():
            break
        return read_numbers(cast)
    return read_numbers(column)


def are_possible(times: Numbers, found_at: float) -> NDArray[np.bool_]:
    """For each time, whether an event that was found at `found_at` can have happened then. NaN cannot."""
    return (times >= 0.0) & (times <= found_at + FUTURE_SECONDS)


@dataclass(frozen=True, slots=True)
class TimeFault:
    """The first row whose time cannot be used: its place among the rows, and why."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class FoundTimes:
    """The times of the rows that one look found.

    `usable` holds for rows with a possible time; the others are counted as `unreadable` or `impossible`.
    `first_future` is the earliest time beyond the bound, None when there is none.
    """

    times: Numbers
    usable: NDArray[np.bool_]
    unreadable: int
    impossible: int
    first_future: float | None
    faults: tuple[TimeFault, ...]

    @classmethod
    def of(cls, times: Numbers, found_at: float) -> FoundTimes:
        """Sort times by what can be done with them."""
        usable = are_possible(times, found_at)
        if usable.all():
            return cls(times, usable, 0, 0, None, ())
        unreadable = np.isnan(times)
        impossible = ~usable & ~unreadable
        future = times[impossible & (times > 0)]
        faults = [TimeFault(int(np.argmax(unreadable)), "no readable time")] if unreadable.any() else []
        if impossible.any():
            place = int(np.argmax(impossible))
            faults.append(TimeFault(place, time_obstacle(float(times[place]), found_at) or "impossible"))
        return cls(
            times,
            usable,
            int(unreadable.sum()),
            int(impossible.sum()),
            float(future.min()) if len(future) else None,
            tuple(faults),
        )

    @property
    def kept(self) -> Numbers:
        """The times of the rows that can be used."""
        return self.times if self.usable.all() else self.times[self.usable]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows that one look found: their stretch, and their times, of which some cannot be used."""

    stretch: Stretch
    times: FoundTimes

"""Where the rows of log files end: in a window by their time, or under a reason; and how many labels join one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.dialects import begin_of_date
from driftd.sources.protocol import COUNT_SECONDS, JoinCounts
from driftd.store.events.reader import EventReader
from driftd_detectors.batches.arrow_columns import read_times, without_views
from driftd_detectors.columns import Numbers
from driftd_detectors.times import EARLIEST, FUTURE_SECONDS, time_obstacle
from driftd_detectors.values import zone_remedy

NO_TIME = "no readable time"
DAY_FIRST_REMEDY = ": set dialect: {day_first: true} or {day_first: false}"
_SHOWN_CHARACTERS = 40


def usable_rows(table: pa.Table, at: str, found_at: float, null_at: float | None = None) -> pa.Table:
    """The rows of a table whose times were usable when they were found."""
    if at not in table.column_names:
        return table.slice(0, 0)
    return without_views(table).filter(pa.array(are_possible(read_times(table.column(at), null_at), found_at)))


def are_possible(times: Numbers, found_at: float) -> NDArray[np.bool_]:
    """For each time, whether an event that was found at `found_at` can have happened then. NaN cannot."""
    return (times >= EARLIEST) & (times <= found_at + FUTURE_SECONDS)


@dataclass(frozen=True, slots=True)
class TimeFault:
    """The first row whose time cannot be used: its place among the rows, and why."""

    place: int
    reason: str


def _unreadable(place: int, read_from: pa.ChunkedArray | None) -> TimeFault:
    text = None if read_from is None else read_from[place].as_py()
    if not isinstance(text, str):
        return TimeFault(place, NO_TIME)
    remedy = zone_remedy(text) or (DAY_FIRST_REMEDY if begin_of_date(text) is not None else "")
    return TimeFault(place, f"{NO_TIME} in {text[:_SHOWN_CHARACTERS]!r}{remedy}")


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
    def of(cls, times: Numbers, found_at: float, read_from: pa.ChunkedArray | None = None) -> FoundTimes:
        """Sort times by what can be done with them. The column that they were read from gives the example."""
        usable = are_possible(times, found_at)
        if usable.all():
            return cls(times, usable, 0, 0, None, ())
        unreadable = np.isnan(times)
        impossible = ~usable & ~unreadable
        future = times[impossible & (times > found_at)]
        faults = [_unreadable(int(np.argmax(unreadable)), read_from)] if unreadable.any() else []
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


REASONS = {
    "malformed": "are no rows",
    "no_time": "have no readable time",
    "impossible_time": "have an impossible time",
    "no_label": "have no label",
    "refused": "were refused",
}
FAULT_SHARE = 0.05  # of what was read lately; beyond it the rows that are left tell little of the whole
_ODD_LINES = 2
_LATELY_NANOSECONDS = 86_400 * 10**9


def counts_of(files: Sequence[LogFile]) -> dict[str, float]:
    """How many rows were set aside, by reason; and how many were late, which are read all the same."""
    counts = {reason: float(sum(getattr(file, reason) for file in files)) for reason in REASONS if reason != "refused"}
    return {**counts, "late": float(sum(file.late for file in files))}


def share_faults(files: Sequence[LogFile]) -> list[str]:
    """The reasons for which too large a share of the rows was set aside, each with an example.

    Counted over the files that were written within a day of the newest: a fault that was mended ends.
    """
    newest = max((file.changed_at for file in files), default=0)
    counted = [file for file in files if file.begun_at is not None]  # an earlier release did not count good rows
    lately = [file for file in counted if file.changed_at >= newest - _LATELY_NANOSECONDS]
    total = sum(file.rows + file.malformed for file in lately)
    faults = []
    for reason, said in REASONS.items():
        count = sum(getattr(file, reason) for file in lately)
        if count > FAULT_SHARE * total and reason != "no_label":
            example = next((file.examples[reason] for file in reversed(lately) if reason in file.examples), "")
            faults.append(f"{count:,} of {total:,} rows {said}" + (f" ({example})" if example else ""))
    return [*faults, *_encoding_faults(lately)]


def _encoding_faults(files: Sequence[LogFile]) -> list[str]:
    """Lines that are not of the encoding: one may be damaged; with more, different texts become the same one."""
    odd = [file for file in files if file.undecodable]
    count = sum(file.undecodable for file in odd)
    if count < _ODD_LINES:
        return []
    example = odd[-1].examples.get("undecodable", odd[-1].path)
    return [
        f"{count:,} lines are not of the encoding and are read with signs replaced ({example}): "
        "set dialect: {encoding: ...}, such as cp1252, or mend what writes them"
    ]


ROWS_AT_ONCE = 200_000
_SECONDS_A_ROW = 1e-3  # more for each row that a pass reads: a million rows take a second, every quarter of an hour


class LabelJoins:
    """The passes of one source. `read_ids` gives the identities of stretches, `reader` those of the labels."""

    def __init__(self, reader: EventReader, read_ids: Callable[[Sequence[Stretch]], Iterator[pa.Array]]) -> None:
        self._reader = reader
        self._read_ids = read_ids
        self._open = pa.array([], pa.string())
        self._taken_until = float("-inf")
        self._left: list[Stretch] | None = None  # of the pass under way, the oldest first
        self._next_pass_at = float("-inf")
        self._rows = 0
        self._prediction = ""
        self.counts = JoinCounts()

    def step(self, stretches: Sequence[Stretch], now: float) -> JoinCounts:
        """Go on with the pass under way, or begin one that is due; returns what the last whole one found."""
        if self._left is None:
            if now < self._next_pass_at or not self._reader.exists:
                return self.counts
            self._begin(stretches)
        budget = ROWS_AT_ONCE
        while self._left and len(self._open) and budget > 0:
            stretch = self._left.pop()
            budget -= stretch.rows
            self._rows += stretch.rows
            self._close(stretch)
        if not self._left or not len(self._open):
            self._end(now)
        return self.counts

    def _begin(self, stretches: Sequence[Stretch]) -> None:
        labelled, self._taken_until = self._reader.labelled_ids(self._taken_until)
        self._open = pc.unique(pa.concat_arrays([self._open, pa.array(labelled, pa.string())]))
        self._left = list(stretches)
        self._rows = 0

    def _close(self, stretch: Stretch) -> None:
        for ids in self._read_ids([stretch]):
            self._open = self._open.filter(pc.invert(pc.is_in(self._open, value_set=ids)))
            self._prediction = next((name for name in ids[:1].to_pylist() if name is not None), self._prediction)

    def _end(self, now: float) -> None:
        self._left = None
        example = self._open[0].as_py() if len(self._open) else ""
        self.counts = JoinCounts(self._reader.count_labelled_ids(), len(self._open), example, self._prediction)
        self._next_pass_at = now + COUNT_SECONDS + self._rows * _SECONDS_A_ROW

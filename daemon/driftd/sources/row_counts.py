"""Where the rows and the labels of log files ended, in counts.

Every row that is read is in a window, or counted under one reason. Labels without a prediction are counted in passes
over the identities of the predictions, a portion at each look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.protocol import COUNT_SECONDS, JoinCounts
from driftd.store.events.reader import EventReader

REASONS = {
    "malformed": "are no rows",
    "no_time": "have no readable time",
    "impossible_time": "have an impossible time",
    "no_label": "have no label",
    "refused": "were refused",
}
FAULT_SHARE = 0.05  # of what was read lately; beyond it the rows that are left tell little of the whole
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
    return faults


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

"""The embedded event store as a source: the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from driftd.paths import Places
from driftd.records import Window
from driftd.sources.protocol import CHUNK_ROWS, COUNT_SECONDS, Extent, JoinCounts, at_most
from driftd.store.events.reader import EventReader, Rows, Seqs
from driftd.store.ownership import holder
from driftd_detectors.cohort import Cohort, cohort_of, features_among, fold_cohorts, hash_numbers
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.schema import Feature, Schema
from driftd_detectors.window_data import Bins, ServedBy, WindowData, summarise_chunks

if TYPE_CHECKING:
    import pyarrow as pa

_EVER = float("inf")
CLOCK_SET_BACK = 86_400.0  # seconds that closed windows lie ahead: the clock that closed them was wrong
_BACKFILL = "driftd backfill loads rows of the past: no window is checked before it has ended"


class StoreSource:
    """Events that the SDK and `driftd serve` wrote. What is committed is complete; nothing has to be waited for.

    But while `driftd backfill` loads rows of the past, no window becomes complete: a part of one would be checked.
    """

    def __init__(
        self, model: str, schema: Schema, places: Places, closed_until: Callable[[float], float] | None = None
    ) -> None:
        """`closed_until` tells up to which event time windows are closed at a time; rows older than that are late."""
        self._closed_until = closed_until or (lambda _now: -_EVER)
        self._schema = schema
        self._backfill = places.backfill_lock(model)
        self._reader = EventReader(places.events_db(model), schema, places.segments(model))
        self._seen: tuple[int, float] | None = None  # rows, and the event time up to which windows were closed
        self._late = 0
        self._joined_at = -_EVER
        self._joins = JoinCounts()

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`."""
        backfill = holder(self._backfill)
        with self._reader.snapshot():
            rows, first_at, newest_at = self._reader.count(), self._reader.first_at(), self._reader.newest_at()
            newest_label_at, counts = self._reader.newest_label_at(), self._reader.counters()
            if self._seen is not None and rows > self._seen[0]:
                self._late += self._reader.arrived_late(*self._seen)
        closed = self._closed_until(now)
        if self._seen is not None and self._seen[1] - closed < CLOCK_SET_BACK:
            closed = max(closed, self._seen[1])
        self._seen = (rows, closed)
        joins = self._count_joins(now)
        counts |= {"labels": float(joins.labels), "unjoined": float(joins.unjoined)}
        faults = (joins.fault,) if joins.fault is not None and rows else ()
        newest_at, newest_label_at = at_most(newest_at, now), at_most(newest_label_at, now)
        return Extent(
            first_at,
            now if backfill is None else -_EVER,  # also windows long past are complete only after a load
            rows,
            self._late,
            faults,
            newest_at,
            newest_label_at,
            counts,
            remarks=() if backfill is None else (_BACKFILL,),
        )

    def _count_joins(self, now: float) -> JoinCounts:
        """How many labels have their prediction; counted anew now and then, because the whole index is read."""
        if now - self._joined_at >= COUNT_SECONDS or now < self._joined_at:
            unjoined, example = self._reader.unjoined_ids()
            self._joins = JoinCounts(self._reader.count_labelled_ids(), unjoined, example or "")
            self._joined_at = now
        return self._joins

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`."""
        seqs = self._seqs(window)
        refused = self._refused_shares(window, len(seqs))
        for piece in _pieces(seqs):
            rows, columns = self._read(piece, _EVER)
            yield _with_refused(columns, refused), rows.outcomes

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`."""
        return self._reader.rows(self._seqs(window), known_by).outcomes

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """See `Source.profile`."""
        return summarise_chunks(self.chunks(window), bins, served)

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """See `Source.cohort`."""
        wanted = features_among(self._schema, features)
        parts = (self._part(piece, known_by, wanted, served) for piece in _pieces(self._seqs(window)))
        return fold_cohorts(parts, replace(self._schema, features=wanted))

    def _part(self, seqs: Seqs, known_by: float, wanted: tuple[Feature, ...], served: ServedBy) -> Cohort:
        rows, columns = self._read(seqs, known_by, wanted)
        return cohort_of(columns, rows.outcomes, hash_numbers(seqs), served)

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """See `Source.labelled`."""
        for seqs in _pieces(self._reader.labelled_between(since, until, known_by)):
            yield self._table(seqs, known_by)

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`."""
        return self._reader.count_labelled(since, known_by)

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """See `Source.newest_labelled`."""
        found = self._reader.newest_labelled(rows, since, known_by)
        return since if found is None else found

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """See `Source.sample`."""
        seqs = self._seqs(window)
        if len(seqs) > rows:
            seqs = np.sort(np.random.default_rng(seed).choice(seqs, rows, replace=False))
        return self._table(seqs, _EVER)

    def use_schema(self, schema: Schema) -> None:
        """See `Source.use_schema`."""
        self._schema = schema
        self._reader.use_schema(schema)

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()

    def _refused_shares(self, window: Window, rows: int) -> dict[str, float]:
        """The share of events that were refused because of one feature, so that a change of its type is seen."""
        if window.by == "rows" or not rows:
            return {}
        counts = self._reader.refusals(window.start, window.end)
        named = {f"features.{name}": name for name in self._schema.names}
        return {named[key]: count / (count + rows) for key, count in counts.items() if key in named}

    def _seqs(self, window: Window) -> Seqs:
        if window.by == "time":
            return self._reader.seqs_between(window.start, window.end)
        return np.arange(int(window.start) + 1, int(window.end) + 1, dtype=np.int64)

    def _table(self, seqs: Seqs, known_by: float) -> pa.Table:
        from driftd_detectors.batches.arrow_columns import table_of  # noqa: PLC0415 - Arrow is not for the daemon at rest

        rows, columns = self._read(seqs, known_by)
        return table_of(rows.ids, columns, rows.outcomes, self._schema)

    def _read(self, seqs: Seqs, known_by: float, features: Sequence[Feature] | None = None) -> tuple[Rows, Columns]:
        try:
            return self._read_once(seqs, known_by, features)
        except FileNotFoundError:  # retention took a segment between our look at the database and at the file
            return self._read_once(seqs, known_by, features)

    def _read_once(self, seqs: Seqs, known_by: float, features: Sequence[Feature] | None) -> tuple[Rows, Columns]:
        with self._reader.snapshot():
            rows = self._reader.rows(seqs, known_by)
            return rows, self._reader.features(rows, features)


def _with_refused(columns: Columns, shares: dict[str, float]) -> Columns:
    """Values that kept their events out, counted as unreadable in proportion to the rows that are there."""
    if not shares:
        return columns
    counts = {name: columns.unreadable.get(name, 0) for name in {*shares, *columns.unreadable}}
    unreadable = {name: count + round(columns.rows * shares.get(name, 0.0)) for name, count in counts.items()}
    return replace(columns, unreadable=unreadable)


def _pieces(seqs: Seqs) -> Iterator[Seqs]:
    for start in range(0, len(seqs), CHUNK_ROWS):
        yield seqs[start : start + CHUNK_ROWS]

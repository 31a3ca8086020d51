"""Reading one step ahead in a thread: Arrow decodes without the interpreter's lock while NumPy counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa

from driftd.paths import Places
from driftd.records import Window
from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.file_rows import ColumnMapping, FileRows, gather
from driftd.sources.log_files import FileFormat, LogFiles, RequestedColumns
from driftd.sources.protocol import Extent
from driftd.store.events.reader import EventReader
from driftd.store.events.records import FeedbackEvent
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd_detectors.columns import Columns, Numbers, Outcomes
from driftd_detectors.schema import Schema

Item = TypeVar("Item")
_END = object()


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the next one is made while the caller works on this one. At most two exist at once."""
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        waiting = thread.submit(next, source, _END)
        while (item := waiting.result()) is not _END:
            waiting = thread.submit(next, source, _END)
            yield item  # type: ignore[misc]  # everything but _END is an Item


_EVER = float("inf")
_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """Where the logs are, and which of their columns mean what.

    `columns` maps `id`, `at`, `prediction`, `score`, `version`, `label`, `label_at` to the names in the files; those
    that the files do not have are simply not known. Without times, rows happened when they were found.
    """

    path: str
    format: FileFormat = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    feedback: str | None = None
    feedback_columns: Mapping[str, str] = field(default_factory=dict)


class FilesSource:
    """One model's log files. See `FilesSettings`."""

    def __init__(
        self,
        model: str,
        schema: Schema,
        places: Places,
        settings: FilesSettings,
        closed_until: Callable[[float], float] | None = None,
    ) -> None:
        """`closed_until` tells up to which event time windows are closed at a time; rows older than that are late."""
        self._schema = schema
        self._settings = settings
        self._names = ColumnMapping.of(settings.columns, schema)
        folder = places.events_db(model).parent
        self._logs = LogFiles(settings.path, settings.format, self._names.at, folder / "files.json")
        self._feedback: LogFiles | None = None
        if settings.feedback is not None:
            self._feedback_names = ColumnMapping.of({"label_at": "at", **settings.feedback_columns}, schema)
            self._feedback = LogFiles(
                settings.feedback, settings.format, self._feedback_names.label_at, folder / "feedback.json"
            )
        self._store_at = (places.events_db(model), places.segments(model))
        self._reader = EventReader(places.events_db(model), schema, places.segments(model))
        self._closed_until = closed_until or (lambda _now: -_EVER)
        self._closed = self._complete_until = -_EVER
        self._late = 0
        self._counted: dict[int, _Counted] = {}

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`. A file that cannot be read is a fault of the extent, not an exception.

        While the whole folder is away, no window becomes complete: its rows may come back with the folder.
        """

        def on_rows(_file: LogFile, _stretch: Stretch, times: Numbers) -> None:
            self._late += int(np.count_nonzero(times < self._closed))

        self._logs.refresh(now, on_rows)
        faults = self._logs.faults
        if self._feedback is not None:
            self._take_feedback(self._feedback, now)
            faults += self._feedback.faults
        if not self._logs.is_away:
            self._complete_until = now
            self._closed = max(self._closed, self._closed_until(now))
        known = self._logs.known
        first_at = min((stretch.first_at for stretch in known.stretches if stretch.first_at is not None), default=None)
        newest_at = max((stretch.last_at for stretch in known.stretches if stretch.last_at is not None), default=None)
        counts = {**self._reader.counters(), "malformed": float(self._count_malformed())}
        return Extent(
            first_at,
            self._complete_until,
            known.rows,
            self._late,
            faults,
            newest_at,
            self._reader.newest_label_at(),
            counts,
        )

    def _count_malformed(self) -> int:
        logs = [log for log in (self._logs, self._feedback) if log is not None]
        return sum(file.malformed for log in logs for file in log.known.files)

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`. The next chunk is read while the caller works on this one."""
        rows = self._rows(window, self._names.with_features(self._schema), _EVER)
        yield from read_ahead((row.columns, row.outcomes) for row in rows)
        pa.default_memory_pool().release_unused()

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`."""
        return FileRows.stack(list(self._rows(window, self._names.outcomes(), known_by)), self._schema).outcomes

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """See `Source.labelled`."""
        for rows in self._rows(_span(since, until), self._names.with_features(self._schema), known_by):
            kept = rows.where(rows.outcomes.labelled)
            if len(kept):
                yield kept.table(self._schema)

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`. What cannot change any more is counted once."""
        stamp = self._reader.stamp()
        total = 0
        for stretch in self._logs.known.in_time(since, _EVER):
            counted = self._counted.get(stretch.first_row)
            whole = stretch.first_at is not None and stretch.first_at >= since
            if not (whole and counted and counted.holds(stretch, stamp)):
                times = self._label_times(stretch, since)
                counted = _Counted(stretch.rows, stamp, times, len(times) == stretch.rows)
                if whole:
                    self._counted[stretch.first_row] = counted
            total += int(np.count_nonzero(counted.label_at <= known_by))
        return total

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """See `Source.sample`. One pass: every row draws a number, the least are kept."""
        draw = np.random.default_rng(seed)
        kept: list[FileRows] = []
        keys = np.empty(0)
        for part in self._rows(window, self._names.with_features(self._schema), _EVER):
            mine = draw.random(len(part))
            keys = np.concatenate([keys, mine])
            bar = np.partition(keys, rows)[rows] if len(keys) > rows else 2.0
            kept.append(part)
            sizes = np.cumsum([0, *map(len, kept)])
            kept = [part.where(keys[a:b] < bar) for part, (a, b) in zip(kept, pairwise(sizes), strict=True)]
            keys = keys[keys < bar]
        return FileRows.stack(kept, self._schema).table(self._schema)

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()

    def _rows(self, window: Window, wanted: RequestedColumns, known_by: float) -> Iterator[FileRows]:
        known = self._logs.known
        if window.by == "time":
            stretches = known.in_time(window.start, window.end)
        else:
            stretches = known.in_order(int(window.start), int(window.end))
        tables = self._logs.read(stretches, wanted)
        cut = (self._cut(stretch, table, window) for stretch, table in tables)
        parts = (rows.with_labels(self._reader, self._schema, known_by) for rows in cut)
        yield from gather(parts, self._schema)

    def _cut(self, stretch: Stretch, table: pa.Table, window: Window) -> FileRows:
        """The rows of one stretch that the window has, with the labels that stand beside them."""
        text = self._logs.reads_numbers_as_text(stretch)
        arrived_at = stretch.first_at if stretch.first_at is not None else float("nan")
        rows = FileRows.read(
            table, self._names, self._schema, numeric_text=text, arrived_at=arrived_at, first_row=stretch.first_row
        )
        if window.by == "rows":
            places = np.arange(stretch.first_row, stretch.first_row + len(rows))
            rows = rows.where((places >= window.start) & (places < window.end))
        elif not _inside(stretch, window) or np.isnan(rows.outcomes.at).any():
            rows = rows.where((rows.outcomes.at >= window.start) & (rows.outcomes.at < window.end))
        return rows

    def _label_times(self, stretch: Stretch, since: float) -> Numbers:
        """When the first label of each of the stretch's rows from `since` on became known."""
        found = [np.empty(0)]
        for part, table in self._logs.read([stretch], self._names.outcomes()):
            rows = self._cut(part, table, _span(since, _EVER))
            first = self._reader.first_label_at(rows.ids.to_pylist()) if self._reader.exists else np.nan
            found.append(np.fmin(rows.outcomes.label_at, first))
        times = np.concatenate(found)
        return times[~np.isnan(times)]

    def _take_feedback(self, logs: LogFiles, now: float) -> None:
        """Keep new feedback in the event store, before the catalogue says that it was read."""
        store: list[EventStore] = []

        def on_rows(_file: LogFile, stretch: Stretch, _times: Numbers) -> None:
            if not store:
                path, segments = self._store_at
                store.append(EventStore.open(path, self._schema, segments=segments))
            for part, table in logs.read([stretch], self._feedback_names.feedback()):
                events = self._feedback_events(part, table)
                for start in range(0, len(events), _ROWS_AT_ONCE):
                    batch, _ = read_events(events[start : start + _ROWS_AT_ONCE], self._schema, now)
                    store[0].append(batch)

        try:
            logs.refresh(now, on_rows)
        finally:
            for event_store in store:
                event_store.close()

    def _feedback_events(self, stretch: Stretch, table: pa.Table) -> Sequence[FeedbackEvent]:
        rows = FileRows.read(
            table,
            self._feedback_names,
            self._schema,
            numeric_text=True,
            arrived_at=stretch.first_at or 0.0,
            first_row=stretch.first_row,
        )
        labels = rows.label_values(self._schema)
        known_at = np.where(np.isnan(rows.outcomes.label_at), stretch.first_at or 0.0, rows.outcomes.label_at)
        return [
            FeedbackEvent(str(row), label, float(at))
            for row, label, at in zip(rows.ids.to_pylist(), labels, known_at, strict=True)
            if label is not None and row is not None
        ]


@dataclass(frozen=True, slots=True)
class _Counted:
    rows: int
    stamp: int
    label_at: Numbers
    final: bool  # every row has its label

    def holds(self, stretch: Stretch, stamp: int) -> bool:
        return self.rows == stretch.rows and (self.final or self.stamp == stamp)


def _span(since: float, until: float) -> Window:
    return Window(0, since, until, by="time")


def _inside(stretch: Stretch, window: Window) -> bool:
    assert stretch.first_at is not None
    assert stretch.last_at is not None
    return stretch.first_at >= window.start and stretch.last_at < window.end

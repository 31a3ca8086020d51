"""Reading one step ahead in a thread: Arrow decodes without the interpreter's lock while NumPy counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import pyarrow as pa

from driftd.formatting import format_time
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.feedback_files import FeedbackFiles
from driftd.sources.file_rows import FileRows, gather, ids_of
from driftd.sources.files_settings import ColumnMapping, FilesSettings
from driftd.sources.log_files import LogFiles
from driftd.sources.parsed import RequestedColumns
from driftd.sources.protocol import Extent, at_most
from driftd.sources.row_counts import LabelJoins, are_possible, counts_of, usable_rows
from driftd.store.events.reader import EventReader
from driftd.store.events.writer import EventStore
from driftd_detectors.batches.row_hash import hash_texts
from driftd_detectors.cohort import Cohort, cohort_of, features_among, fold_cohorts
from driftd_detectors.columns import Columns, Numbers, Outcomes
from driftd_detectors.schema import Schema
from driftd_detectors.times import time_obstacle
from driftd_detectors.window_data import Bins, ServedBy, WindowData, summarise_chunks

__all__ = ["FilesSettings", "FilesSource", "Preview"]

Item = TypeVar("Item")
_END = object()


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the next one is made while the caller works on this one. At most two exist at once.

    The thread is no obstacle to the end of the process: what it reads may hang.
    """
    source = iter(items)
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[Item | _Raised | object] = SimpleQueue()

    def make() -> None:
        while wanted.get():
            try:
                made.put(next(source, _END))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                made.put(_Raised(error))

    wanted.put(True)  # noqa: FBT003 - the one value that a queue takes
    threading.Thread(target=make, name="read-ahead", daemon=True).start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            wanted.put(True)  # noqa: FBT003 - see above
            yield item  # type: ignore[misc]  # everything else is an Item
    finally:
        wanted.put(False)  # noqa: FBT003 - see above


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


_EVER = float("inf")
_REMARK_SECONDS = 86_400.0  # so long after it was read is told what is odd about a label
_SKEW = 1.0  # seconds by which two clocks, or a rounded time, may differ


@dataclass(frozen=True, slots=True)
class Preview:
    """What the first look at a source found: rows of a few files, and sentences."""

    rows: int
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


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
        self._model, self._places = model, places
        self._schema = schema
        self._settings = settings
        self._names = ColumnMapping.of(settings.columns, schema)
        folder = places.events_db(model).parent
        self._logs = LogFiles(settings.path, settings.to_reading(self._names, schema), folder / "files.json")
        self._feedback: FeedbackFiles | None = None
        if settings.feedback is not None:
            reading = settings.reading_of_feedback(settings.feedback_names(schema))
            logs = LogFiles(settings.feedback, reading, folder / "feedback.json")
            self._feedback = self._read_labels_of(logs)
        self._reader = EventReader(places.events_db(model), schema, places.segments(model))
        self._closed_until = closed_until or (lambda _now: -_EVER)
        self._closed = self._complete_until = -_EVER
        self._late = 0
        self._counted: dict[int, _Counted] = {}
        self._joins = LabelJoins(self._reader, self._identities)
        self._early: dict[tuple[int, int], tuple[int, str, float]] = {}  # labels before their own rows, by file and row
        self._looked_at = -_EVER

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`. A file that cannot be read is a fault of the extent, not an exception.

        While the whole folder is away, no window becomes complete: its rows may come back with the folder.
        """

        def on_rows(file: LogFile, _stretch: Stretch, times: Numbers) -> None:
            late = int(np.count_nonzero(times < self._closed))
            file.late += late
            self._late += late

        self._looked_at = now
        self._logs.refresh(now, on_rows)
        if self._feedback is not None:
            self._feedback.refresh(now)
        if not self._logs.is_away:
            self._complete_until = now
            self._closed = max(self._closed, self._closed_until(now))
        known = self._logs.known
        joins = self._joins.step(known.stretches, now)
        logs = [self._logs] if self._feedback is None else [self._logs, self._feedback.logs]
        faults = tuple(fault for log in logs for fault in log.faults)
        if joins.fault is not None and known.rows and not self._logs.is_away:
            faults = (*faults, joins.fault)
        counts = counts_of([file for log in logs for file in log.known.files])
        joined = {"labels": float(joins.labels), "unjoined": float(joins.unjoined)}
        return Extent(
            first_at=min(
                (stretch.first_at for stretch in known.stretches if stretch.first_at is not None), default=None
            ),
            complete_until=self._complete_until,
            rows=known.rows,
            late=self._late,
            faults=faults,
            newest_at=_newest_at(known.stretches, now),
            newest_label_at=at_most(self._reader.newest_label_at(), now),
            counts={**self._reader.counters(), **counts, **joined},
            remarks=(*(remark for log in logs for remark in log.remarks), *self._describe_early()),
        )

    def preview(self, now: float) -> Preview:
        """Read a row of the newest files as a check would, and say what is wrong. Nothing is kept."""
        logs = [self._logs] if self._feedback is None else [self._logs, self._feedback.logs]
        self._looked_at = now
        for log in logs:
            log.preview(now)
        rows = self._logs.known.rows
        for stretch in self._logs.known.stretches:
            for _ in self.chunks(Window(0, stretch.first_row, stretch.first_row + 1, by="rows")):
                pass
        return Preview(
            rows,
            tuple(fault for log in logs for fault in log.faults),
            (*(remark for log in logs for remark in log.remarks), *self._describe_early()),
        )

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`. The next chunk is read while the caller works on this one."""
        rows = self._rows(window, self._names.with_features(self._schema), _EVER)
        yield from read_ahead((row.columns, row.outcomes) for row in rows)
        pa.default_memory_pool().release_unused()

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`."""
        return FileRows.stack(list(self._rows(window, self._names.outcomes(), known_by)), self._schema).outcomes

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """See `Source.profile`."""
        return summarise_chunks(self.chunks(window), bins, served)

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """See `Source.cohort`."""
        some = replace(self._schema, features=features_among(self._schema, features))
        parts = (
            cohort_of(rows.columns, rows.outcomes, hash_texts(rows.ids), served)
            for rows in self._rows(window, self._names.with_features(some), known_by)
        )
        return fold_cohorts(parts, some)

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

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """See `Source.newest_labelled`. The newest stretches are read, and no feature."""
        stretches = sorted(self._logs.known.in_time(since, _EVER), key=_last_at, reverse=True)
        newest = np.empty(0)
        for stretch in stretches:
            if len(newest) == rows and _last_at(stretch) < newest[0]:
                break
            found = [newest]
            for part, table in self._logs.read([stretch], self._names.outcomes()):
                outcomes = (
                    self._cut(part, table, _span(since, _EVER))
                    .with_labels(self._reader, self._schema, known_by)
                    .outcomes
                )
                found.append(outcomes.at[outcomes.labelled])
            newest = np.sort(np.concatenate(found))[-rows:]
        return since if len(newest) < rows else float(newest[0])

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

    def use_schema(self, schema: Schema) -> None:
        """See `Source.use_schema`."""
        self._schema = schema
        self._names = ColumnMapping.of(self._settings.columns, schema)
        self._logs.use_reading(self._settings.to_reading(self._names, schema))
        if self._feedback is not None:
            logs = self._feedback.logs
            logs.use_reading(self._settings.reading_of_feedback(self._settings.feedback_names(schema)))
            self._feedback = self._read_labels_of(logs)
        self._reader.use_schema(schema)
        self._counted.clear()

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()

    def _read_labels_of(self, logs: LogFiles) -> FeedbackFiles:
        path, segments = self._places.events_db(self._model), self._places.segments(self._model)
        store = partial(EventStore.open, path, self._schema, segments=segments)
        return FeedbackFiles(logs, self._settings.feedback_names(self._schema), self._schema, store)

    def _rows(self, window: Window, wanted: RequestedColumns, known_by: float) -> Iterator[FileRows]:
        known = self._logs.known
        if window.by == "time":
            stretches = known.in_time(window.start, window.end)
        else:
            stretches = known.in_order(int(window.start), int(window.end))
        tables = self._logs.read(stretches, wanted)
        cut = (self._cut_or_say(stretch, table, window) for stretch, table in tables)
        parts = (rows.with_labels(self._reader, self._schema, known_by) for rows in cut if rows is not None)
        yield from gather(parts, self._schema)

    def _cut_or_say(self, stretch: Stretch, table: pa.Table, window: Window) -> FileRows | None:
        """The rows of one stretch that the window has; None, and a fault, when they cannot be read as rows."""
        try:
            return self._cut(stretch, table, window)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            self._logs.say_unreadable(stretch, error)
            return None

    def _identities(self, stretches: Sequence[Stretch]) -> Iterator[pa.Array]:
        for stretch, table in self._logs.read(stretches, self._names.identities()):
            yield ids_of(table, self._names.id, stretch.first_row)

    def _cut(self, stretch: Stretch, table: pa.Table, window: Window) -> FileRows:
        """The rows of one stretch that the window has, with the labels that stand beside them."""
        if stretch.set_aside and stretch.found_at is not None:
            table = usable_rows(table, self._names.at, stretch.found_at)
        text = self._logs.reads_numbers_as_text(stretch)
        arrived_at = stretch.first_at if stretch.first_at is not None else float("nan")
        rows = FileRows.read(
            table, self._names, self._schema, numeric_text=text, arrived_at=arrived_at, first_row=stretch.first_row
        )
        self._say_label_times(stretch, rows.outcomes)
        if window.by == "rows":
            places = np.arange(stretch.first_row, stretch.first_row + len(rows))
            rows = rows.where((places >= window.start) & (places < window.end))
        elif not _inside(stretch, window) or np.isnan(rows.outcomes.at).any():
            rows = rows.where((rows.outcomes.at >= window.start) & (rows.outcomes.at < window.end))
        return rows

    def _say_label_times(self, stretch: Stretch, outcomes: Outcomes) -> None:
        """A label that becomes known at an impossible time is never known: that is a fault of the source."""
        if stretch.found_at is None:
            return
        impossible = outcomes.labelled & ~are_possible(outcomes.label_at, stretch.found_at)
        if impossible.any():
            at = float(outcomes.label_at[np.argmax(impossible)])
            said = f"column {self._names.label_at!r}: {time_obstacle(at, stretch.found_at)}"
            self._logs.say_unreadable(stretch, ValueError(said))
        early = outcomes.labelled & (outcomes.label_at < outcomes.at - _SKEW)
        place = (stretch.file, stretch.first_row)
        self._early.pop(place, None)
        if early.any():
            first = int(np.argmax(early))
            times = f"{format_time(outcomes.label_at[first])} for a row of {format_time(outcomes.at[first])}"
            self._early[place] = int(np.count_nonzero(early)), times, self._looked_at

    def _describe_early(self) -> list[str]:
        """That labels became known before their own rows: their delay counts as none, and columns may be exchanged."""
        lately = [found for found in list(self._early.values()) if self._looked_at - found[2] < _REMARK_SECONDS]
        if not lately:
            return []
        count, example = sum(found[0] for found in lately), lately[-1][1]
        return [
            f"{count:,} labels became known before the time of their own row ({example}): "
            f"are the columns {self._names.at!r} and {self._names.label_at!r} exchanged, or of two zones?"
        ]

    def _label_times(self, stretch: Stretch, since: float) -> Numbers:
        """When the first label of each of the stretch's rows from `since` on became known."""
        found = [np.empty(0)]
        for part, table in self._logs.read([stretch], self._names.outcomes()):
            rows = self._cut(part, table, _span(since, _EVER))
            first = self._reader.first_label_at(rows.ids.to_pylist()) if self._reader.exists else np.nan
            found.append(np.fmin(rows.outcomes.label_at, first))
        times = np.concatenate(found)
        return times[~np.isnan(times)]


@dataclass(frozen=True, slots=True)
class _Counted:
    rows: int
    stamp: int
    label_at: Numbers
    final: bool  # every row has its label

    def holds(self, stretch: Stretch, stamp: int) -> bool:
        return self.rows == stretch.rows and (self.final or self.stamp == stamp)


def _newest_at(stretches: Sequence[Stretch], now: float) -> float | None:
    """The latest event time; a row ahead of the clock counts as one of the moment at which it was found."""
    times = (
        min(stretch.last_at, stretch.found_at if stretch.found_at is not None else now, now)
        for stretch in stretches
        if stretch.last_at is not None
    )
    return max(times, default=None)


def _last_at(stretch: Stretch) -> float:
    return -_EVER if stretch.last_at is None else stretch.last_at


def _span(since: float, until: float) -> Window:
    return Window(0, since, until, by="time")


def _inside(stretch: Stretch, window: Window) -> bool:
    assert stretch.first_at is not None
    assert stretch.last_at is not None
    return stretch.first_at >= window.start and stretch.last_at < window.end

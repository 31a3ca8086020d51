"""Tables of files as an engine: one version of them is read at a time, and counted here. Pure but for their library."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from driftd.formatting import format_duration
from driftd.sources.engines.newest_labels import LabelNames, NewestLabels, first_time, is_label, read_labels
from driftd.sources.engines.protocol import EngineError, EngineExtent, Function, Query, lacks_memory
from driftd.sources.engines.table_files import DataFile, PinnedTable, bounds_of, has_order, need_column, rows_in_time
from driftd_detectors.batches.arrow_columns import read_ids, read_times
from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.profile_batches import profile_batches
from driftd_detectors.batches.rows import RowNames

if TYPE_CHECKING:
    from driftd.config.source_schema import LabelledTables

GROUP_ROWS = 1_000_000  # of files whose labels are found at once
_TRIES = 3  # of a count, while others remove the files of a version
_FUNCTIONS = {"profile_batches": profile_batches, "cohort_batches": cohort_batches}


class FilesGoneError(EngineError):
    """Files of a version were removed; a newer version may be read."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Both tables, each at one version; `labels` is None where labels stand beside predictions."""

    predictions: PinnedTable
    labels: PinnedTable | None

    @property
    def versions(self) -> dict[str, str]:
        """What was read, for the lineage of what is made of it."""
        named = {"predictions": self.predictions.version}
        return named if self.labels is None else {**named, "labels": self.labels.version}


class TableEngine:
    """See `Engine`. What is read is the version that the last look found; a look takes the newest.

    A process that never looks, as a job, reads one version throughout. `keeps` is for such a one: where its files are
    gone it says so, instead of going on with a newer version.
    """

    def __init__(
        self,
        settings: LabelledTables,
        open_table: Callable[[str], PinnedTable],
        *,
        keeps: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._open_table = open_table
        self._keeps = keeps
        self._names = RowNames(**{str(key): name for key, name in settings.columns.items()})
        self._label_names = LabelNames(**{str(key): name for key, name in settings.label_columns.items()})
        self._tables: Tables | None = None
        self._bounds: dict[tuple[str, str], tuple[float, float] | None] = {}  # of files that have no statistics
        self._first_at: float | None = None
        self._is_cancelled = False
        self._monotonic = monotonic
        self._ends_at = math.inf

    def versions(self) -> dict[str, str]:
        """See `Versioned`."""
        with self._open() as tables:
            return tables.versions

    def keep(self, name: str) -> None:
        """See `Versioned.keep`."""
        with self._open() as tables:
            for table in (tables.predictions, tables.labels):
                if table is not None:
                    table.keep(name)

    def look(self, since: float | None) -> EngineExtent:
        """See `Engine.look`: by the statistics of the files; files without them are read once, the times alone."""
        self._tables = None
        with self._open() as tables:
            table, at = tables.predictions, self._names.at
            spans = self._spans(table, at)
            newest = max((last for _, last in spans), default=None)
            if since is None or self._first_at is None:
                self._first_at = self._exact_first(table)
            newest = newest if since is None else since if newest is None else max(newest, since)
            return EngineExtent(self._first_at, newest, self._newest_label(tables))

    def map(self, query: Query, function: Function, job: str) -> Iterator[bytes]:
        """See `Engine.map`: the rows are one partition, which is counted here."""
        for left in reversed(range(1 if self._keeps else _TRIES)):
            try:
                yield _FUNCTIONS[function](self.read(query), job)
            except FilesGoneError:
                if not left:
                    raise
                self._tables = None
            else:
                return

    def read(self, query: Query) -> Iterator[pa.RecordBatch]:
        """See `Engine.read`: file by file, in the order of their times."""
        with self._open() as tables:
            for files in self._groups(tables, query):
                if query.known_by is None:
                    yield from self._rows(tables.predictions, files, query.columns, query)
                else:
                    yield from self._labelled_rows(tables, files, query)

    def count(self, query: Query) -> int:
        """See `Engine.count`."""
        return sum(len(batch) for batch in self.read(replace(query, columns=())))

    def newest_labelled(self, rows: int, query: Query) -> float | None:
        """See `Engine.newest_labelled`: from the newest files on, until no older one can matter."""
        newest = np.empty(0)
        with self._open() as tables:
            groups = list(self._groups(tables, query))
            for place in reversed(range(len(groups))):
                for batch in self._labelled_rows(tables, groups[place], replace(query, columns=())):
                    times = np.concatenate([newest, read_times(batch.column(self._names.at))])
                    newest = np.sort(times)[-rows:]
                rest = [file for group in groups[:place] for file in group]
                if len(newest) == rows and not any(file.may_hold(float(newest[0]), math.inf) for file in rest):
                    break
        return float(newest[0]) if len(newest) == rows else None

    def cancel(self) -> None:
        """See `Engine.cancel`: the next batch is the last."""
        self._is_cancelled = True

    def close(self) -> None:
        """See `Engine.close`."""
        self._tables = None

    @contextmanager
    def _open(self) -> Iterator[Tables]:
        self._is_cancelled = False
        self._ends_at = self._monotonic() + self._settings.timeout
        try:
            if self._tables is None:
                settings = self._settings
                labels = None if settings.labels is None else self._open_table(settings.labels)
                predictions = self._open_table(settings.predictions)
                need_column(predictions, self._names.at, "columns.at")
                self._tables = Tables(predictions, labels)
            yield self._tables
        except (EngineError, GeneratorExit):
            raise
        except FileNotFoundError as error:
            raise FilesGoneError(self._fault_of_files(error)) from None
        except Exception as error:  # noqa: BLE001 - whatever a table's library raises
            if lacks_memory(error):
                raise MemoryError(str(error)) from None
            raise EngineError(f"{self._settings.predictions}: {first_line(error)}") from None

    def _fault_of_files(self, error: Exception) -> str:
        version = "" if self._tables is None else f" of version {self._tables.predictions.version}"
        return (
            f"{self._settings.predictions}: files{version} are gone ({first_line(error)}): a vacuum or an expiry "
            "removed them; keep old versions longer than a check or a build takes"
        )

    def _groups(self, tables: Tables, query: Query) -> Iterator[list[DataFile]]:
        group: list[DataFile] = []
        rows = 0
        for file in tables.predictions.files(self._names.at):
            if not file.may_hold(query.start, query.end):
                continue
            group.append(file)
            rows += GROUP_ROWS if file.rows is None else file.rows
            if rows >= GROUP_ROWS:
                yield group
                group, rows = [], 0
        if group:
            yield group

    def _rows(
        self, table: PinnedTable, files: Sequence[DataFile], columns: Sequence[str], query: Query
    ) -> Iterator[pa.RecordBatch]:
        for file in files:
            for batch in rows_in_time(table, file, columns, self._names.at, query.start, query.end):
                self._check()
                yield batch

    def _check(self) -> None:
        """Raise EngineError where reading shall end, or has taken longer than it may."""
        if self._is_cancelled:
            raise EngineError("reading was cancelled")
        if self._monotonic() > self._ends_at:
            longer = f"reading took longer than source.timeout ({format_duration(self._settings.timeout)})"
            raise EngineError(f"{self._settings.predictions}: {longer}: compact the tables, or raise it")

    def _labelled_rows(self, tables: Tables, files: Sequence[DataFile], query: Query) -> Iterator[pa.RecordBatch]:
        known_by = math.inf if query.known_by is None else query.known_by
        if tables.labels is None:
            found = self._beside(tables.predictions, files, query, known_by)
        else:
            found = self._join_labels(tables.predictions, tables.labels, files, query, known_by)
        for batch in found:
            has_label = np.asarray(batch.column(self._names.label).is_valid().to_numpy(zero_copy_only=False))
            if not query.labelled_only or has_label.all():
                yield batch
            elif has_label.any():
                yield batch.filter(pa.array(has_label))

    def _beside(
        self, table: PinnedTable, files: Sequence[DataFile], query: Query, known_by: float
    ) -> Iterator[pa.RecordBatch]:
        """Labels in the table of predictions: known with the row, unless it says another time."""
        names = self._names
        for batch in self._rows(table, files, [*query.columns, names.label, names.label_at], query):
            rows = pa.Table.from_batches([batch])
            if names.label not in rows.column_names:
                label, at = pa.chunked_array([pa.nulls(len(rows))]), np.full(len(rows), np.nan)
            else:
                label = rows.column(names.label)
                at = first_time(rows, [name for name in (names.label_at, names.at) if name in rows.column_names])
            known = is_label(label) & (at <= known_by)
            places = pa.array(np.arange(len(rows)), mask=~known)
            yield self._with_labels(batch, query, label.combine_chunks().take(places), pa.array(at, mask=~known))

    def _join_labels(
        self, table: PinnedTable, labels: PinnedTable, files: Sequence[DataFile], query: Query, known_by: float
    ) -> Iterator[pa.RecordBatch]:
        """Labels of their own table: the identities of the rows first, their newest labels, then the rows again."""
        identity = self._names.id
        need_column(table, identity, "columns.id")
        ids = [
            read_ids(pa.chunked_array([batch.column(identity)]))
            for batch in self._rows(table, files, [identity], query)
        ]
        if not ids:
            return
        newest = NewestLabels(pa.chunked_array(ids, pa.string()).combine_chunks(), known_by)
        read_labels(newest, labels, self._label_names, known_by, self._check)
        kind, first = labels.schema.field(self._label_names.label).type, 0
        for batch in self._rows(table, files, query.columns, query):
            label, at = newest.of_rows(first, len(batch), kind)
            first += len(batch)
            yield self._with_labels(batch, query, label, at)

    def _with_labels(self, batch: pa.RecordBatch, query: Query, label: pa.Array, at: pa.Array) -> pa.RecordBatch:
        names = self._names
        own = [*query.columns, names.at]
        kept = [name for name in batch.schema.names if name in own and name not in (names.label, names.label_at)]
        arrays = [batch.column(name) for name in kept]
        return pa.RecordBatch.from_arrays([*arrays, label, at], [*kept, names.label, names.label_at])

    def _spans(self, table: PinnedTable, column: str) -> list[tuple[float, float]]:
        spans = []
        for file in table.files(column):
            span = self._bounds_of(table, file, column)
            if span is not None:
                spans.append(span)
        return spans

    def _bounds_of(self, table: PinnedTable, file: DataFile, column: str) -> tuple[float, float] | None:
        if file.first is not None and file.last is not None:
            return file.first, file.last
        key = (f"{table.name}/{file.name}", column)
        if key not in self._bounds:
            self._bounds[key] = bounds_of(table, file, column)
        return self._bounds[key]

    def _exact_first(self, table: PinnedTable) -> float | None:
        """The earliest time: statistics are cut off, so the files that may hold it are read, once, the times alone."""
        at = self._names.at
        spans = [(span[0], file) for file in table.files(at) if (span := self._bounds_of(table, file, at)) is not None]
        first: float | None = None
        for low, file in sorted(spans, key=lambda pair: pair[0]):
            if first is not None and low > first:
                break
            exact = bounds_of(table, file, at)
            if exact is not None:
                first = exact[0] if first is None else min(first, exact[0])
        return first

    def _newest_label(self, tables: Tables) -> float | None:
        table = tables.predictions if tables.labels is None else tables.labels
        if tables.labels is not None:
            column = self._label_names.times_in(table)[0]
        elif self._names.label_at in table.schema.names:
            column = self._names.label_at
        else:
            return None
        if not has_order(table.schema.field(column).type) and tables.labels is None:
            return None
        return max((last for _, last in self._spans(table, column)), default=None)


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    text = str(error).strip()
    return (text.splitlines()[0].strip() if text else type(error).__name__).rstrip(".")

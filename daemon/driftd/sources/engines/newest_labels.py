"""The newest label of each prediction, by (label_at, received_at, label), from a table of labels in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.sources.engines.table_files import DataFile, PinnedTable, need_column
from driftd_detectors.batches.arrow_columns import is_text, read_ids, read_times
from driftd_detectors.columns import Numbers

CHUNK_ROWS = 500_000  # labels that are compared at once with the identities of a query


@dataclass(frozen=True, slots=True)
class LabelNames:
    """What the columns of the labels are called."""

    id: str = "prediction_id"
    label: str = "label"
    label_at: str = "label_at"
    received_at: str = "received_at"

    def times_in(self, table: PinnedTable) -> tuple[str, ...]:
        """The columns that say when a label was known, the first that has a time counts. Raises EngineError."""
        times = tuple(name for name in (self.label_at, self.received_at) if name in table.schema.names)
        if not times:
            need_column(table, self.label_at, "label_columns.label_at")
        return times


class NewestLabels:
    """Collects the labels of some identities; memory is that of the identities and of one label for each."""

    def __init__(self, ids: pa.Array, known_by: float) -> None:
        coded = ids.dictionary_encode()
        self.codes: NDArray[np.int64] = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        self._ids = coded.dictionary
        self._known_by = known_by
        self._kept: pa.Table | None = None

    def add(self, table: pa.Table, names: LabelNames, times: tuple[str, ...]) -> None:
        """Take some rows of the labels."""
        codes = pc.index_in(read_ids(table.column(names.id)), value_set=self._ids)
        at = first_time(table, times)
        label = table.column(names.label)
        known = is_label(label) & np.isfinite(at) & (at <= self._known_by) & codes.is_valid().to_numpy(False)  # noqa: FBT003
        if not known.any():
            return
        places = pa.array(np.flatnonzero(known))
        received = np.full(len(at), -math.inf)
        if names.received_at in table.column_names:
            received = np.nan_to_num(read_times(table.column(names.received_at)), nan=-math.inf)
        fresh = pa.table(
            {
                "code": codes.take(places).cast(pa.int64()),
                "at": pa.array(at[known]),
                "received": pa.array(received[known]),
                "label": label.take(places),
            }
        )
        self._kept = _newest(fresh if self._kept is None else pa.concat_tables([self._kept, fresh]))

    def of_rows(self, first: int, count: int, kind: pa.DataType) -> tuple[pa.Array, pa.Array]:
        """The labels and their times of `count` of the identities, in their order; null where there is none."""
        if self._kept is None:
            return pa.nulls(count, kind), pa.nulls(count, pa.float64())
        codes = self.codes[first : first + count]
        known = self._kept["code"].to_numpy()
        places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        taken = pa.array(places, mask=known[places] != codes)
        label = self._kept["label"].combine_chunks().take(taken)
        return label, self._kept["at"].combine_chunks().take(taken)


def read_labels(
    newest: NewestLabels, table: PinnedTable, names: LabelNames, known_by: float, check: Callable[[], None]
) -> None:
    """Find the newest labels in a table, whose files without a label known by then are not opened.

    `check` is called again and again, and raises where reading shall end.
    """
    times = names.times_in(table)
    for name, key in ((names.id, "id"), (names.label, "label")):
        need_column(table, name, f"label_columns.{key}")
    end = math.nextafter(known_by, math.inf)
    # Only where one column tells the time do its bounds bound the labels: a missing one counts by the other.
    bounded = len(times) == 1
    columns = [name for name in (names.id, names.label, *times, names.received_at) if name in table.schema.names]
    files = [file for file in table.files(times[0]) if not bounded or file.may_hold(-math.inf, end)]
    for chunk in _chunks(_batches(table, files, list(dict.fromkeys(columns)), times[0])):
        check()
        newest.add(chunk, names, times)


def _batches(
    table: PinnedTable, files: Iterable[DataFile], columns: list[str], column: str
) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from table.batches(file, columns, column, -math.inf, math.inf)


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += len(batch)
        if rows >= CHUNK_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting)


def first_time(table: pa.Table, names: Iterable[str]) -> Numbers:
    """Of each row the first of some columns that has a finite time; NaN where none has."""
    at = np.full(len(table), np.nan)
    for name in names:
        times = read_times(table.column(name))
        at = np.where(np.isfinite(at), at, np.where(np.isfinite(times), times, np.nan))
    return at


def is_label(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which values are labels: no null, and no NaN."""
    valid = pc.is_valid(column)
    if pa.types.is_floating(column.type):
        valid = pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(column), fill_value=True)))
    return np.asarray(valid.to_numpy(), dtype=bool)


def _newest(table: pa.Table) -> pa.Table:
    label = table["label"]
    if pa.types.is_dictionary(label.type):
        table = table.set_column(table.column_names.index("label"), "label", label.cast(label.type.value_type))
    elif not is_text(label.type) and pa.types.is_boolean(label.type):
        label = label.cast(pa.int8())
    keys = table.set_column(table.column_names.index("label"), "label", label)
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in ("code", "at", "received", "label")])
    ordered = table.take(order)
    code = ordered["code"].to_numpy()
    last = np.ones(len(code), dtype=bool)
    last[:-1] = code[1:] != code[:-1]
    return ordered.filter(pa.array(last)).combine_chunks()

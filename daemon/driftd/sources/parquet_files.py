"""Reading Parquet logs: row group by row group, only the columns that are wanted, text as dictionaries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftd.sources.catalogue import LogFile, Stretch, span_of
from driftd.sources.dialects import Dialect
from driftd.sources.file_system import FileSystem
from driftd.sources.listing import with_partition
from driftd.sources.nested import as_read, path_in, with_paths
from driftd.sources.parsed import RequestedColumns
from driftd.sources.protocol import CHUNK_ROWS, chunk_rows
from driftd.sources.row_counts import Found, FoundTimes
from driftd_detectors.batches.arrow_columns import read_times

DIGESTED_ROWS = 20


def row_count(path: str, files: FileSystem) -> int:
    """How many rows a file has. Raises OSError or ValueError when it is not whole."""
    return int(pq.read_metadata(files.open_for_arrow(path)).num_rows)


def own_columns(path: str, files: FileSystem) -> list[str]:
    """The columns of a file, without what is inside them."""
    return list(pq.read_schema(files.open_for_arrow(path)).names)


def columns_of(path: str, files: FileSystem, features: str, partition: Mapping[str, str | None]) -> list[str]:
    """The columns of a file, those inside structs as paths too (in `features`, by name), and those of its folders."""
    names = list(_names(pq.read_schema(files.open_for_arrow(path))))
    inside = [name.removeprefix(f"{features}.") for name in names if name.startswith(f"{features}.")]
    return [*names, *inside, *partition]


def _names(fields: Iterable[pa.Field], before: str = "") -> Iterator[str]:
    for field in fields:
        yield f"{before}{field.name}"
        if pa.types.is_struct(field.type):
            yield from _names(field.type, f"{before}{field.name}.")


def first_rows_digest(path: str, files: FileSystem, at: str, rows: int) -> bytes:
    """A digest of the times of the first rows that are known (of their first column where there are no times).

    A file that was rewritten with more rows keeps it; one that holds other rows does not.
    """
    with pq.ParquetFile(files.open_for_arrow(path)) as parquet:
        if not parquet.metadata.num_row_groups or not parquet.schema_arrow.names:
            return b""
        column = [at] if path_in(parquet.schema_arrow, at) else parquet.schema_arrow.names[:1]
        first = next(parquet.iter_batches(batch_size=rows, row_groups=[0], columns=column), None)
    return hashlib.blake2b(repr(first.to_pylist()).encode(), digest_size=12).digest() if first is not None else b""


def find_stretches(
    file: LogFile,
    files: FileSystem,
    wanted: RequestedColumns,
    found_at: float,
    partition: Mapping[str, str | None],
    *,
    timed: bool,
    null_at: float | None,
    dialect: Dialect,
) -> Iterator[Found]:
    """The rows that a file has beyond `file.done`, with their event times; at most `CHUNK_ROWS` at once.

    `wanted` names the one column of the times; rows without it happened at `found_at` unless they must be `timed`.
    `null_at` is the time of rows that have the column without a value, if they are to have one.
    No stretch crosses a row group; `file.done` moves with every stretch. Raises OSError or ValueError (as Arrow does)
    when the file is not whole yet.
    """
    (at,) = wanted.event_times
    with pq.ParquetFile(files.open_for_arrow(file.path)) as parquet:
        row = 0
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if row + rows > file.done:
                column = _time_column(parquet, group, at, partition, dialect)
                if column is None:
                    times = np.full(rows, np.nan if timed else found_at)
                else:
                    times, file.is_timed = read_times(column, null_at), True
                is_timed = file.is_timed or timed
                for start in range(max(row, file.done), row + rows, CHUNK_ROWS):
                    stop = min(start + CHUNK_ROWS, row + rows)
                    read_from = None if column is None else column.slice(start - row, stop - start)
                    found = FoundTimes.of(times[start - row : stop - row], found_at if is_timed else np.inf, read_from)
                    file.done = stop
                    file.rows += stop - start
                    yield Found(_stretch(start, stop, found, found_at, is_timed=is_timed), found)
            row += rows


def _stretch(start: int, stop: int, found: FoundTimes, found_at: float, *, is_timed: bool) -> Stretch:
    first_at, last_at = span_of(found.kept)
    kept = len(found.kept)
    aside = stop - start - kept
    return Stretch(0, start, stop, kept, 0, first_at, last_at, aside, found_at, found.first_future, is_timed)


def _time_column(
    parquet: pq.ParquetFile, group: int, at: str, partition: Mapping[str, str | None], dialect: Dialect
) -> pa.ChunkedArray | None:
    """The column of times of a row group; None when the file has none."""
    if path_in(parquet.schema_arrow, at):
        read = with_paths(parquet.read_row_group(group, columns=[at]), {at: at})
        return dialect.with_iso_dates(as_read(read)[0], [at]).column(at)
    if at in partition:
        rows = parquet.metadata.row_group(group).num_rows
        return with_partition(_empty_rows(rows), partition, [at], [at]).column(at)
    return None


def read_stretches(
    path: str,
    files: FileSystem,
    stretches: Sequence[Stretch],
    wanted: RequestedColumns,
    features: str,
    partition: Mapping[str, str | None],
    on_fault: Callable[[str], None],
) -> Iterator[tuple[Stretch, pa.Table]]:
    """The wanted columns (those that the file has) of stretches in file order; the file is opened once.

    `on_fault` is told of each wanted column that has no values that driftd can read, in one sentence.
    """
    metadata = pq.read_metadata(files.open_for_arrow(path))
    schema = metadata.schema.to_arrow_schema()
    paths = _paths(schema, wanted.columns, features)
    coded = [name for name in wanted.texts if name in schema.names and _is_text(schema.field(name).type)]
    with pq.ParquetFile(
        files.open_for_arrow(path),
        metadata=metadata,
        read_dictionary=coded,
        pre_buffer=False,
        buffer_size=files.buffer_bytes,
    ) as parquet:
        first = 0
        waiting = list(stretches)
        for group in range(parquet.metadata.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            inside = [stretch for stretch in waiting if first <= stretch.start < last]
            for stretch, raw in _group(parquet, group, first, inside, list(paths.values())) if inside else ():
                table, faults = as_read(with_paths(raw, paths), wanted.columns)
                for fault in faults:
                    on_fault(f"{path}: {fault}")
                yield stretch, with_partition(table, partition, wanted.columns, wanted.texts)
            first = last


def _paths(schema: pa.Schema, wanted: Iterable[str], features: str) -> dict[str, str]:
    """Where the wanted columns are: under their name, at the path that it spells, or in the struct of the features."""
    found = {}
    for name in wanted:
        path = name if path_in(schema, name) else f"{features}.{name}"
        if path == name or path_in(schema, path):
            found[name] = path
    return found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _empty_rows(rows: int) -> pa.Table:
    return pa.table({"": pa.array(np.zeros(rows, dtype=np.int8))})


def _group(
    parquet: pq.ParquetFile, group: int, first: int, stretches: Sequence[Stretch], names: Sequence[str]
) -> Iterator[tuple[Stretch, pa.Table]]:
    """The stretches that begin in one row group, in pieces of `chunk_rows`, until the last is served.

    A stretch with rows that are set aside comes whole: which they are is known once it is read.
    """
    place = first
    waiting = list(stretches)
    begun: list[pa.Table] = []  # of the first that waits
    for table in _pieces(parquet, group, names):
        stop = place + len(table)
        while waiting and waiting[0].start < stop:
            stretch = waiting[0]
            start, end = max(stretch.start, place), min(stretch.stop, stop)
            part = table.slice(start - place, end - start)
            if not stretch.set_aside:
                yield stretch.part(start, end), part
            elif end == stretch.stop:
                yield stretch, pa.concat_tables([*begun, part])
                begun = []
            else:
                begun.append(part)
            if end < stretch.stop:
                break
            waiting.pop(0)
        place = stop
        if not waiting:
            return


def _pieces(parquet: pq.ParquetFile, group: int, names: Sequence[str]) -> Iterator[pa.Table]:
    rows, most = parquet.metadata.row_group(group).num_rows, chunk_rows(len(names))
    if rows <= most or not names:
        table = parquet.read_row_group(group, columns=list(names))
        yield table if names else _empty_rows(rows)
        return
    for batch in parquet.iter_batches(batch_size=most, row_groups=[group], columns=list(names)):
        yield pa.Table.from_batches([batch])

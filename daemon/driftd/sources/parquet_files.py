"""Reading Parquet logs: row group by row group, only the columns that are wanted, text as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftd.sources.catalogue import LogFile, Stretch, span_of
from driftd.sources.protocol import CHUNK_ROWS
from driftd.store.events.arrow_columns import read_numbers
from driftd_detectors.columns import Numbers

_BUFFER_BYTES = 2**16  # a column; without it Arrow holds whole row groups, half a gigabyte at 1,000,000 x 50


def row_count(file: LogFile) -> int:
    """How many rows a file has. Raises OSError or ValueError when it is not whole."""
    return int(pq.read_metadata(file.path).num_rows)


def find_stretches(file: LogFile, at: str | None, arrived_at: float) -> Iterator[tuple[Stretch, Numbers]]:
    """The rows that a file has beyond `file.done`, with their event times; at most `CHUNK_ROWS` at once.

    No stretch crosses a row group; `file.done` moves with every stretch. Raises OSError or ValueError (as Arrow does)
    when the file is not whole yet.
    """
    with pq.ParquetFile(file.path) as parquet:
        named = at is not None and at in parquet.schema_arrow.names
        row = 0
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if row + rows > file.done:
                times = _times(parquet, group, at) if named else np.full(rows, arrived_at)
                for start in range(max(row, file.done), row + rows, CHUNK_ROWS):
                    stop = min(start + CHUNK_ROWS, row + rows)
                    mine = times[start - row : stop - row]
                    file.done = stop
                    yield Stretch(0, start, stop, stop - start, 0, *span_of(mine)), mine
            row += rows


def _times(parquet: pq.ParquetFile, group: int, at: str | None) -> Numbers:
    return read_numbers(parquet.read_row_group(group, columns=[at]).column(0))


def read_stretches(
    path: Path, stretches: Sequence[Stretch], columns: Sequence[str], texts: Sequence[str]
) -> Iterator[tuple[Stretch, pa.Table]]:
    """The wanted columns (those that the file has) of stretches in file order; the file is opened once."""
    metadata = pq.read_metadata(path)
    present = set(metadata.schema.names)
    names = [name for name in columns if name in present]
    coded = [name for name in texts if name in present]
    with pq.ParquetFile(
        path, metadata=metadata, read_dictionary=coded, pre_buffer=False, buffer_size=_BUFFER_BYTES
    ) as parquet:
        first = 0
        waiting = list(stretches)
        for group in range(parquet.metadata.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            inside = [part for part in waiting if first <= part.start < last]
            if inside:
                yield from _group(parquet, group, first, inside, names)
            first = last


def _group(
    parquet: pq.ParquetFile, group: int, first: int, stretches: Sequence[Stretch], names: Sequence[str]
) -> Iterator[tuple[Stretch, pa.Table]]:
    """One row group in pieces of `CHUNK_ROWS`, until the last stretch is served; in one go when it is small."""
    place = first
    waiting = list(stretches)
    for table in _pieces(parquet, group, names):
        while waiting and waiting[0].start < place + len(table):
            stretch = waiting[0]
            if stretch.stop > place + len(table):
                break
            waiting.pop(0)
            yield stretch, table.slice(stretch.start - place, stretch.rows)
        place += len(table)
        if not waiting:
            return
    # A file that was rewritten has stretches across the pieces: rare, so read the group whole.
    if waiting:
        table = parquet.read_row_group(group, columns=list(names))
        for stretch in waiting:
            yield stretch, table.slice(stretch.start - first, stretch.rows)


def _pieces(parquet: pq.ParquetFile, group: int, names: Sequence[str]) -> Iterator[pa.Table]:
    rows = parquet.metadata.row_group(group).num_rows
    if rows <= CHUNK_ROWS or not names:
        table = parquet.read_row_group(group, columns=list(names))
        yield table if names else pa.table({"": pa.array(np.zeros(rows, dtype=np.int8))})
        return
    for batch in parquet.iter_batches(batch_size=CHUNK_ROWS, row_groups=[group], columns=list(names)):
        yield pa.Table.from_batches([batch])

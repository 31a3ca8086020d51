"""Rows of a Parquet file of ours, or of a table: the narrow columns at once, the others piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_GROUP_ROWS = 131_072
_FEWEST_OF_GROUP = 1_024
_GROUP_BYTES = 64 << 20  # of a row group, at eight bytes a value: a piece of wide rows has fewer
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows in their order. A file stays open, so that it may be removed meanwhile."""

    source: pq.ParquetFile | pa.Table

    @classmethod
    def open(cls, path: Path) -> StoredRows:
        """The rows of a file. Raises OSError, or pyarrow's ArrowInvalid for what is no Parquet."""
        return cls(pq.ParquetFile(path, pre_buffer=False))

    def __len__(self) -> int:
        return int(self.source.num_rows if isinstance(self.source, pa.Table) else self.source.metadata.num_rows)

    @property
    def fields(self) -> pa.Schema:
        """The names and types of the columns."""
        return self.source.schema if isinstance(self.source, pa.Table) else self.source.schema_arrow

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows at once, of some columns or of all."""
        if isinstance(self.source, pa.Table):
            return self.source if columns is None else self.source.select(list(columns))
        return self.source.read(columns=None if columns is None else list(columns))

    def pieces(self, places: slice | Places, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows at some places, which ascend, piece by piece."""
        wanted = np.arange(len(self), dtype=np.int64)[places] if isinstance(places, slice) else places
        if isinstance(self.source, pa.Table):
            if len(wanted):
                yield _take_rows(self.read(columns), wanted)
            return
        first = 0
        for group in range(self.source.metadata.num_row_groups):
            last = first + self.source.metadata.row_group(group).num_rows
            low, high = np.searchsorted(wanted, [first, last])
            if high > low:
                names = None if columns is None else list(columns)
                yield _take_rows(self.source.read_row_group(group, columns=names), wanted[low:high] - first)
            first = last


def _take_rows(table: pa.Table, places: Places) -> pa.Table:
    if places[-1] - places[0] + 1 == len(places):
        return table.slice(int(places[0]), len(places))
    return table.take(pa.array(places))


def write_rows(path: Path, blocks: Iterable[pa.Table], fields: pa.Schema) -> None:
    """Write rows to a Parquet file, one row group at a time in memory: the same rows make the same bytes."""
    with pq.ParquetWriter(path, fields, compression="zstd", store_schema=True) as writer:
        for group in _groups(blocks, rows_of_group(len(fields))):
            writer.write_table(group.replace_schema_metadata(fields.metadata), row_group_size=len(group))


def rows_of_group(columns: int) -> int:
    """How many rows of so many columns a row group has."""
    return max(_FEWEST_OF_GROUP, min(_GROUP_ROWS, _GROUP_BYTES // (8 * columns)))


def _groups(blocks: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        while count >= rows:
            table = pa.concat_tables(waiting)
            yield table.slice(0, rows).combine_chunks()
            count -= rows
            waiting = [table.slice(rows)] if count else []
    if count:
        yield pa.concat_tables(waiting).combine_chunks()

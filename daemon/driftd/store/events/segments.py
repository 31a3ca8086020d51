"""Sealed segments: large Parquet files of whole rows in order of arrival; how one is written, how rows are found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftd.fsutil import sync
from driftd_detectors.batches.arrow_columns import read_feature
from driftd_detectors.columns import Coded, Column
from driftd_detectors.schema import Feature, Kind

_ROW_GROUP = 20_000
_TYPES = {
    "driftd_seq": pa.int64(),
    "driftd_id": pa.string(),
    "driftd_at": pa.float64(),
    "driftd_version": pa.int64(),
    "driftd_score": pa.float64(),
}


def segment_table(
    narrow: Mapping[str, Sequence[Any]], columns: Mapping[str, Column], kinds: Sequence[Feature]
) -> pa.Table:
    """The rows of a segment: `narrow` (driftd_seq first, ordered) and the features as they are, bit by bit."""
    arrays = {name: pa.array(values, _TYPES.get(name)) for name, values in narrow.items()}
    for feature in kinds:
        column = columns[feature.name]
        if isinstance(column, Coded):
            indices = pa.array(column.codes, mask=column.codes < 0)
            arrays[feature.name] = pa.DictionaryArray.from_arrays(indices, pa.array(column.labels, pa.string()))
        else:
            arrays[feature.name] = pa.array(column)
    return pa.table(arrays)


def write_segment(table: pa.Table, path: Path) -> int:
    """Write, sync, read back, rename, sync the folder; returns the size in bytes.

    Raises OSError when the disk does not keep it; then nothing stands at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    try:
        with unfinished.open("wb") as file:
            pq.write_table(table, file, row_group_size=_ROW_GROUP, compression="zstd", compression_level=1)
            file.flush()
            os.fsync(file.fileno())
        _check(unfinished, table)
        size = unfinished.stat().st_size
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)
    return size


def read_segment(
    path: Path, wanted: NDArray[np.int64], features: Sequence[Feature]
) -> tuple[dict[str, Column], dict[str, int]]:
    """Some rows of a segment by their ascending `driftd_seq`, and the unreadable values of each feature.

    Features that the segment lacks are absent. Raises FileNotFoundError when retention took the file,
    KeyError when a wanted row is not in it.
    """
    kinds = {feature.name: feature.kind for feature in features}
    metadata = pq.read_metadata(path)
    present = set(metadata.schema.names)
    names = [name for name in kinds if name in present]
    texts = [name for name in names if kinds[name] in {Kind.CATEGORY, Kind.BOOLEAN}]
    with pq.ParquetFile(path, metadata=metadata, read_dictionary=texts) as file:
        groups = _groups(file, int(wanted[0]), int(wanted[-1]))
        table = file.read_row_groups(groups, columns=["driftd_seq", *names])
    seqs = table.column("driftd_seq").to_numpy()
    places = np.searchsorted(seqs, wanted)
    if len(seqs) == 0 or np.any(seqs[np.minimum(places, len(seqs) - 1)] != wanted):
        raise KeyError(f"{path} lacks rows between {wanted[0]} and {wanted[-1]}")
    table = table.slice(places[0], len(places)) if places[-1] - places[0] + 1 == len(places) else table.take(places)
    columns, unreadable = {}, {}
    for feature in features:
        if feature.name not in present:
            continue
        columns[feature.name], count = read_feature(table.column(feature.name), feature)
        if count:
            unreadable[feature.name] = count
    return columns, unreadable


def _check(path: Path, table: pa.Table) -> None:
    with pq.ParquetFile(path) as file:
        if not _same(file.read(), table):
            raise OSError(f"{path} does not read back as it was written")


def _groups(file: pq.ParquetFile, first: int, last: int) -> list[int]:
    """The row groups that can hold rows from `first` to `last`, by their statistics."""
    metadata = file.metadata
    chosen = []
    for number in range(metadata.num_row_groups):
        span = metadata.row_group(number).column(0).statistics
        if span is None or (span.min <= last and span.max >= first):
            chosen.append(number)
    return chosen


def _same(stored: pa.Table, table: pa.Table) -> bool:
    """Whether two tables hold the same values, bit by bit (to Arrow, NaN equals nothing)."""
    if stored.column_names != table.column_names or len(stored) != len(table):
        return False
    return all(
        _comparable(stored.column(name), column).equals(_comparable(column, column))
        for name, column in zip(table.column_names, table.columns, strict=True)
    )


def _comparable(column: pa.ChunkedArray, like: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(like.type):
        return column.cast(pa.string()).combine_chunks()
    if pa.types.is_floating(like.type):
        values = column.to_numpy()
        return pa.array(np.where(np.isnan(values), np.nan, values).view(np.int64))  # null and NaN are the same
    return column.combine_chunks()

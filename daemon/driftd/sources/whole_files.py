"""Reads whole files, or a sample of their rows, as columns, by the readers of the files source: for `init`."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.column_kinds import ColumnKinds, WholeFilesError, require_few
from driftd.sources.dialects import Dialect, open_text
from driftd.sources.file_system import absolute_path
from driftd.sources.files_settings import Reading
from driftd.sources.formats import FileFormat
from driftd.sources.json_lines import rows_in
from driftd.sources.log_files import LogFiles
from driftd.sources.parsed import RequestedColumns
from driftd.sources.text_files import TextFormat, first_columns
from driftd_detectors.batches.arrow_columns import read_column
from driftd_detectors.columns import Column, join_columns, missing_column, take_rows
from driftd_detectors.schema import Kind

_NO_COLUMN = "\0"
_SEED = 1
_QUIET_SECONDS = 3600.0  # beyond the last change: a last line without its end is whole


_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # numbers of rows that pandas writes beside the columns: no feature


@dataclass(frozen=True, slots=True)
class WholeFiles:
    """All rows of some files, column by column, as the files source reads them under these kinds.

    `integers` holds the columns that are whole numbers of 64 bits in every file: as floats, long ids would lose digits.
    `nested` names columns of lists and of types that are not read, `folders` those that stand in the names of folders
    (`key=value`) alone. `remarks` say what could not be read. `dialect` is how the text was read, with the order of its
    dates where these show it. Where `rows` are a sample of the `total`, `pieces` reads all again, some at a time.
    """

    rows: int
    kinds: Mapping[str, Kind]
    columns: Mapping[str, Column]
    integers: Mapping[str, pa.ChunkedArray]
    nested: tuple[str, ...]
    remarks: tuple[str, ...]
    folders: tuple[str, ...] = ()
    dialect: Dialect = field(default_factory=Dialect)
    total: int = 0
    pieces: Callable[[], Iterator[WholeFiles]] | None = None


def read_whole(
    pattern: str,
    now: float,
    file_format: FileFormat = "auto",
    dialect: Dialect | None = None,
    *,
    most_values: float = inf,
) -> WholeFiles:
    """Read the files of a path, a folder or a pattern.

    `now` is epoch seconds. Of rows with more than `most_values` altogether, so many are drawn at random. Raises
    WholeFilesError when any of the files cannot be read, or none has rows.
    """
    reading = Reading(_NO_COLUMN, format=file_format, dialect=dialect or Dialect())
    with tempfile.TemporaryDirectory(prefix="driftd-init-") as folder:
        logs = LogFiles(absolute_path(pattern), reading, Path(folder) / "files.json")
        logs.refresh(now + _QUIET_SECONDS, lambda *_: None)
        _require_whole(logs)
        if not logs.known.rows:
            raise WholeFilesError(f"{pattern} holds no rows")
        seen = _kinds_of(logs, reading.dialect.decimal)
        ordered = seen.order_dates(reading.dialect)
        logs.use_reading(replace(reading, dialect=ordered))
        kinds = {name: kind for name, kind in seen.kinds().items() if not _PANDAS_INDEX.fullmatch(name)}
        share = most_values / max(1, logs.known.rows * len(kinds))
        found = _read(logs, kinds, seen.nested, share)
        _require_whole(logs)
    remarks = (*seen.remarks_on_dates(ordered), *found.remarks)
    return replace(found, remarks=remarks, folders=tuple(seen.folders), dialect=ordered)


def _require_whole(logs: LogFiles) -> None:
    if logs.faults:
        more = f" (and {len(logs.faults) - 1} more)" if len(logs.faults) > 1 else ""
        raise WholeFilesError(f"{logs.faults[0]}{more}")


def _kinds_of(logs: LogFiles, decimal: str) -> ColumnKinds:
    seen = ColumnKinds(decimal)
    for number, file in enumerate(logs.known.files):
        try:
            _see(seen, logs, number, file)
        except WholeFilesError as error:
            raise WholeFilesError(f"{file.path} is not read: {error}") from error
    return seen


def _see(seen: ColumnKinds, logs: LogFiles, number: int, file: LogFile) -> None:
    stretches = [stretch for stretch in logs.known.stretches if stretch.file == number]
    layout = logs.layout_of(file)
    if layout.text is None:
        with pq.ParquetFile(logs.files.open_for_arrow(file.path)) as parquet:
            seen.see_parquet(parquet)
            own = set(parquet.schema_arrow.names)
    elif layout.text.kind == "csv":
        columns = first_columns(file, layout.text) or []
        names = tuple(columns[: len(columns) - len(layout.partition)])
        require_few(names)
        own = set(names)
        for _, table in logs.read(stretches, RequestedColumns(_NO_COLUMN, names, names)):
            seen.see_texts(table)
    else:
        own = set()
        for lines in _lines_of(file, layout.text, stretches):
            rows = list(rows_in(lines, layout.text.lines))
            own |= {name for row in rows for name in row}
            seen.see_rows(rows)
    folders = {name: value for name, value in layout.partition.items() if name not in own}
    seen.see_partition(folders, file.rows)


def _lines_of(file: LogFile, how: TextFormat, stretches: list[Stretch]) -> Iterator[bytes]:
    with open_text(file.path, how.dialect, how.files) as log:
        for stretch in stretches:
            log.seek(stretch.start)
            yield how.dialect.as_utf8(log.read(stretch.stop - stretch.start))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows: their values, whole numbers as the file has them, and how many values could not be read."""

    rows: int
    columns: dict[str, Column]
    integers: dict[str, pa.ChunkedArray]
    unreadable: dict[str, int]

    def take(self, mask: NDArray[np.bool_]) -> _Piece:
        """The rows for which `mask` holds."""
        places, chosen = np.flatnonzero(mask), pa.array(mask)
        return _Piece(
            len(places),
            {name: take_rows(column, places) for name, column in self.columns.items()},
            {name: column.filter(chosen) for name, column in self.integers.items()},
            self.unreadable,
        )


def _pieces(logs: LogFiles, kinds: Mapping[str, Kind]) -> Iterator[_Piece]:
    texts = tuple(name for name, kind in kinds.items() if kind in {Kind.CATEGORY, Kind.BOOLEAN})
    times = tuple(name for name, kind in kinds.items() if kind is Kind.TIMESTAMP)
    for stretch, table in logs.read(logs.known.stretches, RequestedColumns(_NO_COLUMN, tuple(kinds), texts, times)):
        piece = _Piece(len(table), {}, {}, {})
        for name, kind in kinds.items():
            column = table.column(name) if name in table.column_names else pa.chunked_array([pa.nulls(len(table))])
            values, faults = read_column(column, kind, numeric_text=logs.reads_numbers_as_text(stretch))
            piece.columns[name], piece.unreadable[name] = values, faults
            if kind is Kind.NUMBER and _is_whole(column.type):
                piece.integers[name] = column
        yield piece


def _read(logs: LogFiles, kinds: Mapping[str, Kind], nested: tuple[str, ...], share: float) -> WholeFiles:
    """All rows, or `share` of them, each drawn by itself."""
    unreadable: Counter[str] = Counter()
    integers = {name for name, kind in kinds.items() if kind is Kind.NUMBER}
    parts, total, draw = [], 0, np.random.default_rng(_SEED)
    for piece in _pieces(logs, kinds):
        total += piece.rows
        unreadable.update(piece.unreadable)
        integers &= piece.integers.keys()
        parts.append(piece if share >= 1 else piece.take(draw.random(piece.rows) < share))
    found = _join(parts, kinds, integers)
    again = partial(_read_again, logs, kinds, frozenset(integers)) if share < 1 else None
    remarks = tuple(_remarks(logs, kinds, unreadable))
    return replace(found, nested=nested, remarks=remarks, total=total, pieces=again)


def _read_again(logs: LogFiles, kinds: Mapping[str, Kind], integers: Collection[str]) -> Iterator[WholeFiles]:
    for piece in _pieces(logs, kinds):
        yield _join([piece], kinds, integers)


def _join(parts: Sequence[_Piece], kinds: Mapping[str, Kind], integers: Collection[str]) -> WholeFiles:
    rows = sum(part.rows for part in parts)
    columns: dict[str, Column] = {}
    for name, kind in kinds.items():
        columns[name] = join_columns([part.columns.pop(name) for part in parts]) if parts else missing_column(kind, 0)
    whole = {
        name: pa.chunked_array([c for part in parts for c in part.integers[name].cast(pa.int64()).chunks], pa.int64())
        for name in kinds
        if name in integers
    }
    return WholeFiles(rows, kinds, columns, whole, (), (), total=rows)


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)))


def _remarks(logs: LogFiles, kinds: Mapping[str, Kind], unreadable: Mapping[str, int]) -> Iterator[str]:
    malformed = sum(file.malformed for file in logs.known.files)
    if malformed:
        example = next((sample for file in logs.known.files for sample in file.examples.values()), "")
        yield f"{malformed:,} lines are no rows and are left out ({example})"
    for name, count in unreadable.items():
        if count:
            yield f"{count:,} values of {name} cannot be read as a {kinds[name]}: they count as missing"

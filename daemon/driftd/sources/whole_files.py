"""Whole files and folders read at once, by the very reader of the files source: what `driftd init` begins with.

A first pass tells the kind of each column from its values, a second reads the rows in these kinds, as the source will.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from driftd.errors import DriftdError
from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.column_kinds import ColumnKinds
from driftd.sources.dialects import Dialect, open_text
from driftd.sources.formats import FileFormat
from driftd.sources.json_lines import rows_in
from driftd.sources.log_files import LogFiles
from driftd.sources.reading import Reading
from driftd.sources.text_files import TextFormat, first_columns
from driftd.sources.wanted import RequestedColumns
from driftd.store.events.arrow_columns import read_column
from driftd.store.events.columnar import join_columns, missing
from driftd_detectors.columns import Column
from driftd_detectors.kinds import Kind

_NO_COLUMN = "\0"
_QUIET_SECONDS = 3600.0  # beyond the last change: a last line without its end is whole


class WholeFilesError(DriftdError):
    """Files that cannot be read as rows; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class WholeFiles:
    """All rows of some files, column by column, as the files source reads them under these kinds.

    `integers` holds the columns that are whole numbers of 64 bits in every file: as floats, long ids would lose digits.
    `nested` names columns of lists. `remarks` say what could not be read.
    """

    rows: int
    kinds: Mapping[str, Kind]
    columns: Mapping[str, Column]
    integers: Mapping[str, pa.ChunkedArray]
    nested: tuple[str, ...]
    remarks: tuple[str, ...]


def read_whole(
    pattern: str, now: float, file_format: FileFormat = "auto", dialect: Dialect | None = None
) -> WholeFiles:
    """Read the files of a path, a folder or a pattern.

    `now` is epoch seconds. Raises WholeFilesError when any of the files cannot be read, or none has rows.
    """
    reading = Reading(_NO_COLUMN, format=file_format, dialect=dialect or Dialect())
    with tempfile.TemporaryDirectory(prefix="driftd-init-") as folder:
        logs = LogFiles(str(Path(pattern).absolute()), reading, Path(folder) / "files.json")
        logs.refresh(now + _QUIET_SECONDS, lambda *_: None)
        _require_whole(logs)
        if not logs.known.rows:
            raise WholeFilesError(f"{pattern} holds no rows")
        seen = _kinds_of(logs)
        found = _read(logs, seen.kinds(), seen.nested)
        _require_whole(logs)
    return found


def _require_whole(logs: LogFiles) -> None:
    if logs.faults:
        more = f" (and {len(logs.faults) - 1} more)" if len(logs.faults) > 1 else ""
        raise WholeFilesError(f"{logs.faults[0]}{more}")


def _kinds_of(logs: LogFiles) -> ColumnKinds:
    seen = ColumnKinds()
    for number, file in enumerate(logs.known.files):
        stretches = [stretch for stretch in logs.known.stretches if stretch.file == number]
        layout = logs.layout_of(file)
        if layout.text is None:
            with pq.ParquetFile(file.path) as parquet:
                seen.see_parquet(parquet)
        elif layout.text.kind == "csv":
            names = tuple(name for name in first_columns(file, layout.text) or () if name not in layout.partition)
            for _, table in logs.read(stretches, RequestedColumns(_NO_COLUMN, names, names)):
                seen.see_texts(table)
        else:
            for lines in _lines_of(file, layout.text, stretches):
                seen.see_rows(rows_in(lines, layout.text.lines))
        seen.see_partition(layout.partition, file.rows)
    return seen


def _lines_of(file: LogFile, how: TextFormat, stretches: list[Stretch]) -> Iterator[bytes]:
    with open_text(file.path, how.dialect) as log:
        for stretch in stretches:
            log.seek(stretch.start)
            yield how.dialect.as_utf8(log.read(stretch.stop - stretch.start))


def _read(logs: LogFiles, kinds: Mapping[str, Kind], nested: tuple[str, ...]) -> WholeFiles:
    texts = tuple(name for name, kind in kinds.items() if kind in {Kind.CATEGORY, Kind.BOOLEAN})
    times = tuple(name for name, kind in kinds.items() if kind is Kind.TIMESTAMP)
    parts: dict[str, list[Column]] = {name: [] for name in kinds}
    whole: dict[str, list[pa.ChunkedArray]] = {name: [] for name, kind in kinds.items() if kind is Kind.NUMBER}
    unreadable = dict.fromkeys(kinds, 0)
    rows = 0
    for stretch, table in logs.read(logs.known.stretches, RequestedColumns(_NO_COLUMN, tuple(kinds), texts, times)):
        present = set(table.column_names)
        rows += len(table)
        for name, kind in kinds.items():
            column = table.column(name) if name in present else pa.chunked_array([pa.nulls(len(table))])
            values, faults = read_column(column, kind, numeric_text=logs.reads_numbers_as_text(stretch))
            parts[name].append(values)
            unreadable[name] += faults
            if name in whole:
                whole[name].append(column)
    integers = {name: pieces for name, pieces in whole.items() if all(_is_whole(piece.type) for piece in pieces)}
    return WholeFiles(
        rows,
        kinds,
        {name: join_columns(pieces) if pieces else missing(kinds[name], 0) for name, pieces in parts.items()},
        {
            name: pa.chunked_array([c for p in pieces for c in p.cast(pa.int64()).chunks])
            for name, pieces in integers.items()
        },
        nested,
        tuple(_remarks(logs, kinds, unreadable)),
    )


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)))


def _remarks(logs: LogFiles, kinds: Mapping[str, Kind], unreadable: Mapping[str, int]) -> Iterator[str]:
    malformed = sum(file.malformed for file in logs.known.files)
    if malformed:
        example = next((one for file in logs.known.files for one in file.examples.values()), "")
        yield f"{malformed:,} lines are no rows and are left out ({example})"
    for name, count in unreadable.items():
        if count:
            yield f"{count:,} values of {name} cannot be read as a {kinds[name]}: they count as missing"

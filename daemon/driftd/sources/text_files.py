"""Reading CSV and JSON-lines logs that grow while we read: whole lines only, in stretches that never change."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa

from driftd.sources.catalogue import LogFile, Stretch, span_of
from driftd.sources.dialects import Dialect, end_of_rows, header_names, open_text, parse_csv
from driftd.sources.file_system import LOCAL, FileSystem
from driftd.sources.json_lines import Lines, keys_of, parse_json_lines
from driftd.sources.listing import with_partition
from driftd.sources.parsed import Parsed, RequestedColumns, shorten
from driftd.sources.row_counts import Found, FoundTimes
from driftd_detectors.batches.arrow_columns import read_times
from driftd_detectors.columns import Numbers

LONGEST_ROW_BYTES = 2**24
LONGEST_CSV_ROW_BYTES = 2**20  # an opening quote that is never closed would make one row of all that follows
FIRST_LOOK_BYTES = 2**16
_PIECE_BYTES = 8 * 2**20
_QUIET_NANOSECONDS = 60 * 10**9  # a last line without its end counts as whole when nothing was written for so long


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How the lines of one file become rows. `partition` holds the columns that its folders name, `files` has it."""

    kind: Literal["csv", "jsonl"]
    dialect: Dialect = field(default_factory=Dialect)
    separator: str = ","
    lines: Lines = field(default_factory=Lines)
    partition: Mapping[str, str | None] = field(default_factory=dict)
    files: FileSystem = LOCAL

    def parse(self, lines: bytes, header: str, wanted: RequestedColumns) -> Parsed:
        """Whole lines as a table of (at least) the wanted columns that are there, and what is no row."""
        if self.kind == "csv":
            parsed = parse_csv(lines, header, self.separator, self.dialect, wanted)
        else:
            lines = self.dialect.as_utf8(lines)
            parsed = parse_json_lines(lines, wanted, self.lines)
        if not self.partition:
            return parsed
        texts = (*wanted.texts, *wanted.event_times, wanted.identity)
        table = with_partition(parsed.table, self.partition, wanted.columns, texts)
        return Parsed(table, parsed.malformed, parsed.example)

    def end_of_rows(self, piece: bytes) -> int:
        """Where the last whole row ends; 0 when none is whole."""
        return end_of_rows(piece, self.separator) if self.kind == "csv" else piece.rfind(b"\n") + 1

    @property
    def longest_row(self) -> int:
        """How many bytes are waited for until a row is given up."""
        return LONGEST_CSV_ROW_BYTES if self.kind == "csv" else LONGEST_ROW_BYTES


def first_columns(file: LogFile, how: TextFormat) -> list[str] | None:
    """The columns of a file's first whole rows, those of its folders among them; None when no row is whole yet.

    Of JSON lines the last rows are looked at too: a log may begin with lines of another kind.
    """
    with open_text(file.path, how.dialect, how.files) as log:
        if how.kind == "csv":
            header = log.readline(LONGEST_CSV_ROW_BYTES)
            if not header.endswith(b"\n"):
                return None
            return [*header_names(_header_of(header, how.dialect), how.separator), *how.partition]
        piece = log.read(FIRST_LOOK_BYTES)
        last = _last_lines(log, len(piece), how.dialect, file.path)
    whole = piece[: piece.rfind(b"\n") + 1] or piece
    keys = keys_of(how.dialect.as_utf8(whole) + b"\n" + how.dialect.as_utf8(last), how.lines)
    return [*keys, *how.partition] if keys else None


def _last_lines(log: BinaryIO, beyond: int, dialect: Dialect, path: str) -> bytes:
    """Whole lines at the end of a file that is longer than its beginning; empty where its end is not known."""
    if not dialect.is_plain(path):
        return b""
    end = log.seek(0, io.SEEK_END)
    if end <= beyond:
        return b""
    log.seek(max(beyond, end - FIRST_LOOK_BYTES))
    piece = log.read(FIRST_LOOK_BYTES)
    return piece[piece.find(b"\n") + 1 : piece.rfind(b"\n") + 1]


def find_stretches(
    file: LogFile, how: TextFormat, wanted: RequestedColumns, found_at: float, *, timed: bool, null_at: float | None
) -> Iterator[Found]:
    """The whole rows beyond `file.done`, in stretches of some megabytes, with the event times of their rows.

    `wanted` names the one column of the times; rows without it happened at `found_at` unless they must be `timed`.
    `null_at` is the time of rows that have the column without a value, if they are to have one.
    `file` moves on with every stretch, and counts what is no row. Raises OSError when the file cannot be read.
    """
    (at,) = wanted.event_times
    with open_text(file.path, how.dialect, how.files) as log:
        if how.kind == "csv" and not file.header and not _read_header(log, file, how.dialect):
            return
        quiet = not how.files.files_grow or found_at * 1e9 - file.changed_at > _QUIET_NANOSECONDS
        while True:
            log.seek(file.done)
            rows, skipped = _next_rows(log, how, quiet=quiet, in_long_line=file.in_long_line)
            if skipped:
                _give_up(file, skipped, how)
                continue
            if not rows:
                return
            parsed = how.parse(rows, file.header, replace(wanted, columns=(at, *(file.absent or ()))))
            file.absent = [name for name in file.absent or () if name not in parsed.table.column_names]
            file.is_timed = file.is_timed or timed or at in parsed.table.column_names
            times = _times(parsed.table, at, null_at, np.nan if file.is_timed else found_at)
            read_from = parsed.table.column(at) if at in parsed.table.column_names else None
            found = FoundTimes.of(times, found_at if file.is_timed else np.inf, read_from)
            stretch = _stretch(file, len(rows), found, found_at)
            _count(file, parsed, rows, how.dialect)
            yield Found(stretch, found)


def _stretch(file: LogFile, size: int, found: FoundTimes, found_at: float) -> Stretch:
    first_at, last_at = span_of(found.kept)
    kept = len(found.kept)
    aside = len(found.times) - kept
    start = file.done
    stop = start + size
    return Stretch(0, start, stop, kept, 0, first_at, last_at, aside, found_at, found.first_future, file.is_timed)


def _times(table: pa.Table, at: str, null_at: float | None, without: float) -> Numbers:
    if at in table.column_names:
        return read_times(table.column(at), null_at)
    return np.full(len(table), without)


def _count(file: LogFile, parsed: Parsed, rows: bytes, dialect: Dialect) -> None:
    odd = dialect.undecodable(rows)
    if odd:
        file.undecodable += len(odd)
        text = shorten(dialect.as_utf8(rows.split(b"\n")[odd[0]]))
        file.examples["undecodable"] = f"{file.path}, line {file.lines + odd[0] + 1}: {text}"
    if parsed.malformed:
        file.malformed += parsed.malformed
        if parsed.example is not None:
            line = file.lines + parsed.example.line + 1
            file.examples["malformed"] = f"{file.path}, line {line}: {parsed.example.text}"
    file.rows += len(parsed.table)
    file.lines += rows.count(b"\n")
    file.done += len(rows)


def _give_up(file: LogFile, skipped: bytes, how: TextFormat) -> None:
    """Pass over a row that is too long, or whose quote is never closed."""
    if not file.in_long_line:
        file.malformed += 1
        reason = "a quote that is not closed" if how.kind == "csv" else "too long"
        file.examples["malformed"] = f"{file.path}, line {file.lines + 1}: {reason}"
    file.in_long_line = not skipped.endswith(b"\n")
    file.lines += skipped.count(b"\n")
    file.done += len(skipped)


def read_stretches(
    file: LogFile, how: TextFormat, stretches: Sequence[Stretch], wanted: RequestedColumns
) -> Iterator[tuple[Stretch, pa.Table]]:
    """The wanted columns (those that the file has) of stretches; the file is opened once."""
    with open_text(file.path, how.dialect, how.files) as log:
        for stretch in stretches:
            log.seek(stretch.start)
            lines = log.read(stretch.stop - stretch.start)
            yield stretch, how.parse(lines, file.header, wanted).table


def _read_header(log: BinaryIO, file: LogFile, dialect: Dialect) -> bool:
    header = log.readline()
    if not header.endswith(b"\n"):
        return False
    file.header = _header_of(header, dialect)
    file.done = len(header)
    file.lines = 1
    return True


def _header_of(line: bytes, dialect: Dialect) -> str:
    return dialect.as_utf8(line).decode("utf-8-sig", errors="replace").strip("\r\n")


def _next_rows(log: BinaryIO, how: TextFormat, *, quiet: bool, in_long_line: bool) -> tuple[bytes, bytes]:
    """The next rows that are written to their end, or bytes that are given up; both are empty when there are none."""
    piece = log.read(_PIECE_BYTES)
    if in_long_line:
        return b"", _line_of(piece)
    while piece:
        cut = how.end_of_rows(piece)
        if cut:
            return piece[:cut], b""
        if len(piece) >= how.longest_row:
            return b"", _line_of(piece)
        more = log.read(_PIECE_BYTES)
        if not more:
            return _last_row(piece, how.end_of_rows) if quiet else (b"", b"")
        piece += more
    return b"", b""


def _last_row(piece: bytes, end_of_rows: Callable[[bytes], int]) -> tuple[bytes, bytes]:
    """What nobody completes any more: a row without its end, or one that no end can complete."""
    if end_of_rows(piece + b"\n") > len(piece):
        return piece, b""
    return b"", _line_of(piece)


def _line_of(piece: bytes) -> bytes:
    return piece[: piece.find(b"\n") + 1] or piece

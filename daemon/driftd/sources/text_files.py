"""Reading CSV and JSON-lines logs that grow while we read: whole lines only, in stretches that never change."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from driftd.sources.catalogue import HEAD_BYTES, LogFile, Stretch, digest_of, span_of
from driftd.sources.json_lines import parse_json_lines
from driftd.store.events.arrow_columns import read_numbers
from driftd_detectors.columns import Numbers

TextFormat = Literal["csv", "jsonl"]
_PIECE_BYTES = 8 * 2**20
_QUIET_NANOSECONDS = 60 * 10**9  # a last line without its end counts as whole when nothing was written for so long


def find_stretches(
    file: LogFile, text_format: TextFormat, at: str | None, arrived_at: float
) -> Iterator[tuple[Stretch, Numbers]]:
    """The whole lines beyond `file.done`, in stretches of some megabytes, with the event times of their rows.

    `file.done` moves with every stretch. Raises OSError when the file cannot be read.
    """
    with Path(file.path).open("rb") as log:
        if text_format == "csv" and not file.header and not _read_header(log, file):
            return
        quiet = arrived_at * 1e9 - file.changed_at > _QUIET_NANOSECONDS
        log.seek(file.done)
        while piece := _whole_lines(log, quoted=text_format == "csv", quiet=quiet):
            table, malformed = parse(piece, text_format, file.header, [] if at is None else [at], [], [])
            if at is not None and at in table.column_names:
                times = read_numbers(table.column(at))
            else:
                times = np.full(len(table), arrived_at)
            stretch = Stretch(0, file.done, file.done + len(piece), len(table), 0, *span_of(times))
            file.done += len(piece)
            file.malformed += malformed
            if file.head_bytes < HEAD_BYTES:
                file.head_bytes = min(file.done, HEAD_BYTES)
                file.head = digest_of(Path(file.path), file.head_bytes)
            yield stretch, times
            log.seek(file.done)


def read_stretches(
    file: LogFile,
    text_format: TextFormat,
    stretches: Sequence[Stretch],
    columns: Sequence[str],
    texts: Sequence[str],
    times: Sequence[str],
) -> Iterator[tuple[Stretch, pa.Table]]:
    """The wanted columns (those that the file has) of stretches; the file is opened once."""
    with Path(file.path).open("rb") as log:
        for stretch in stretches:
            log.seek(stretch.start)
            lines = log.read(stretch.stop - stretch.start)
            yield stretch, parse(lines, text_format, file.header, columns, texts, times)[0]


def parse(
    lines: bytes,
    text_format: TextFormat,
    header: str,
    columns: Sequence[str],
    texts: Sequence[str],
    times: Sequence[str],
) -> tuple[pa.Table, int]:
    """Whole lines as a table of (at least) the wanted columns that are there, and how many lines are no rows.

    `texts` are read as text, whatever they look like; `times` are the columns in which text may be a time.
    """
    if text_format == "csv":
        return _parse_csv(lines, header, columns, texts)
    return parse_json_lines(lines, columns, texts, times)


def _parse_csv(lines: bytes, header: str, columns: Sequence[str], texts: Sequence[str]) -> tuple[pa.Table, int]:
    names = next(csv.reader([header]), [])
    wanted = [name for name in columns if name in names]
    malformed = 0

    def skip(_row: object) -> str:
        nonlocal malformed
        malformed += 1
        return "skip"

    table = pyarrow.csv.read_csv(
        io.BytesIO(lines),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(lines) + 1),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=wanted or names[:1],  # some column, so that rows are counted
            column_types={name: pa.string() for name in texts if name in wanted and _is_unicode(lines)},
            strings_can_be_null=True,
        ),
    )
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):  # not UTF-8
            decoded = [None if value is None else value.decode(errors="replace") for value in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(decoded, pa.string()))
    return table, malformed


def _is_unicode(lines: bytes) -> bool:
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_header(log: BinaryIO, file: LogFile) -> bool:
    header = log.readline()
    if not header.endswith(b"\n"):
        return False
    file.header = header.decode("utf-8-sig", errors="replace").strip("\r\n")
    file.done = len(header)
    return True


def _whole_lines(log: BinaryIO, *, quoted: bool, quiet: bool) -> bytes:
    """The next lines that are written to their end; empty when there are none."""
    piece = log.read(_PIECE_BYTES)
    while True:
        cut = _last_end(piece, quoted=quoted)
        if cut:
            return piece[:cut]
        more = log.read(_PIECE_BYTES)  # one line longer than a piece
        if not more:
            return piece if quiet else b""
        piece += more


def _last_end(piece: bytes, *, quoted: bool) -> int:
    """The end of the last line; in CSV, of the last line that does not end inside quotes."""
    end = piece.rfind(b"\n") + 1
    while quoted and end and piece.count(b'"', 0, end) % 2:
        end = piece.rfind(b"\n", 0, end - 1) + 1
    return end

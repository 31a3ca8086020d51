"""CSV and JSON-lines logs that grow while they are read: whole lines only, in stretches that never change.

In JSON lines, features may stand beside the rest, or in an object called `features`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from driftd.sources.catalogue import HEAD_BYTES, LogFile, Stretch, digest_of, span_of
from driftd.store.events.arrow_columns import read_numbers
from driftd.store.events.feature_parsing import read_time
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import class_name

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


_NEST = "features"


def parse_json_lines(
    lines: bytes, columns: Sequence[str], texts: Sequence[str], times: Sequence[str]
) -> tuple[pa.Table, int]:
    """Whole lines as a table, and how many of them are no JSON objects (always the same ones).

    Arrow reads lines whose columns have one type each; any other are read one by one, much slower.
    """
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(lines), read_options=pyarrow.json.ReadOptions(block_size=len(lines) + 1)
        )
    except pa.ArrowInvalid:
        return _one_by_one(lines, columns, texts, times)
    if _NEST in table.column_names and pa.types.is_struct(table.schema.field(_NEST).type):
        nested = table.column(_NEST)
        table = table.drop_columns([_NEST])
        for field in nested.type:
            if field.name not in table.column_names:
                part = pa.chunked_array([chunk.field(field.name) for chunk in nested.chunks], field.type)
                table = table.append_column(field.name, part)
    if any(name in table.column_names and pa.types.is_temporal(table.schema.field(name).type) for name in texts):
        return _one_by_one(lines, columns, texts, times)  # Arrow took a text for a time, and its form is lost
    return table, 0


def _one_by_one(
    lines: bytes, columns: Sequence[str], texts: Sequence[str], times: Sequence[str]
) -> tuple[pa.Table, int]:
    rows, malformed = [], 0
    decode = msgspec.json.Decoder().decode
    for line in lines.split(b"\n"):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except ValueError:  # also of text that is no UTF-8
            row = None
        if isinstance(row, dict):
            nested = row.get(_NEST)
            rows.append({**nested, **row} if isinstance(nested, Mapping) else row)
        else:
            malformed += 1
    arrays = {"": pa.nulls(len(rows))}  # some column, so that rows are counted
    for name in columns:
        if any(name in row for row in rows):
            arrays[name] = _column([row.get(name) for row in rows], text=name in texts, time=name in times)
    return pa.table(arrays), malformed


def _column(values: list[Any], *, text: bool, time: bool) -> pa.Array:
    """Values of any types as one: text if that is wanted, numbers if all are, else text that is no number."""
    if text:
        return pa.array([None if value is None else class_name(value) for value in values], pa.string())
    if all(value is None or isinstance(value, bool) for value in values):
        return pa.array(values, pa.bool_())
    if time:
        return pa.array([_time(value) for value in values], pa.float64())
    if all(value is None or isinstance(value, int | float) for value in values):
        return pa.array([_number(value) for value in values], pa.float64())
    return pa.array([None if value is None else _as_text(value) for value in values], pa.string())


def _as_text(value: object) -> str:
    """Numbers as themselves, everything else in quotes: a numeric text among numbers stays a text."""
    return repr(float(value)) if isinstance(value, int | float) else repr(value)


def _number(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return None


def _time(value: object) -> float | None:
    try:
        return None if value is None else read_time(value)
    except ValueError:
        return None

"""Dialects of text files: separator, decimal sign, encoding, compression; and where a CSV line ends."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from driftd.sources.file_system import LOCAL, FileSystem
from driftd.sources.parsed import Parsed, RequestedColumns, example_of_line
from driftd_detectors.batches.arrow_columns import is_text
from driftd_detectors.schema import is_date

Compression = Literal["auto", "none", "gzip", "bz2", "zstd", "lz4"]
SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_DISCARDED_BYTES = 2**20
_REPLACEMENT = "\ufffd".encode()
_DATE = re.compile(
    r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})"
    r"(?:[ T]+(\d{1,2}):(\d\d)(?::(\d\d(?:[.,]\d{1,9})?))?(?: ?([AaPp])\.?[Mm]\.?)?)? ?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)  # of numbers in another order than that of ISO 8601, with or without a time


@dataclass(frozen=True, slots=True)
class Dialect:
    """How text is written. `separator` None: a tab in `.tsv`, else a comma. `auto` goes by the suffix of the file.

    `day_first` says how dates such as 03/04/2026 begin; None: they are no dates, because nobody can tell.
    """

    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    compression: Compression = "auto"
    day_first: bool | None = None

    def separator_of(self, path: str) -> str:
        """The separator of one file."""
        if self.separator is not None:
            return self.separator
        return "\t" if ".tsv" in Path(path.lower()).suffixes else ","

    def compression_of(self, path: str) -> str | None:
        """The codec of one file, None when it is not compressed."""
        if self.compression == "auto":
            return SUFFIXES.get(Path(path).suffix.lower())
        return None if self.compression == "none" else self.compression

    @property
    def recodes_stream(self) -> bool:
        """Whether line ends are not single bytes, as in UTF-16: the file is recoded as a whole then."""
        return "\n".encode(self.encoding) != b"\n"

    def is_plain(self, path: str) -> bool:
        """Whether offsets in the text are offsets in the file."""
        return self.compression_of(path) is None and not self.recodes_stream

    def iso_date(self, text: str) -> str:
        """A date such as 31/01/2026 as ISO 8601 has it; what is none, or not in the calendar, as it is."""
        found = None if self.day_first is None else _DATE.fullmatch(text.strip())
        if found is None:
            return text
        first, _, second, year, hour, minute, seconds, half, zone = found.groups()
        day, month = (first, second) if self.day_first else (second, first)
        hours = int(hour or 0)
        if half is not None:
            hours = hours % 12 + (12 if half in "Pp" else 0)
        time = "" if hour is None else f"T{hours:02d}:{minute}:{(seconds or '00').replace(',', '.')}"
        written = f"{year}-{int(month):02d}-{int(day):02d}{time}{zone or ''}"
        return written if is_date(written) else text

    def with_iso_dates(self, table: pa.Table, names: Iterable[str]) -> pa.Table:
        """A table whose columns of times have such dates as ISO 8601 has them."""
        for name in names if self.day_first is not None else ():
            if name in table.column_names and is_text(table.schema.field(name).type):
                coded = table.column(name).cast(pa.string()).combine_chunks().dictionary_encode()
                texts = [None if text is None else self.iso_date(text) for text in coded.dictionary.to_pylist()]
                dates = pa.array(texts, pa.string()).take(coded.indices)
                table = table.set_column(table.column_names.index(name), name, dates)
        return table

    def undecodable(self, lines: bytes) -> list[int]:
        """The places of the lines, from 0 on, that are not of the encoding: some of their text becomes U+FFFD."""
        if lines.isascii():
            return []
        parts = lines.split(b"\n")
        if self.recodes_stream:
            return [place for place, line in enumerate(parts) if _REPLACEMENT in line]
        if is_of(lines, self.encoding):
            return []
        return [place for place, line in enumerate(parts) if not is_of(line, self.encoding)]

    def as_utf8(self, lines: bytes) -> bytes:
        """Lines as valid UTF-8 without a byte order mark; what is not of the encoding becomes U+FFFD."""
        lines = lines.removeprefix(codecs.BOM_UTF8)
        if self.recodes_stream:
            return lines
        if lines.isascii():
            return lines
        try:
            text = lines.decode(self.encoding)
        except UnicodeDecodeError:
            text = lines.decode(self.encoding, errors="replace")
        return text.encode(errors="replace")


def is_of(text: bytes, encoding: str) -> bool:
    """Whether bytes are text of an encoding."""
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def open_text(path: str, dialect: Dialect, files: FileSystem = LOCAL) -> BinaryIO:
    """A text file whose offsets count bytes after decompression (and recoding of UTF-16 and UTF-32).

    Raises OSError when the file cannot be opened; reading raises OSError where the compressed data are broken.
    """
    if dialect.is_plain(path):
        return files.open(path)
    return io.BufferedReader(RecodedFile(path, dialect, files))


class RecodedFile(io.RawIOBase):
    """A compressed or recoded file; seeking forward reads, seeking backward begins anew."""

    def __init__(self, path: str, dialect: Dialect, files: FileSystem) -> None:
        super().__init__()
        self._path, self._dialect, self._files = path, dialect, files
        self._begin()

    def _begin(self) -> None:
        compression = self._dialect.compression_of(self._path)
        self._raw = pa.input_stream(self._files.open_for_arrow(self._path), compression=compression)
        self._decoder = (
            codecs.getincrementaldecoder(self._dialect.encoding)("replace") if self._dialect.recodes_stream else None
        )
        self._waiting = b""
        self._place = 0

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer does
        """See `io.RawIOBase`."""
        while not self._waiting:
            raw = self._raw.read(max(len(buffer), 4096))
            if not raw:
                return 0
            self._waiting = raw if self._decoder is None else self._decoder.decode(raw).encode(errors="replace")
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        self._place += size
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only to an offset from the beginning."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end of a compressed file is not known before it is read")
        if offset < self._place:
            self._raw.close()
            self._begin()
        buffer = bytearray(_DISCARDED_BYTES)
        while self._place < offset:
            if not self.readinto(memoryview(buffer)[: min(len(buffer), offset - self._place)]):
                break
        return self._place

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._place

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._raw.close()
        super().close()


MISSING = (
    *("", "\\N", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "#N/A N/A", "NULL", "null", "None", "NaT"),
    *("nan", "NaN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)  # what writes a table as CSV puts where nothing stands


def begin_of_date(text: str) -> tuple[int, int] | None:
    """The two numbers before the year in a date such as 31/01/2026 or 1.31.2026 2:05 PM; None of what is none."""
    found = _DATE.fullmatch(text.strip())
    return None if found is None else (int(found[1]), int(found[3]))


def end_of_rows(piece: bytes, separator: str) -> int:
    """Where the last whole row ends; 0 when no row is whole. A line end inside a quoted field ends no row."""
    if b'"' not in piece:
        return piece.rfind(b"\n") + 1
    found = _rows_pattern(separator).match(piece)
    return found.end() if found is not None else 0


@lru_cache
def _rows_pattern(separator: str) -> re.Pattern[bytes]:
    """Whole rows from the start on, as Arrow's parser sees them; possessive, so that nothing is tried twice."""
    sign = re.escape(separator.encode())
    rest = rb"[^" + sign + rb"\n]*+"
    field = rb'(?:"[^"]*+(?:""[^"]*+)*+"' + rest + rb'|[^"' + sign + rb"\n]" + rest + rb"|)"
    return re.compile(rb"(?:(?>" + field + rb"(?:" + sign + field + rb")*+\n))*+")


def header_names(header: str, separator: str) -> list[str]:
    """The names of the columns."""
    return next(csv.reader([header], delimiter=separator), [])


def parse_csv(lines: bytes, header: str, separator: str, dialect: Dialect, wanted: RequestedColumns) -> Parsed:
    """Whole lines as a table of the wanted columns that are there; rows with too few or too many fields are no rows."""
    names = header_names(header, separator)
    present = [name for name in wanted.columns if name in names]
    texts = {*wanted.texts, *wanted.event_times, wanted.identity}
    lines = dialect.as_utf8(lines)
    malformed: list[str] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        malformed.append(row.text if not malformed else "")
        return "skip"

    if not lines.strip():
        return Parsed(pa.table({name: pa.array([], pa.string()) for name in present or names[:1]}))
    table = pyarrow.csv.read_csv(
        io.BytesIO(lines),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(lines) + 1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=present or names[:1],  # some column, so that rows are counted
            column_types={name: pa.string() for name in texts if name in present},
            null_values=MISSING,
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
        ),
    )
    table = dialect.with_iso_dates(table, (*wanted.times, *wanted.event_times))
    if dialect.decimal != ".":
        table = _with_points(table, dialect.decimal, texts - {*wanted.event_times})
    example = example_of_line(lines, malformed[0].encode()) if malformed else None
    return Parsed(table, len(malformed), example)


def _with_points(table: pa.Table, decimal: str, texts: set[str]) -> pa.Table:
    """Numbers of a column that Arrow took for text, because one value is none, with a decimal point."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in texts:
            pointed = pc.replace_substring(table.column(place), decimal, ".")
            table = table.set_column(place, field.name, pointed)
    return table

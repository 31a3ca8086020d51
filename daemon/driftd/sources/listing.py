"""What a file is read as, what is wrong with one before its first row, and the columns that its folders name."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa

from driftd.errors import DriftdError
from driftd.sources.dialects import SUFFIXES as COMPRESSED
from driftd.sources.dialects import Dialect, is_of, open_text
from driftd.sources.file_system import FileSystem, quote_names

HEAD_BYTES = 4096
_ENCODED_BYTES = 2**16
_COLUMN_CHARACTERS = 80
_MAGIC = (
    (b"PAR1", "Parquet", "format: parquet"),
    (b"\x1f\x8b", "compressed with gzip", "dialect: {compression: gzip}"),
    (b"BZh", "compressed with bzip2", "dialect: {compression: bz2}"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "dialect: {compression: zstd}"),
    (b"ARROW1", "an Arrow (Feather) file, which driftd does not read", "write Parquet"),
    (b"Obj\x01", "an Avro file, which driftd does not read", "write Parquet"),
    (b"ORC", "an ORC file, which driftd does not read", "write Parquet"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet, which driftd does not read", "write CSV, JSON lines or Parquet"),
)
_ORDER_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class Expected:
    """Which columns a file must have: names by what they mean, those that the config maps and the usual ones.

    Without a mapped one of `required`, without all `features`, or without any of `identifying`, a file is not read.
    `key` is the key of the config that maps them.
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    identifying: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    key: str = "columns"

    def absent(self, columns: Iterable[str]) -> list[str]:
        """The names, mapped, usual or of features, that are not among these columns."""
        there = set(columns)
        names = dict.fromkeys((*self.mapped.values(), *self.usual.values(), *self.features))
        return [name for name in names if name not in there]

    def obstacle(self, columns: Sequence[str]) -> str | None:
        """Why a file with these columns is not read; None when it is."""
        there = set(columns)
        names = {**self.usual, **self.mapped}
        lacks = {key: names[key] for key in self.required if key in names and names[key] not in there}
        has = _describe_columns(columns)
        if lacks:
            mapping = ", ".join(f"{meaning}: {name}" for meaning, name in lacks.items())
            return f"has no column {quote_names(list(lacks.values()))} ({self.key}: {{{mapping}}}); it {has}"
        if self.features and not there & set(self.features):
            return f"has none of the features {quote_names(self.features)}; it {has}"
        if self.identifying and not there & {names[key] for key in self.identifying}:
            usual = quote_names([names[key] for key in self.identifying])
            return f"has none of the columns {usual}: map them with `{self.key}`; it {has}"
        return None

    def repetition(self, columns: Iterable[str]) -> str | None:
        """Why a file with these columns is not read: which of two of one name is meant, nobody can tell."""
        needed = {*self.mapped.values(), *self.usual.values(), *self.features}
        counts = Counter(columns)
        repeated = [name for name, count in counts.items() if count > 1 and (not needed or name in needed)]
        return f"has more than one column {quote_names(repeated)}: rename all but one" if repeated else None

    def shortfalls(self, absent: Iterable[str]) -> tuple[list[str], list[str]]:
        """What to say of names that no file has: faults for those that the config maps, remarks for usual ones."""
        missing = set(absent)
        faults = [
            f"no file has the column {name!r} that `{self.key}` maps to {meaning}"
            for meaning, name in self.mapped.items()
            if name in missing
        ]
        said = {
            "at": "rows are taken to have happened when they were found",
            "id": "no label from another file or from HTTP can join its prediction",
            "prediction": "predictions are not watched",
        }
        remarks = [
            f"no file has a column {name!r}: {said[meaning]}; `{self.key}: {{{meaning}: NAME}}` names another"
            for meaning, name in self.usual.items()
            if name in missing and meaning in said
        ]
        if features := [name for name in self.features if name in missing]:
            remarks.append(f"no file has the features {quote_names(features)}: they are missing in every row")
        return faults, remarks


def fault_of_head(
    path: str, kind: Kind, dialect: Dialect, files: FileSystem, *, lines_are_checked: bool = True
) -> str | None:
    """Why a text file cannot hold the rows that its format says, by its first bytes; None when it may.

    Raises OSError when it cannot be read.
    """
    if kind == "parquet":
        return None
    if dialect.compression_of(path) is None:
        with files.open(path) as raw:
            if fault := _fault_of_bytes(raw.read(HEAD_BYTES), dialect):
                return fault
    with open_text(path, dialect, files) as text:
        head = text.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    if kind == "csv":
        return _fault_of_lines(head, dialect.separator_of(path)) or _fault_of_encoding(path, dialect, files)
    return _fault_of_json(head) if lines_are_checked else None


def is_json_lines(path: str, dialect: Dialect, files: FileSystem) -> bool:
    """Whether a file whose name does not say what it is begins with a JSON object."""
    with open_text(path, dialect, files) as text:
        return text.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


class UnknownFormatError(DriftdError, ValueError):
    """Nothing says what a file is; the message says what to do."""


def unknown_suffix(path: str, files: FileSystem) -> str:
    """The fault of a file whose name does not say what it is. Raises OSError when it cannot be read."""
    with files.open(path) as raw:
        if fault := _fault_of_bytes(raw.read(HEAD_BYTES), Dialect()):
            return f"it {fault}"
    suffix = Path(path).suffix
    said = f"the suffix {suffix!r} is not one that driftd reads" if suffix else "it has no suffix"
    return f"{said}: say `source.format`, or narrow `source.path` to a pattern such as *.jsonl"


def wrong_separator(columns: Sequence[str], separator: str) -> str | None:
    """The fault of a header that is one column only because its fields stand between other signs."""
    hint = separator_hint(columns, separator)
    return f"{_describe_columns(columns)}{hint}" if hint else None


def separator_hint(columns: Sequence[str], separator: str) -> str:
    """What to set where a header is one column that holds another separator."""
    if len(columns) != 1:
        return ""
    for sign, spelled in ((";", '";"'), ("\t", '"\\t"'), ("|", '"|"'), (",", '","')):
        if sign != separator and sign in columns[0]:
            return f"; set dialect: {{separator: {spelled}}}"
    return ""


def _fault_of_bytes(head: bytes, dialect: Dialect) -> str | None:
    for magic, said, remedy in _MAGIC:
        if head.startswith(magic):
            return f"is {said}: {remedy}"
    if dialect.recodes_stream:
        return None
    for mark, name in _ORDER_MARKS:
        if head.startswith(mark):
            return f"is {name.upper()} text: set dialect: {{encoding: {name}}}"
    if b"\x00" in head:
        return "holds NUL bytes, as UTF-16 text or binary data do: set dialect: {encoding: utf-16le}, or another path"
    return None


def _fault_of_lines(head: bytes, separator: str) -> str | None:
    """What stands in the place of the header of a CSV file, or at the end of its lines."""
    first, end, rest = head.partition(b"\n")
    if first.startswith(b'{"') and first.rstrip().endswith(b"}"):
        return "looks like JSON lines, not like CSV: set format: jsonl"
    first, second, sign = first.strip(), rest.partition(b"\n")[0], separator.encode()
    if not end and first.count(b"\r") > 1:
        return "has lines that end with a carriage return alone: write them with a newline"
    if first.lower().startswith(b"sep="):
        return f"begins with {first[:5].decode(errors='replace')!r}, which a spreadsheet wrote: remove that line"
    if first and second.count(sign) > 0 and b'"' not in second and not any(mark in first for mark in b",;\t|" + sign):
        line = first[:_COLUMN_CHARACTERS].decode(errors="replace")
        return f"has no header in its first line, {line!r}, but {second.count(sign) + 1} fields in the next: remove it"
    return None


def _fault_of_encoding(path: str, dialect: Dialect, files: FileSystem) -> str | None:
    """One line may be damaged; with more, different texts would become the same one."""
    if dialect.recodes_stream:
        return None
    with open_text(path, dialect, files) as text:
        head = text.read(_ENCODED_BYTES)
    if head.isascii():
        return None
    lines = head.split(b"\n")
    odd = [number for number, line in enumerate(lines[:-1], 1) if not is_of(line, dialect.encoding)]
    if not odd or (len(odd) == 1 and odd[0] > 1):
        return None
    return f"is no {dialect.encoding.upper()} text (line {odd[0]}): set dialect: {{encoding: ...}}, such as cp1252"


def _fault_of_json(head: bytes) -> str | None:
    if head.startswith(b"[") and head[1:].lstrip().startswith(b"{"):
        return "is one JSON array; driftd reads one object a line (`jq -c '.[]' FILE > FILE.jsonl` makes it so)"
    first, end, rest = head.partition(b"\n")
    if end and first.strip() == b"{" and not rest.lstrip().startswith(b"{"):
        return "is one JSON document over several lines; driftd reads one object a line (`jq -c . FILE`)"
    return None


def _describe_columns(columns: Sequence[str]) -> str:
    if not columns:
        return "has no columns"
    if len(columns) == 1:
        return f"has one column {columns[0][:_COLUMN_CHARACTERS]!r}"
    return f"has {quote_names(columns)}"


Kind = Literal["parquet", "csv", "jsonl"]
KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".log": "jsonl",
    ".txt": "jsonl",
}
_ROTATED = re.compile(r"[-.](\d+|\d{4}-\d\d-\d\d([T_-]?\d[\d:-]*)?)$")


def kind_of(path: str) -> Kind | None:
    """What a file is by its name, without what rotation and compression append; None when the name does not say."""
    name = Path(path).name.lower()
    while True:
        suffix = Path(name).suffix
        if suffix in COMPRESSED:
            name = name[: -len(suffix)]
        elif (rotated := _ROTATED.search(name)) is not None and rotated.start():
            name = name[: rotated.start()]
        else:
            return KINDS.get(suffix)


def is_columnar(path: str) -> bool:
    """Whether a file is Parquet, by its name."""
    return path.lower().endswith((".parquet", ".pq"))


NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def partition_of(path: str, base: Path) -> dict[str, str | None]:
    """The keys and values of the folders between the source's base and a file."""
    inside = Path(path).relative_to(base).parts[:-1] if Path(path).is_relative_to(base) else ()
    pairs = (part.split("=", 1) for part in inside if "=" in part.strip("="))
    return {unquote(key): None if value == NULL_PARTITION else unquote(value) for key, value in pairs}


def with_partition(
    table: pa.Table, values: Mapping[str, str | None], columns: Iterable[str], texts: Iterable[str]
) -> pa.Table:
    """A table with the wanted ones of these columns, unless it has them itself.

    A value that is a number is a column of numbers, unless it is wanted as text.
    """
    as_text = frozenset(texts)
    for name in columns:
        if name in values and name not in table.column_names:
            table = table.append_column(name, _column(values[name], len(table), text=name in as_text))
    return table


def _column(value: str | None, rows: int, *, text: bool) -> pa.Array:
    if value is None:
        return pa.nulls(rows, pa.string())
    if not text:
        try:
            return pa.repeat(pa.scalar(float(value), pa.float64()), rows)
        except ValueError:
            pass
    return pa.repeat(pa.scalar(value, pa.string()), rows)

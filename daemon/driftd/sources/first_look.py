"""What is wrong with a file before its first row is read: another format than its name says, or other columns.

A file with such a fault is not read at all: its rows would be empty, and once the config is right they are all there.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftd.sources.dialects import Dialect, open_text
from driftd.sources.listing import Kind

HEAD_BYTES = 4096
_ENCODED_BYTES = 2**16
_MOST_NAMED = 12
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
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    identifying: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def absent(self, columns: Iterable[str]) -> list[str]:
        """The names, mapped or usual, that are not among these columns."""
        there = set(columns)
        return [name for name in (*self.mapped.values(), *self.usual.values()) if name not in there]

    def obstacle(self, columns: Sequence[str]) -> str | None:
        """Why a file with these columns is not read; None when it is."""
        there = set(columns)
        names = {**self.usual, **self.mapped}
        lacks = {key: names[key] for key in self.required if key in names and names[key] not in there}
        has = _describe_columns(columns)
        if lacks:
            mapping = ", ".join(f"{meaning}: {name}" for meaning, name in lacks.items())
            return f"has no column {quote_names(list(lacks.values()))} (columns: {{{mapping}}}); it {has}"
        if self.features and not there & set(self.features):
            return f"has none of the features {quote_names(self.features)}; it {has}"
        if self.identifying and not there & {names[key] for key in self.identifying}:
            usual = quote_names([names[key] for key in self.identifying])
            return f"has none of the columns {usual}: map them with `columns`; it {has}"
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
            f"no file has the column {name!r} that `columns` maps to {meaning}"
            for meaning, name in self.mapped.items()
            if name in missing
        ]
        said = {
            "at": "rows are taken to have happened when they were found",
            "id": "no label from another file or from HTTP can join its prediction",
            "prediction": "predictions are not watched",
        }
        remarks = [
            f"no file has a column {name!r}: {said[meaning]}; `columns: {{{meaning}: NAME}}` names another"
            for meaning, name in self.usual.items()
            if name in missing and meaning in said
        ]
        return faults, remarks


def fault_of_head(path: str, kind: Kind, dialect: Dialect, *, lines_are_checked: bool = True) -> str | None:
    """Why a text file cannot hold the rows that its format says, by its first bytes; None when it may.

    Raises OSError when it cannot be read.
    """
    if kind == "parquet":
        return None
    if dialect.compression_of(path) is None:
        with Path(path).open("rb") as raw:
            if fault := _fault_of_bytes(raw.read(HEAD_BYTES), dialect):
                return fault
    with open_text(path, dialect) as text:
        head = text.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    if kind == "csv":
        return _fault_of_encoding(path, dialect)
    return _fault_of_json(head) if lines_are_checked else None


def is_json_lines(path: str, dialect: Dialect) -> bool:
    """Whether a file whose name does not say what it is begins with a JSON object."""
    with open_text(path, dialect) as text:
        return text.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def unknown_suffix(path: str) -> str:
    """The fault of a file whose name does not say what it is."""
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


def _fault_of_encoding(path: str, dialect: Dialect) -> str | None:
    """One line may be damaged; with more, different texts would become the same one."""
    if dialect.recodes_stream:
        return None
    with open_text(path, dialect) as text:
        head = text.read(_ENCODED_BYTES)
    if head.isascii():
        return None
    lines = head.split(b"\n")
    odd = [number for number, line in enumerate(lines[:-1], 1) if not _is_of(line, dialect.encoding)]
    if not odd or (len(odd) == 1 and odd[0] > 1):
        return None
    return f"is no {dialect.encoding.upper()} text (line {odd[0]}): set dialect: {{encoding: ...}}, such as cp1252"


def _is_of(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


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


def quote_names(names: Sequence[str]) -> str:
    """The first of some names."""
    first = ", ".join(repr(name[:_COLUMN_CHARACTERS]) for name in names[:_MOST_NAMED])
    return first if len(names) <= _MOST_NAMED else f"{first} and {len(names) - _MOST_NAMED} more"

"""The files of a folder or a pattern: which are read, as what, and what is wrong with one before its first row."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa

from driftd.errors import DriftdError
from driftd.formatting import encodable
from driftd.sources.dialects import SUFFIXES as COMPRESSED
from driftd.sources.dialects import Dialect, is_of, open_text

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
        return _fault_of_lines(head, dialect.separator_of(path)) or _fault_of_encoding(path, dialect)
    return _fault_of_json(head) if lines_are_checked else None


def is_json_lines(path: str, dialect: Dialect) -> bool:
    """Whether a file whose name does not say what it is begins with a JSON object."""
    with open_text(path, dialect) as text:
        return text.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


class UnknownFormatError(DriftdError, ValueError):
    """Nothing says what a file is; the message says what to do."""


def unknown_suffix(path: str) -> str:
    """The fault of a file whose name does not say what it is. Raises OSError when it cannot be read."""
    with Path(path).open("rb") as raw:
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


def _fault_of_encoding(path: str, dialect: Dialect) -> str | None:
    """One line may be damaged; with more, different texts would become the same one."""
    if dialect.recodes_stream:
        return None
    with open_text(path, dialect) as text:
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


def quote_names(names: Sequence[str]) -> str:
    """The first of some names."""
    first = ", ".join(repr(name[:_COLUMN_CHARACTERS]) for name in names[:_MOST_NAMED])
    return first if len(names) <= _MOST_NAMED else f"{first} and {len(names) - _MOST_NAMED} more"


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
_UNFINISHED = frozenset({".tmp", ".part", ".partial", ".unfinished", ".crc", ".swp"})
_ROTATED = re.compile(r"[-.](\d+|\d{4}-\d\d-\d\d([T_-]?\d[\d:-]*)?)$")
_TABLES = {
    "_delta_log": "a Delta table",
    "_spark_metadata": "the output of a Spark stream",
    ".hoodie": "a Hudi table",
}
_ICEBERG = "an Iceberg table"
_PARENTS_LOOKED_AT = 3  # a path may name a partition of a table


@dataclass(slots=True)
class Listing:
    """The finished-looking files with their facts, and the folders that are tables of another system, by their kind."""

    files: list[tuple[Path, stat_result]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)  # names of what is hidden or unfinished
    tables: dict[Path, str] = field(default_factory=dict)
    misnamed: list[str] = field(default_factory=list)  # names that are not UTF-8, with such bytes spelled

    def name_faults(self) -> list[str]:
        """What to say of files that nothing can write down the name of."""
        if not self.misnamed:
            return []
        return [f"{quote_names(self.misnamed)}: names that are not UTF-8; such files are not read: rename them"]


def list_files(pattern: str) -> Listing:
    """The files of a folder (with those below it) or of a glob pattern.

    Hidden and unfinished files are passed over, and so are folders that begin with `_` or `.`. The files of a table of
    another system are left out: only its own log says which of their rows still exist.
    """
    base = base_of(pattern)
    found = list(_find_paths(pattern, base))
    listing = Listing(tables=_tables_of(pattern, base, found))
    for path in found:
        inside = path.relative_to(base).parts if path != base else (path.name,)
        if any(part.startswith((".", "_")) for part in inside) or path.suffix in _UNFINISHED:
            listing.passed_over.append(encodable(path.name))
            continue
        if not str(path).isascii() and encodable(str(path)) != str(path):
            listing.misnamed.append(encodable(path.name))
            continue
        if any(path.is_relative_to(table) for table in listing.tables):
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            listing.files.append((path, stat))
    return listing


def base_of(pattern: str) -> Path:
    """The folder, the file, or the part of a pattern before its first sign."""
    parts: list[str] = []
    for part in Path(pattern).parts:
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    return Path(*parts)


def is_there(pattern: str) -> bool:
    """Whether the folder, the file, or the part of a pattern before its first sign, exists."""
    return base_of(pattern).exists()


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


def table_fault(folder: Path, kind: str) -> str:
    """Why the files of a table are not read, and what to do."""
    return (
        f"{folder} is {kind}, whose files hold rows that are removed or rewritten too: it is not read; "
        "have its rows exported to files of their own, and name these in `source.path`"
    )


def _find_paths(pattern: str, base: Path) -> Iterable[Path]:
    whole = Path(pattern)
    if whole.is_dir():
        return whole.rglob("*")
    return base.glob(str(whole.relative_to(base))) if base != whole else [whole]


def _tables_of(pattern: str, base: Path, found: Iterable[Path]) -> dict[Path, str]:
    """The tables that the found files belong to: below the base, or around it."""
    folders = {base, *list(base.parents)[:_PARENTS_LOOKED_AT]}
    tables: dict[Path, str] = {}
    if Path(pattern).is_dir():  # everything below was found, with what marks a table
        for path in found:
            if path.name in _TABLES:
                tables[path.parent] = _TABLES[path.name]
            elif path.name.endswith(".metadata.json") and path.parent.name == "metadata":
                tables[path.parent.parent] = _ICEBERG
    else:
        folders |= {folder for path in found for folder in path.parents if folder.is_relative_to(base)}
    return tables | {folder: kind for folder in folders if (kind := _table_at(folder)) is not None}


def _table_at(folder: Path) -> str | None:
    if not folder.is_dir():
        return None
    for mark, kind in _TABLES.items():
        if (folder / mark).is_dir():
            return kind
    return _ICEBERG if any(folder.glob("metadata/*.metadata.json")) else None


_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_of(path: str, base: Path) -> dict[str, str | None]:
    """The keys and values of the folders between the source's base and a file."""
    inside = Path(path).relative_to(base).parts[:-1] if Path(path).is_relative_to(base) else ()
    pairs = (part.split("=", 1) for part in inside if "=" in part.strip("="))
    return {unquote(key): None if value == _NULL else unquote(value) for key, value in pairs}


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

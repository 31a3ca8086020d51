"""The files of a folder or a pattern: which are looked at, which are read as what, and which folders are tables.

Folders named `key=value` are partitions: each is a column with one value for all rows of the files below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa

from driftd.sources.dialects import SUFFIXES as COMPRESSED

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
    tables: dict[Path, str] = field(default_factory=dict)


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

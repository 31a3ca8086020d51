"""Folders named `key=value`: each is a column with one value for all rows of the files below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

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

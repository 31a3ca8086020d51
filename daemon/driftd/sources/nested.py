"""Values inside objects: dotted names as paths into JSON objects and structs, in rows and in Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_ABSENT = object()


def has_path(row: Mapping[str, object], name: str) -> bool:
    """Whether a row has a key, or a value at the path that the key spells."""
    return _look_up(row, name) is not _ABSENT


def value_at(row: Mapping[str, object], name: str) -> Any:
    """The value of a key, or at the path that it spells; None where there is none."""
    found = _look_up(row, name)
    return None if found is _ABSENT else found


def _look_up(row: Mapping[str, object], name: str) -> Any:
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    while rest:
        inner = row.get(head, _ABSENT)
        if isinstance(inner, Mapping):
            return _look_up(inner, rest)
        step, _, rest = rest.partition(".")
        head = f"{head}.{step}"
    return _ABSENT


def with_object_spread(row: Mapping[str, object], name: str) -> Mapping[str, object]:
    """A row with the keys of the object at `name` beside its own, which go first."""
    inner = value_at(row, name)
    return {**inner, **row} if isinstance(inner, Mapping) else row


def with_struct_spread(table: pa.Table, name: str) -> pa.Table:
    """A table with the fields of the struct at `name` as columns, unless it has columns of these names."""
    column = column_at(table, name)
    if column is None or not pa.types.is_struct(column.type):
        return table
    if name in table.column_names:
        table = table.drop_columns([name])
    for field in column.type:
        if field.name not in table.column_names:
            table = table.append_column(field.name, _field_of(column, field.name))
    return table


def with_paths(table: pa.Table, paths: Mapping[str, str]) -> pa.Table:
    """A table with a column for each name whose path is into one of its structs."""
    for name, path in paths.items():
        if name not in table.column_names:
            column = column_at(table, path)
            if column is not None:
                table = table.append_column(name, column)
    return table


def column_at(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """The column of a name, or the values at the path that it spells; None where there is none."""
    if name in table.column_names:
        return table.column(name)
    head, _, rest = name.partition(".")
    while rest:
        if head in table.column_names:
            return _inside(table.column(head), rest)
        step, _, rest = rest.partition(".")
        head = f"{head}.{step}"
    return None


def path_in(schema: pa.Schema, name: str) -> bool:
    """Whether a schema has a column of this name, or a value at the path that it spells."""
    return column_at(schema.empty_table(), name) is not None


def _inside(column: pa.ChunkedArray, path: str) -> pa.ChunkedArray | None:
    if not pa.types.is_struct(column.type):
        return None
    names = [field.name for field in column.type]
    if path in names:
        return _field_of(column, path)
    head, _, rest = path.partition(".")
    return _inside(_field_of(column, head), rest) if rest and head in names else None


def _field_of(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """One field of a struct; null where the struct is."""
    return pc.struct_field(column, indices=[column.type.get_field_index(name)])

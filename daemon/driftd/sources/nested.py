"""Values inside JSON objects and structs by dotted paths, and the Arrow types that are read."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_UUID_BYTES = 16


def as_read(table: pa.Table, wanted: Sequence[str] | None = None) -> tuple[pa.Table, list[str]]:
    """A table whose columns can be converted, and why a wanted column cannot be: it is missing in every row then.

    Bytes are text where they are UTF-8, and the text of a UUID where they are 16 that are not.
    """
    faults = []
    for place, field in enumerate(table.schema):
        column = table.column(place)
        readable, fault = _column(column)
        if fault is not None and (wanted is None or field.name in wanted):
            faults.append(f"the column {field.name!r} {fault}")
        if readable is not column:
            table = table.set_column(place, field.name, readable)
    return table, faults


def _column(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, str | None]:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        return _column(pa.chunked_array(chunks, kind.storage_type))
    if pa.types.is_dictionary(kind) and _is_bytes(kind.value_type):
        return _column(column.cast(kind.value_type))
    if _is_bytes(kind):
        return _text(column)
    if pa.types.is_nested(kind) or pa.types.is_map(kind):
        return _all_null(column), f"has the nested type {kind}: name its parts as paths with dots"
    if pa.types.is_duration(kind) or pa.types.is_time(kind) or pa.types.is_interval(kind):
        return _all_null(column), f"has the type {kind}, which driftd does not read: write it as a number"
    return column, None


def _text(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, str | None]:
    try:
        values = [None if value is None else value.decode() for value in column.to_pylist()]
        if not _looks_like_uuids(column):
            return pa.chunked_array([pa.array(values, pa.string())]), None
    except UnicodeDecodeError:
        pass
    known = [value for value in column.to_pylist() if value is not None]
    if known and all(len(value) == _UUID_BYTES for value in known):
        texts = [None if value is None else str(uuid.UUID(bytes=value)) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())]), None
    return _all_null(column), f"holds bytes ({column.type}) that are no UTF-8 text: write it as text"


def _looks_like_uuids(column: pa.ChunkedArray) -> bool:
    """A column of exactly 16 bytes is one of UUIDs even where its bytes happen to be text."""
    return bool(pa.types.is_fixed_size_binary(column.type) and column.type.byte_width == _UUID_BYTES)


def _all_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(column), pa.string())])


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


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

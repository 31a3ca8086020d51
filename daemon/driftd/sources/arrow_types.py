"""Columns of types that Parquet has and a table of features has not: UUIDs, other bytes, and nested values."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pyarrow as pa

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
        return _missing(column), f"has the nested type {kind}: name its parts as paths with dots"
    if pa.types.is_duration(kind) or pa.types.is_time(kind) or pa.types.is_interval(kind):
        return _missing(column), f"has the type {kind}, which driftd does not read: write it as a number"
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
    return _missing(column), f"holds bytes ({column.type}) that are no UTF-8 text: write it as text"


def _looks_like_uuids(column: pa.ChunkedArray) -> bool:
    """A column of exactly 16 bytes is one of UUIDs even where its bytes happen to be text."""
    return bool(pa.types.is_fixed_size_binary(column.type) and column.type.byte_width == _UUID_BYTES)


def _missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(column), pa.string())])


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )

"""Features of one commit as one columnar block, and blocks of different shapes as one. No Arrow: writers stay small."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from driftd_detectors.columns import (
    BOOLEAN_LABELS,
    Coded,
    Column,
    Columns,
    missing_column,
    rename_labels,
)
from driftd_detectors.schema import Feature, Kind

_NAN = float("nan")
_FEW = 64
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def shape_of(features: Iterable[Feature]) -> str:
    """The names and kinds of a block's columns as text; what the table `shapes` holds."""
    return msgspec.json.encode([[feature.name, str(feature.kind)] for feature in features]).decode()


def features_of(shape: str) -> tuple[Feature, ...]:
    """Read what `shape_of` wrote."""
    return tuple(Feature(name, Kind(kind)) for name, kind in msgspec.json.decode(shape))


def encode_block(columns: Sequence[list[Any]], features: Sequence[Feature]) -> bytes:
    """Validated values (see `events_features`), one list a feature, as a block."""
    return _encode([_pack(column, feature.kind) for column, feature in zip(columns, features, strict=True)])


def decode_blocks(blocks: Sequence[bytes], features: Sequence[Feature], rows: Sequence[int]) -> dict[str, Column]:
    """The columns of several blocks of one shape, one after the other, by feature name; `rows` is the size of each."""
    packed = [_decode(data) for data in blocks]
    return {
        feature.name: _UNPACK[feature.kind]([block[place] for block in packed], rows)
        for place, feature in enumerate(features)
    }


def _pack(values: list[Any], kind: Kind) -> object:
    if kind is Kind.CATEGORY:
        table: dict[str | None, int] = {None: -1}
        codes = [table.setdefault(value, len(table) - 1) for value in values]
        return [list(table)[1:], _bytes_of(codes, "i", "<i4")]
    if kind is Kind.BOOLEAN:
        return _bytes_of([-1 if value is None else value for value in values], "b", "i1")
    if None in values:
        values = [_NAN if value is None else value for value in values]
    return _bytes_of(values, "d", "<f8")


def _bytes_of(values: list[Any], code: str, dtype: str) -> bytes:
    """Little-endian bytes; a NumPy array costs two microseconds, which a single event would pay for every feature."""
    if len(values) <= _FEW:
        return struct.pack(f"<{len(values)}{code}", *values)
    return np.array(values, dtype=dtype).tobytes()


def _unpack_numbers(parts: Sequence[Any], _rows: Sequence[int]) -> Column:
    return np.frombuffer(b"".join(parts), dtype="<f8")


def _unpack_booleans(parts: Sequence[Any], _rows: Sequence[int]) -> Column:
    return Coded(np.frombuffer(b"".join(parts), dtype=np.int8).astype(np.int32), BOOLEAN_LABELS)


def _unpack_categories(parts: Sequence[Any], rows: Sequence[int]) -> Column:
    """Each block has labels of its own: shift its codes to where its labels stand in the list of all, then unite."""
    table: dict[str, int] = {}
    places = [-1]  # of "missing", which has the code -1 and so the first entry of each block's stretch
    starts = []
    for labels, _ in parts:
        starts.append(len(places))
        places += [table.setdefault(label, len(table)) for label in labels]
        places.append(-1)
    codes = np.frombuffer(b"".join(codes for _, codes in parts), dtype="<i4")
    stretch = np.repeat(np.array(starts, dtype=np.int64), rows)
    return Coded(np.array(places, dtype=np.int32)[stretch + codes], tuple(table))


_UNPACK = {
    Kind.NUMBER: _unpack_numbers,
    Kind.TIMESTAMP: _unpack_numbers,
    Kind.CATEGORY: _unpack_categories,
    Kind.BOOLEAN: _unpack_booleans,
}


def adapt_columns(columns: Mapping[str, Column], own: Sequence[Feature], wanted: Sequence[Feature]) -> Columns:
    """Columns of a shape as those of today's schema: other kinds are unreadable, other names are left out."""
    kinds = {feature.name: feature.kind for feature in own}
    rows = next((len(column.codes if isinstance(column, Coded) else column) for column in columns.values()), 0)
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in wanted:
        if feature.name not in columns:
            continue
        if kinds[feature.name] is feature.kind:
            values[feature.name] = in_words_of(feature, columns[feature.name])
        else:
            values[feature.name] = missing_column(feature.kind, rows)
            unreadable[feature.name] = rows
    return Columns(rows, values, unreadable)


def in_words_of(feature: Feature, column: Column) -> Column:
    """A stored column with the names of today's schema; they may have been learned after it was stored."""
    if feature.categories and isinstance(column, Coded):
        return rename_labels(column, feature.vocabulary.resolve)
    return column

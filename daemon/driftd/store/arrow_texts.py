"""Arrow columns of any type as text: codes into distinct names, and ids, in the one text form of `values`.

Each distinct value is named once: rows stay in Arrow's dictionaries and never become Python objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.store.events.columnar import join_columns
from driftd_detectors.columns import Coded, Column
from driftd_detectors.values import class_name, id_text

_UUID_BYTES = 16
_NO_PLAIN_ID = r"^\s|\s$|\.0*$|[eE]"  # of the texts that `id_text` may change


def coded(array: pa.ChunkedArray) -> tuple[Coded, int]:
    """A column as codes into the text of its distinct values, and how many values have no text (lists, objects)."""
    parts: list[Column] = []
    faults = 0
    for chunk in array.chunks:
        if has_text(chunk.type):
            parts.append(_coded_chunk(chunk))
        else:
            parts.append(Coded(np.full(len(chunk), -1, dtype=np.int32), ()))
            faults += len(chunk) - chunk.null_count
    if not parts:
        return Coded(np.empty(0, dtype=np.int32), ()), 0
    whole = join_columns(parts)
    assert isinstance(whole, Coded)
    return whole, faults


def has_text(kind: pa.DataType) -> bool:
    """Whether single values stand in a column of this type: no lists, no objects."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return not pa.types.is_nested(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def read_ids(array: pa.ChunkedArray) -> pa.Array:
    """Identities of any type as text: 5, 5.0 and "5.0" are one, and so are UUIDs as text and as 16 bytes."""
    array = _plain(array)
    kind = array.type
    if pa.types.is_integer(kind):
        return _whole(array.cast(pa.string()))
    if pa.types.is_string(kind):
        odd = pc.any(pc.match_substring_regex(array, _NO_PLAIN_ID)).as_py()
        if not odd:
            return _whole(array)
    found, _ = coded(array)
    names = pa.array([id_text(label) for label in found.labels], pa.string())
    codes = pa.array(found.codes, mask=found.codes < 0)
    return names.take(codes)


def values_of(dictionary: pa.Array) -> list[Any]:
    """The distinct values of a column as Python or NumPy scalars, floats in their own precision."""
    kind = dictionary.type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == _UUID_BYTES:
        return [None if value is None else UUID(bytes=value) for value in dictionary.to_pylist()]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return list(dictionary.to_numpy(zero_copy_only=False))
    values: list[Any] = dictionary.to_pylist()
    return values


def _coded_chunk(chunk: pa.Array) -> Coded:
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    if pa.types.is_null(chunk.type):
        return Coded(np.full(len(chunk), -1, dtype=np.int32), ())
    if not pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_encode()
    codes = chunk.indices.cast(pa.int32())
    codes = (codes.fill_null(-1) if codes.null_count else codes).to_numpy(zero_copy_only=False)
    return named(codes, values_of(chunk.dictionary), class_name)


def named(codes: NDArray[np.int32], values: list[Any], name: Callable[[Any], str]) -> Coded:
    """Codes into any values as codes into distinct texts: 1 and 1.0 meet, None and NaN are missing."""
    table: dict[str, int] = {}
    places = []
    for value in values:
        if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
            places.append(-1)
        else:
            places.append(table.setdefault(name(value), len(table)))
    if places == list(range(len(places))):
        return Coded(codes, tuple(table))
    return Coded(np.array([*places, -1], dtype=np.int32)[codes], tuple(table))


def _plain(array: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(array.type, pa.BaseExtensionType):
        return pa.chunked_array([chunk.storage for chunk in array.chunks], array.type.storage_type)
    if pa.types.is_dictionary(array.type):
        return array.cast(array.type.value_type)
    return array.cast(pa.string()) if is_text(array.type) else array


def _whole(array: pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)

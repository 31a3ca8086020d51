"""Between Arrow and the arrays of the statistics: for sealed segments, log files and snapshots.

Text goes from Arrow's dictionaries to codes without becoming Python objects, one object a *distinct* value only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.store.events.columnar import BOOLEAN_LABELS, joined
from driftd.store.events.feature_parsing import read_time_text
from driftd_detectors.columns import Coded, Column
from driftd_detectors.schema import Kind, class_name

_TRUTH = {"0": 0, "1": 1, "true": 1, "false": 0, "True": 1, "False": 0}


def read_column(array: pa.ChunkedArray | pa.Array, kind: Kind, *, numeric_text: bool = False) -> tuple[Column, int]:
    """An Arrow column as the feature's kind, and how many of its values could not be read as that (now missing).

    Text is no number, unless `numeric_text` says that the format cannot tell them apart, as in CSV.
    """
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    if kind is Kind.NUMBER and numeric_text and _is_text(array.type):
        return _looked_up(_coded(array), float)
    if kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        return _numbers(array, kind)
    coded = _coded(array)
    return _booleans(coded) if kind is Kind.BOOLEAN else (coded, 0)


def read_numbers(array: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """Times, scores and numbers of any Arrow type as float64; whatever cannot be read is NaN."""
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    kind = Kind.TIMESTAMP if pa.types.is_temporal(array.type) or _is_text(array.type) else Kind.NUMBER
    numbers, _ = _numbers(array, kind)
    return numbers


def to_arrow(column: Column, kind: Kind) -> pa.Array:
    """A column as users expect it in a data file: float64, string, bool or a UTC timestamp; missing is null."""
    if isinstance(column, Coded):
        labels = pa.array(column.labels, pa.string())
        text = pa.DictionaryArray.from_arrays(pa.array(column.codes, mask=column.codes < 0), labels).cast(pa.string())
        return pc.equal(text, "1") if kind is Kind.BOOLEAN else text
    if kind is Kind.TIMESTAMP:
        micros = np.round(np.where(np.abs(column) < 2**43, column, np.nan) * 1e6)  # beyond, microseconds overflow
        return pa.array(micros, pa.float64(), from_pandas=True).cast(pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.array(column, pa.float64(), from_pandas=True)


def _numbers(array: pa.ChunkedArray, kind: Kind) -> tuple[NDArray[np.float64], int]:
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(array.type):
        return _epoch_seconds(array) if kind is Kind.TIMESTAMP else _unreadable(array)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan), 0
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if _is_text(array.type) and kind is Kind.TIMESTAMP:
        return _looked_up(_coded(array), read_time_text)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_decimal(array.type):
        return _float64(array), 0
    return _unreadable(array)


def _float64(array: pa.ChunkedArray) -> NDArray[np.float64]:
    if array.type != pa.float64():
        array = array.cast(pa.float64(), safe=False)
    # Nulls become NaN.
    parts: list[NDArray[np.float64]] = [chunk.to_numpy(zero_copy_only=False) for chunk in array.chunks]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0)


def _epoch_seconds(array: pa.ChunkedArray) -> tuple[NDArray[np.float64], int]:
    per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[array.type.unit]
    return _float64(array.cast(pa.int64())) / per_second, 0


def _unreadable(array: pa.ChunkedArray) -> tuple[NDArray[np.float64], int]:
    return np.full(len(array), np.nan), len(array) - array.null_count


def _looked_up(coded: Coded, read: Callable[[str], float]) -> tuple[NDArray[np.float64], int]:
    """Each distinct text read once; empty text is missing."""
    numbers, faults = [], []
    for label in coded.labels:
        try:
            numbers.append(read(label) if label else math.nan)
            faults.append(False)
        except ValueError:
            numbers.append(math.nan)
            faults.append(True)
    places = coded.codes
    return np.array([*numbers, math.nan])[places], int(np.count_nonzero(np.array([*faults, False])[places]))


def _coded(array: pa.ChunkedArray) -> Coded:
    """Any column as text codes; the labels of numbers and booleans are in the one text form of `class_name`."""
    parts: list[Column] = [_coded_chunk(chunk) for chunk in array.chunks]
    if not parts:
        return Coded(np.empty(0, dtype=np.int32), ())
    whole = joined(parts)
    assert isinstance(whole, Coded)
    return whole


def _coded_chunk(chunk: pa.Array) -> Coded:
    if pa.types.is_null(chunk.type):
        return Coded(np.full(len(chunk), -1, dtype=np.int32), ())
    if not pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_encode()
    codes = chunk.indices.cast(pa.int32())
    codes = (codes.fill_null(-1) if codes.null_count else codes).to_numpy(zero_copy_only=False)
    return _relabelled(codes, chunk.dictionary.to_pylist())


def _relabelled(codes: NDArray[np.int32], values: Iterable[Any]) -> Coded:
    """Codes into any values as codes into distinct texts: 1 and 1.0 meet, None and NaN are missing."""
    table: dict[str, int] = {}
    places = []
    for value in values:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            places.append(-1)
        else:
            label = value if isinstance(value, str) else class_name(value)
            places.append(table.setdefault(label, len(table)))
    if places == list(range(len(places))):
        return Coded(codes, tuple(table))
    return Coded(np.array([*places, -1], dtype=np.int32)[codes], tuple(table))


def _booleans(coded: Coded) -> tuple[Coded, int]:
    places = np.array([*(_TRUTH.get(label, -1) for label in coded.labels), -1], dtype=np.int32)
    codes = places[coded.codes]
    return Coded(codes, BOOLEAN_LABELS), int(np.count_nonzero((codes < 0) & (coded.codes >= 0)))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))

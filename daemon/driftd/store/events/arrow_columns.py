"""Between Arrow and the arrays of the statistics: for sealed segments, log files and snapshots.

Text goes from Arrow's dictionaries to codes without becoming Python objects, one object a *distinct* value only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.store.arrow_texts import coded, is_text
from driftd.store.events.columnar import BOOLEAN_LABELS
from driftd.store.events.feature_parsing import read_time_text
from driftd_detectors.columns import Coded, Column, renamed
from driftd_detectors.schema import Feature, Kind
from driftd_detectors.values import number_of_text, truth_of_text

_BASIC_DATES = (1e7, 1e8)  # numbers of eight digits


def read_feature(
    array: pa.ChunkedArray | pa.Array, feature: Feature, *, numeric_text: bool = False
) -> tuple[Column, int]:
    """An Arrow column as values of a feature, and how many could not be read as its kind (now missing).

    Text is no number, unless `numeric_text` says that the format cannot tell them apart, as in CSV. The texts of a
    category are resolved against those that the schema knows.
    """
    column, faults = read_column(array, feature.kind, numeric_text=numeric_text)
    if feature.categories and isinstance(column, Coded):
        return renamed(column, feature.vocabulary.resolve), faults
    return column, faults


def read_column(array: pa.ChunkedArray | pa.Array, kind: Kind, *, numeric_text: bool = False) -> tuple[Column, int]:
    """The same of a kind alone: a category has the text form of its values."""
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    if kind is Kind.NUMBER and numeric_text and is_text(array.type):
        return _look_up(coded(array)[0], number_of_text)
    if kind is Kind.TIMESTAMP and numeric_text and _holds_basic_dates(array):
        return _look_up(coded(array)[0], read_time_text)
    if kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        return _numbers(array, kind)
    texts, faults = coded(array)
    if kind is Kind.BOOLEAN:
        truth, unread = _booleans(texts)
        return truth, unread + faults
    return texts, faults


def read_numbers(array: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """Times, scores and numbers of any Arrow type as float64; whatever cannot be read is NaN."""
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    kind = Kind.TIMESTAMP if pa.types.is_temporal(array.type) or is_text(array.type) else Kind.NUMBER
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
        array = array.cast(pa.timestamp("ms" if pa.types.is_date64(array.type) else "s"))
    if pa.types.is_timestamp(array.type):
        return _epoch_seconds(array) if kind is Kind.TIMESTAMP else _unreadable(array)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan), 0
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if is_text(array.type) and kind is Kind.TIMESTAMP:
        return _look_up(coded(array)[0], read_time_text)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_decimal(array.type):
        return _float64(array), 0
    return _unreadable(array)


def _float64(array: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())  # Arrow's own cast is not the nearest float: 0.57 becomes 0.5700000000000001
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


def _look_up(texts: Coded, read: Callable[[str], float]) -> tuple[NDArray[np.float64], int]:
    """Each distinct text read once; empty text is missing."""
    numbers, faults = [], []
    for label in texts.labels:
        try:
            numbers.append(read(label) if label.strip() else math.nan)
            faults.append(False)
        except ValueError:
            numbers.append(math.nan)
            faults.append(True)
    places = texts.codes
    return np.array([*numbers, math.nan])[places], int(np.count_nonzero(np.array([*faults, False])[places]))


def _holds_basic_dates(array: pa.ChunkedArray) -> bool:
    """Whether an untyped format may have taken dates such as 20240131 for numbers."""
    if not pa.types.is_integer(array.type):
        return False
    low, high = (value.as_py() for value in pc.min_max(array).values())
    return low is not None and high >= _BASIC_DATES[0] and low < _BASIC_DATES[1]


def _booleans(texts: Coded) -> tuple[Coded, int]:
    truths = [truth_of_text(label) for label in texts.labels]
    places = np.array([*(-1 if truth is None else truth for truth in truths), -1], dtype=np.int32)
    codes = places[texts.codes]
    return Coded(codes, BOOLEAN_LABELS), int(np.count_nonzero((codes < 0) & (texts.codes >= 0)))

"""Between Arrow and the arrays of the statistics: texts, numbers, times, booleans, identifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd_detectors.columns import (
    BOOLEAN_LABELS,
    Coded,
    Column,
    Columns,
    Numbers,
    Outcomes,
    join_columns,
    missing_column,
    rename_labels,
)
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.times import read_time_text
from driftd_detectors.values import class_name, id_text, number_of_text, truth_of_text

_UUID_BYTES = 16
_NO_PLAIN_ID = r"^\s|\s$|\.0*$|[eE]"  # of the texts that `id_text` may change


def encode_texts(array: pa.ChunkedArray) -> tuple[Coded, int]:
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


def without_views(table: pa.Table) -> pa.Table:
    """Views as plain texts: Arrow filters and takes no view."""
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    if not any(kind in plain for kind in table.schema.types):
        return table
    return table.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in table.schema]))


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
    found, _ = encode_texts(array)
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
    return encode_names(codes, values_of(chunk.dictionary), class_name)


def encode_names(codes: NDArray[np.int32], values: list[Any], name: Callable[[Any], str]) -> Coded:
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


_BASIC_DATE = 8  # characters of 20240131, which is a date and not a count of seconds
_WHOLE_COLUMN = (pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.float64())
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
        return rename_labels(column, feature.vocabulary.resolve), faults
    return column, faults


def read_column(array: pa.ChunkedArray | pa.Array, kind: Kind, *, numeric_text: bool = False) -> tuple[Column, int]:
    """The same of a kind alone: a category has the text form of its values."""
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    if kind is Kind.NUMBER and numeric_text and is_text(array.type):
        return _look_up(encode_texts(array)[0], number_of_text)
    if kind is Kind.TIMESTAMP and numeric_text and _holds_basic_dates(array):
        return _look_up(encode_texts(array)[0], read_time_text)
    if kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        return _numbers(array, kind)
    texts, faults = encode_texts(array)
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


def read_times(column: pa.ChunkedArray | pa.Array, null_at: float | None = None) -> Numbers:
    """A column of times as epoch seconds; NaN where there is none or where it cannot be read as one.

    Where `null_at` is given, it is the time of rows that have none.
    A column of texts is cast as a whole where every text has one form, else text by text: the values are the same.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        times = np.full(len(column), np.nan)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        times = _times_of_text(column)
    else:
        times = read_numbers(column)
    if null_at is None or not column.null_count:
        return times
    return np.where(column.is_null().to_numpy(), null_at, times)


def _times_of_text(column: pa.ChunkedArray) -> Numbers:
    for kind in _WHOLE_COLUMN:
        try:
            cast = column.cast(kind)
        except pa.ArrowInvalid:
            continue
        if kind == pa.float64() and pc.any(pc.equal(pc.utf8_length(column), _BASIC_DATE)).as_py():
            break
        return read_numbers(cast)
    return read_numbers(column)


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
        return _look_up(encode_texts(array)[0], read_time_text)
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


def table_of(ids: Sequence[str] | pa.Array, columns: Columns, outcomes: Outcomes, schema: Schema) -> pa.Table:
    """Every feature (all null where the source has none), the target, and the columns named `driftd_...`."""
    arrays = {
        feature.name: to_arrow(
            columns.values.get(feature.name, missing_column(feature.kind, columns.rows)), feature.kind
        )
        for feature in schema.features
    }
    arrays[schema.target] = _outcome(outcomes.label, outcomes, schema)
    arrays["driftd_id"] = pa.array(ids, pa.string())
    arrays["driftd_at"] = pa.array(outcomes.at, pa.float64())
    arrays["driftd_label_at"] = pa.array(outcomes.label_at, pa.float64(), from_pandas=True)
    arrays["driftd_version"] = pa.array(outcomes.version, pa.int64())
    arrays["driftd_prediction"] = _outcome(outcomes.prediction, outcomes, schema)
    arrays["driftd_score"] = pa.array(outcomes.score, pa.float64(), from_pandas=True)
    return pa.table(arrays)


def _outcome(values: Numbers, outcomes: Outcomes, schema: Schema) -> pa.Array:
    if schema.task is Task.REGRESSION:
        return pa.array(values, pa.float64(), from_pandas=True)
    return to_arrow(outcomes.texts(values), Kind.CATEGORY)

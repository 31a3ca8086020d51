"""pandas at the border: a DataFrame as Columns. pandas is imported only by those who already hold a DataFrame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from driftd_detectors.columns import Coded, Column, Columns, Numbers
from driftd_detectors.schema import Kind, Schema, class_name

if TYPE_CHECKING:
    import pandas as pd

_TRUTH = {"0": 0, "1": 1, "true": 1, "false": 0, "True": 1, "False": 0}


def columns_of(frame: pd.DataFrame, schema: Schema) -> Columns:
    """The features of a DataFrame under a schema.

    Features that the frame lacks are absent from the result. Values that cannot be read as their feature's kind are
    missing in it and counted in `unreadable`.
    """
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in schema.features:
        if feature.name in frame.columns:
            values[feature.name], faults = _READERS[feature.kind](frame[feature.name])
            if faults:
                unreadable[feature.name] = faults
    return Columns(len(frame), values, unreadable)


def _numbers(series: pd.Series[Any]) -> tuple[Numbers, int]:
    import pandas as pd  # noqa: PLC0415 - only those who hold a DataFrame have it

    if series.dtype.kind in "mM":  # a duration or a time where a number belongs
        return np.full(len(series), np.nan), int(series.notna().sum())
    if _is_coded(series):
        looked_up = pd.to_numeric(series.where(~series.map(lambda value: isinstance(value, str))), errors="coerce")
        numbers = looked_up.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers, int((np.isnan(numbers) & series.notna().to_numpy()).sum())


def _times(series: pd.Series[Any]) -> tuple[Numbers, int]:
    import pandas as pd  # noqa: PLC0415

    if series.dtype.kind in "iuf":
        return series.to_numpy(dtype=np.float64, na_value=np.nan), 0
    times = pd.to_datetime(series, errors="coerce", utc=True, format=None if series.dtype.kind == "M" else "ISO8601")
    there = times.notna().to_numpy()
    seconds = np.where(there, times.dt.as_unit("us").astype("int64").to_numpy() / 1e6, np.nan)
    return seconds, int((~there & series.notna().to_numpy()).sum())


def _labels(series: pd.Series[Any]) -> tuple[Coded, int]:
    import pandas as pd  # noqa: PLC0415

    codes, distinct = pd.factorize(series, use_na_sentinel=True)
    table: dict[str, int] = {}
    places = [table.setdefault(class_name(value), len(table)) for value in distinct.tolist()]
    return Coded(np.array([*places, -1], dtype=np.int32)[codes], tuple(table)), 0


def _truth(series: pd.Series[Any]) -> tuple[Coded, int]:
    coded, _ = _labels(series)
    places = np.array([*(_TRUTH.get(label, -1) for label in coded.labels), -1], dtype=np.int32)
    codes = places[coded.codes]
    return Coded(codes, ("0", "1")), int(((codes < 0) & (coded.codes >= 0)).sum())


def _is_coded(series: pd.Series[Any]) -> bool:
    return series.dtype.kind == "O" or str(series.dtype) in {"category", "string", "str"}


_READERS: dict[Kind, Callable[[pd.Series[Any]], tuple[Column, int]]] = {
    Kind.NUMBER: _numbers,
    Kind.TIMESTAMP: _times,
    Kind.CATEGORY: _labels,
    Kind.BOOLEAN: _truth,
}

"""DataFrames at the border."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from driftd_detectors.columns import Coded, columns_of
from driftd_detectors.schema import Feature, Kind, Schema, Task


def read(series: pd.Series, kind: Kind):  # type: ignore[type-arg,no-untyped-def]  # any column
    columns = columns_of(series.to_frame("x"), Schema(Task.REGRESSION, "y", (Feature("x", kind),)))
    return columns.values["x"], columns.unreadable.get("x", 0)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2, 3]),
        pd.Series([1, 2, 3], dtype="Int64"),
        pd.Series([1.0, 2.0, 3.0], dtype="float32"),
        pd.Series([1, 2.0, 3], dtype=object),
        pd.Series([1, 2, 3], dtype="category"),
    ],
)
def test_numbers(series: pd.Series) -> None:  # type: ignore[type-arg]
    """Numbers of any pandas type become float64."""
    values, unreadable = read(series, Kind.NUMBER)
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert unreadable == 0


def test_numbers_that_are_none() -> None:
    """Missing numbers are NaN; text, and times in the place of numbers, are unreadable too."""
    values, unreadable = read(pd.Series([1, pd.NA, 3], dtype="Int64"), Kind.NUMBER)
    assert np.isnan(values[1])
    assert unreadable == 0
    values, unreadable = read(pd.Series([1.5, "12 km", None], dtype=object), Kind.NUMBER)
    assert values[0] == 1.5
    assert np.isnan(values[1:]).all()
    assert unreadable == 1
    assert read(pd.Series(["a", "b"]), Kind.NUMBER)[1] == 2
    assert read(pd.Series(pd.to_datetime(["2024-01-01"])), Kind.NUMBER)[1] == 1


def test_times() -> None:
    """Times with and without a zone, as text and as numbers, are epoch seconds; what is no time is counted."""
    expected = 1_704_067_200.0
    for series in (
        pd.Series(pd.to_datetime(["2024-01-01", None])),
        pd.Series(pd.to_datetime(["2024-01-01T01:00:00+01:00", None])),
        pd.Series(["2024-01-01", None], dtype=object),
        pd.Series([expected, np.nan]),
    ):
        values, unreadable = read(series, Kind.TIMESTAMP)
        assert values[0] == expected
        assert np.isnan(values[1])
        assert unreadable == 0
    assert read(pd.Series(["2024-01-01", "soon"]), Kind.TIMESTAMP)[1] == 1


@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_labels(dtype: object) -> None:
    """Text of any pandas type becomes codes into its distinct labels; missing is -1."""
    values, unreadable = read(pd.Series(["b", None, "a", "b"], dtype=dtype), Kind.CATEGORY)
    assert isinstance(values, Coded)
    assert [values.labels[code] if code >= 0 else None for code in values.codes] == ["b", None, "a", "b"]
    assert unreadable == 0


def test_labels_of_different_writers_meet() -> None:
    """1, 1.0 and "1" are one label."""
    values, _ = read(pd.Series([1, 1.0, "1"], dtype=object), Kind.CATEGORY)
    assert values.labels == ("1",)


def test_truth() -> None:
    """Booleans of any form have the labels 0 and 1; what is neither is counted."""
    values, unreadable = read(pd.Series([True, False, None, "true", 0, "maybe"], dtype=object), Kind.BOOLEAN)
    assert values.codes.tolist() == [1, 0, -1, 1, 0, -1]
    assert unreadable == 1


def test_absent_column() -> None:
    """A feature that the frame lacks is absent, not missing."""
    schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER), Feature("z", Kind.NUMBER)))
    assert set(columns_of(pd.DataFrame({"x": [1.0]}), schema).values) == {"x"}

"""The one form in which rows reach the statistics: named columns of NumPy arrays, also from a DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.schema import Feature, Kind, Schema
from driftd_detectors.values import ClassCodes, class_name, truth_of_text

if TYPE_CHECKING:
    import pandas as pd

Numbers = NDArray[np.float64]  # missing is NaN; timestamps are epoch seconds
Codes = NDArray[np.int32]
BOOLEAN_LABELS = ("0", "1")


@dataclass(frozen=True, slots=True)
class Coded:
    """A text or boolean column as codes into its labels; missing is -1. Booleans have labels ("0", "1")."""

    codes: Codes
    labels: tuple[str, ...]


Column = Numbers | Coded


@dataclass(frozen=True, slots=True)
class Columns:
    """Some rows of a model, column by column.

    A feature that the source did not deliver at all is absent from `values`. Values that could not be read as
    the feature's kind are missing in `values` and counted in `unreadable`.
    """

    rows: int
    values: Mapping[str, Column]
    unreadable: Mapping[str, int]

    def rename_categories(self, names: Mapping[str, Callable[[str], str]]) -> Columns:
        """The same with the categories of some features in other names."""
        values = {
            name: rename_labels(column, names[name]) if name in names and isinstance(column, Coded) else column
            for name, column in self.values.items()
        }
        return Columns(self.rows, values, self.unreadable)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The predictions of one window with the labels known so far; arrays of one length.

    `prediction` and `label` are class codes into `classes` (-1: no label yet) for classification, numbers (NaN: no
    label yet) for regression. Texts outside the classes of the version have the codes -2, -3, ... into `unseen`: they
    never change what the classes mean. `score` is the probability described in `Schema`, NaN where the application
    sent none. `version` is -1 where a row names none, 0 where it was predicted elsewhere. Times are epoch seconds;
    `label_at` is NaN where there is no label yet, minus infinity where there is one that nobody has said the time of.
    """

    at: Numbers
    prediction: Numbers
    score: Numbers
    label: Numbers
    label_at: Numbers
    version: NDArray[np.int64]
    classes: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()  # texts outside the classes
    unreadable_scores: int = 0  # values that are no probability, counted as missing too
    own_loss: Numbers | None = None  # of each row under the user's own function; None where nobody has called it
    sampling: Numbers | None = None  # what the label of each row counts where labels were asked for; None: 1 each

    @property
    def rows(self) -> int:
        """How many predictions there are."""
        return len(self.at)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which predictions have their label."""
        return ~np.isnan(self.label_at)

    @property
    def strays(self) -> NDArray[np.bool_]:
        """Which predictions have a label outside the classes of the version."""
        outside: NDArray[np.bool_] = self.labelled & (self.label < 0)
        return outside if self.classes else np.zeros(self.rows, dtype=np.bool_)

    def among(self, classes: tuple[str, ...]) -> Outcomes:
        """The same in the codes of other classes, those of the version that is watched; scores stay as they are."""
        if classes == self.classes or not self.classes:
            return self
        codes = ClassCodes(classes)

        def recode(values: Numbers) -> Numbers:
            column = self.texts(values)
            places = [codes.of(label) for label in column.labels]
            return np.array([*places, -1], dtype=np.float64)[column.codes]

        prediction, label = recode(self.prediction), recode(self.label)
        return replace(self, prediction=prediction, label=label, classes=classes, unseen=codes.unseen)

    def texts(self, values: Numbers) -> Coded:
        """Predictions or labels of a classification as a text column, those outside the classes too."""
        known = np.nan_to_num(values, nan=-1.0).astype(np.int32)
        outside = np.where(known < -1, len(self.classes) - 2 - known, -1).astype(np.int32)
        return Coded(np.where(known >= 0, known, outside).astype(np.int32), self.classes + self.unseen)


def rename_labels(column: Coded, name: Callable[[str], str]) -> Coded:
    """A text column with other labels; labels that get one name become one."""
    table: dict[str, int] = {}
    places = [table.setdefault(name(label), len(table)) for label in column.labels]
    if tuple(table) == column.labels:
        return column
    return Coded(np.array([*places, -1], dtype=np.int32)[column.codes], tuple(table))


def join_columns(parts: Sequence[Column]) -> Column:
    """Columns of one feature, one after the other; the labels of coded ones are united."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if not isinstance(first, Coded):
        return np.concatenate([part for part in parts if not isinstance(part, Coded)])
    table: dict[str, int] = {}
    codes = []
    for part in parts:
        assert isinstance(part, Coded)
        places = [table.setdefault(label, len(table)) for label in part.labels]
        if places == list(range(len(places))):  # the labels stand where they stood
            codes.append(part.codes)
        else:
            codes.append(np.array([*places, -1], dtype=np.int32)[part.codes])
    return Coded(np.concatenate(codes), tuple(table))


def take_rows(column: Column, positions: NDArray[np.int64]) -> Column:
    """Some rows of a column."""
    if isinstance(column, Coded):
        return Coded(column.codes[positions], column.labels)
    return column[positions]


def stack_columns(parts: Sequence[Columns], features: Sequence[Feature]) -> Columns:
    """Parts of a window one after the other; a feature that only some lack is missing there."""
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in features:
        name = feature.name
        if any(name in part.values for part in parts):
            values[name] = join_columns(
                [part.values.get(name, missing_column(feature.kind, part.rows)) for part in parts]
            )
        count = sum(part.unreadable.get(name, 0) for part in parts)
        if count:
            unreadable[name] = count
    return Columns(sum(part.rows for part in parts), values, unreadable)


def missing_column(kind: Kind, rows: int) -> Column:
    """A column of nothing but missing values."""
    if kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        return np.full(rows, np.nan)
    return Coded(np.full(rows, -1, dtype=np.int32), BOOLEAN_LABELS if kind is Kind.BOOLEAN else ())


def columns_of(frame: pd.DataFrame, schema: Schema) -> Columns:
    """The features of a DataFrame under a schema.

    Features that the frame lacks are absent from the result. Values that cannot be read as their feature's kind are
    missing in it and counted in `unreadable`.
    """
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in schema.features:
        if feature.name in frame.columns:
            column, faults = _READERS[feature.kind](frame[feature.name])
            if feature.categories and isinstance(column, Coded):
                column = rename_labels(column, feature.vocabulary.resolve)
            values[feature.name] = column
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
    places = [table.setdefault(class_name(value), len(table)) for value in distinct]
    return Coded(np.array([*places, -1], dtype=np.int32)[codes], tuple(table)), 0


def _truth(series: pd.Series[Any]) -> tuple[Coded, int]:
    coded, _ = _labels(series)
    truths = [truth_of_text(label) for label in coded.labels]
    places = np.array([*(-1 if truth is None else truth for truth in truths), -1], dtype=np.int32)
    codes = places[coded.codes]
    return Coded(codes, BOOLEAN_LABELS), int(((codes < 0) & (coded.codes >= 0)).sum())


def _is_coded(series: pd.Series[Any]) -> bool:
    return series.dtype.kind == "O" or str(series.dtype) in {"category", "string", "str"}


_READERS: dict[Kind, Callable[[pd.Series[Any]], tuple[Column, int]]] = {
    Kind.NUMBER: _numbers,
    Kind.TIMESTAMP: _times,
    Kind.CATEGORY: _labels,
    Kind.BOOLEAN: _truth,
}

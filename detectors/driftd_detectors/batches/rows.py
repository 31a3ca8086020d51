"""Rows of any engine in the form of the statistics: read from Arrow, cut, joined, and given back as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftd_detectors.batches.arrow_columns import read_column, read_feature, read_ids, read_times, table_of
from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes, stack_columns, take_rows
from driftd_detectors.outcome_rows import no_label, recode, stack_outcomes, take_outcomes
from driftd_detectors.schema import Kind, Schema, Task
from driftd_detectors.values import ClassCodes

NOWHERE = "\0"  # the name of no column


@dataclass(frozen=True, slots=True)
class RowNames:
    """What the columns are called; a name that no column has is missing in every row."""

    id: str = "prediction_id"
    at: str = "at"
    prediction: str = "prediction"
    score: str = "score"
    version: str = "version"
    label: str = "label"
    label_at: str = "label_at"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows; `ids` is an Arrow array of texts."""

    ids: pa.Array
    columns: Columns
    outcomes: Outcomes

    def __len__(self) -> int:
        return len(self.outcomes.at)

    @classmethod
    def read(
        cls,
        table: pa.Table,
        names: RowNames,
        schema: Schema,
        *,
        numeric_text: bool = False,
        arrived_at: float = float("nan"),
        first_row: int = 0,
    ) -> Self:
        """A table as rows; what it lacks is missing, but times are `arrived_at` and identities row numbers."""
        present = set(table.column_names)
        values: dict[str, Column] = {}
        unreadable: dict[str, int] = {}
        for feature in schema.features:
            if feature.name in present:
                column = table.column(feature.name)
                values[feature.name], count = read_feature(column, feature, numeric_text=numeric_text)
                if count:
                    unreadable[feature.name] = count
        rows = len(table)
        return cls(
            ids_of(table, names.id, first_row),
            Columns(rows, values, unreadable),
            _outcomes(table, names, schema, numeric_text=numeric_text, arrived_at=arrived_at),
        )

    @classmethod
    def stack(cls, parts: Sequence[Self], schema: Schema) -> Self:
        """Rows one after the other."""
        if len(parts) == 1:
            return parts[0]
        ids = pa.chunked_array([part.ids for part in parts], pa.string()).combine_chunks()
        return cls(
            ids,
            stack_columns([part.columns for part in parts], schema.features),
            stack_outcomes([part.outcomes for part in parts], schema.classes),
        )

    def where(self, mask: NDArray[np.bool_]) -> Self:
        """The rows for which `mask` holds. Unreadable values are counted in proportion: which rows had them is lost."""
        if mask.all():
            return self
        rows = self.take(np.flatnonzero(mask))
        share = len(rows) / max(len(mask), 1)
        unreadable = {name: round(count * share) for name, count in self.columns.unreadable.items()}
        scores = round(self.outcomes.unreadable_scores * share)
        return replace(
            rows,
            columns=replace(rows.columns, unreadable=unreadable),
            outcomes=replace(rows.outcomes, unreadable_scores=scores),
        )

    def take(self, places: NDArray[np.int64]) -> Self:
        """The rows at these places. Unreadable values keep their counts."""
        columns = {name: take_rows(column, places) for name, column in self.columns.values.items()}
        rows = Columns(len(places), columns, self.columns.unreadable)
        return type(self)(self.ids.take(pa.array(places)), rows, take_outcomes(self.outcomes, places))

    def table(self, schema: Schema) -> pa.Table:
        """The rows as users know them."""
        return table_of(self.ids, self.columns, self.outcomes, schema)


def ids_of(table: pa.Table, name: str, first_row: int) -> pa.Array:
    """The identities of rows as texts; the numbers of the rows where there are none."""
    if name in table.column_names:
        return read_ids(table.column(name))
    return pa.array([f"row {first_row + place}" for place in range(len(table))], pa.string())


@dataclass(frozen=True, slots=True)
class _OutcomeColumns:
    """The columns of a table that are no features; one that is absent is missing in every row."""

    table: pa.Table
    schema: Schema
    codes: ClassCodes
    numeric_text: bool

    def times(self, name: str, default: float = np.nan) -> Numbers:
        if name not in self.table.column_names:
            return np.full(len(self.table), default)
        return read_times(self.table.column(name))

    def numbers(self, name: str) -> tuple[Numbers, int]:
        """Numbers, and how many values are none (and so missing)."""
        if name not in self.table.column_names:
            return np.full(len(self.table), np.nan), 0
        column, faults = read_column(self.table.column(name), Kind.NUMBER, numeric_text=self.numeric_text)
        assert not isinstance(column, Coded)
        return column, faults

    def scores(self, name: str) -> tuple[Numbers, int]:
        """Probabilities, and how many values are none (and so missing); a regression has no scores."""
        scores, faults = self.numbers(NOWHERE if self.schema.task is Task.REGRESSION else name)
        bad = (scores < 0.0) | (scores > 1.0)
        return np.where(bad, np.nan, scores), faults + int(np.count_nonzero(bad))

    def outcomes(self, name: str) -> Numbers:
        """Predictions or labels: numbers, or the codes of classes."""
        if self.schema.task is Task.REGRESSION:
            return self.numbers(name)[0]
        if name not in self.table.column_names:
            return np.full(len(self.table), no_label(self.schema))
        column, _ = read_column(self.table.column(name), Kind.CATEGORY, numeric_text=self.numeric_text)
        assert isinstance(column, Coded)
        return recode(column, self.codes)


def _outcomes(table: pa.Table, names: RowNames, schema: Schema, *, numeric_text: bool, arrived_at: float) -> Outcomes:
    codes = ClassCodes(schema.classes)
    columns = _OutcomeColumns(table, schema, codes, numeric_text)
    at = columns.times(names.at, arrived_at)
    label = columns.outcomes(names.label)
    known = ~np.isnan(label) if schema.task is Task.REGRESSION else label != no_label(schema)
    label_at = np.where(known, np.fmax(columns.times(names.label_at), np.nan), np.nan)
    label_at = np.where(known & np.isnan(label_at), at, label_at)  # it came with its row
    version, _ = columns.numbers(names.version)
    prediction = columns.outcomes(names.prediction)
    score, unreadable = columns.scores(names.score)
    return Outcomes(
        at=at,
        prediction=prediction,
        score=score,
        label=label,
        label_at=label_at,
        version=np.where(np.isfinite(version), version, -1.0).astype(np.int64),
        classes=schema.classes,
        unseen=codes.unseen,
        unreadable_scores=unreadable,
    )

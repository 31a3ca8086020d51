"""Rows of log files in the form of the statistics: cutting, joining and labelling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftd.sources.files_settings import NOWHERE, ColumnMapping
from driftd.sources.protocol import chunk_rows
from driftd.sources.row_counts import read_times
from driftd.store.events.arrow_columns import read_column, read_feature, read_ids, table_of
from driftd.store.events.columnar import stack_columns
from driftd.store.events.reader import EventReader
from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes, take_rows
from driftd_detectors.schema import Kind, Schema, Task
from driftd_detectors.values import ClassCodes


@dataclass(frozen=True, slots=True)
class FileRows:
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
        names: ColumnMapping,
        schema: Schema,
        *,
        numeric_text: bool,
        arrived_at: float,
        first_row: int,
    ) -> FileRows:
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
    def stack(cls, parts: Sequence[FileRows], schema: Schema) -> FileRows:
        """Rows one after the other."""
        if len(parts) == 1:
            return parts[0]
        ids = pa.chunked_array([part.ids for part in parts], pa.string()).combine_chunks()
        return cls(
            ids,
            stack_columns([part.columns for part in parts], schema.features),
            _stacked_outcomes([part.outcomes for part in parts], schema),
        )

    def where(self, mask: NDArray[np.bool_]) -> FileRows:
        """The rows for which `mask` holds. Unreadable values are counted in proportion: which rows had them is lost."""
        if mask.all():
            return self
        places = np.flatnonzero(mask)
        share = len(places) / max(len(mask), 1)
        columns = Columns(
            len(places),
            {name: take_rows(column, places) for name, column in self.columns.values.items()},
            {name: round(count * share) for name, count in self.columns.unreadable.items()},
        )
        outcomes = self.outcomes
        cut = Outcomes(
            outcomes.at[places],
            outcomes.prediction[places],
            outcomes.score[places],
            outcomes.label[places],
            outcomes.label_at[places],
            outcomes.version[places],
            outcomes.classes,
            outcomes.unseen,
            round(outcomes.unreadable_scores * share),
        )
        return FileRows(self.ids.take(pa.array(places)), columns, cut)

    def with_labels(self, reader: EventReader, schema: Schema, known_by: float) -> FileRows:
        """Labels not known by then removed, and those of the event store taken over where they are newer."""
        outcomes = self.outcomes
        unknown = ~(outcomes.label_at <= known_by)
        label = np.where(unknown, _no_label(schema), outcomes.label)
        label_at = np.where(unknown, np.nan, outcomes.label_at)
        codes = _codes_of(outcomes)
        if reader.exists and len(self):
            found, found_at = reader.labels_of(self.ids.to_pylist(), known_by)
            for place in np.flatnonzero(~np.isnan(found_at) & ~(found_at < label_at)).tolist():
                value = found[place]
                label_at[place] = found_at[place]
                label[place] = value if isinstance(value, float) else codes.of(str(value))
        return replace(self, outcomes=replace(outcomes, label=label, label_at=label_at, unseen=codes.unseen))

    def label_values(self, schema: Schema) -> list[str | float | None]:
        """The labels as they are sent: class texts or numbers; None where there is none."""
        if schema.task is Task.REGRESSION:
            return [None if np.isnan(outcome) else float(outcome) for outcome in self.outcomes.label]
        texts = self.outcomes.texts(self.outcomes.label)
        return [None if code < 0 else texts.labels[code] for code in texts.codes.tolist()]

    def table(self, schema: Schema) -> pa.Table:
        """The rows as users know them."""
        return table_of(self.ids, self.columns, self.outcomes, schema)


def gather(parts: Iterable[FileRows], schema: Schema) -> Iterator[FileRows]:
    """Rows in chunks of about `chunk_rows`, however small or large the stretches are."""
    most = chunk_rows(len(schema.features))
    waiting: list[FileRows] = []
    size = 0
    for part in parts:
        if len(part) == 0:
            continue
        if waiting and size + len(part) > most:
            yield FileRows.stack(waiting, schema)
            waiting, size = [], 0
        waiting.append(part)
        size += len(part)
    if waiting:
        yield FileRows.stack(waiting, schema)


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
            return np.full(len(self.table), _no_label(self.schema))
        column, _ = read_column(self.table.column(name), Kind.CATEGORY, numeric_text=self.numeric_text)
        assert isinstance(column, Coded)
        return _recode(column, self.codes)


def _outcomes(
    table: pa.Table, names: ColumnMapping, schema: Schema, *, numeric_text: bool, arrived_at: float
) -> Outcomes:
    codes = ClassCodes(schema.classes)
    columns = _OutcomeColumns(table, schema, codes, numeric_text)
    at = columns.times(names.at, arrived_at)
    label = columns.outcomes(names.label)
    known = ~np.isnan(label) if schema.task is Task.REGRESSION else label != _no_label(schema)
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


def _stacked_outcomes(parts: Sequence[Outcomes], schema: Schema) -> Outcomes:
    codes = ClassCodes(schema.classes)

    def recode(part: Outcomes, values: Numbers) -> Numbers:
        if schema.task is Task.REGRESSION or not part.unseen:
            return values
        return _recode(part.texts(values), codes)

    def join(arrays: list[Numbers]) -> Numbers:
        return np.concatenate(arrays) if arrays else np.empty(0)

    return Outcomes(
        at=join([part.at for part in parts]),
        prediction=join([recode(part, part.prediction) for part in parts]),
        score=join([part.score for part in parts]),
        label=join([recode(part, part.label) for part in parts]),
        label_at=join([part.label_at for part in parts]),
        version=np.concatenate([part.version for part in parts]) if parts else np.empty(0, dtype=np.int64),
        classes=schema.classes,
        unseen=codes.unseen,
        unreadable_scores=sum(part.unreadable_scores for part in parts),
    )


def _recode(column: Coded, codes: ClassCodes) -> Numbers:
    places = [codes.of(label) for label in column.labels]
    return np.array([*places, -1], dtype=np.float64)[column.codes]


def _codes_of(outcomes: Outcomes) -> ClassCodes:
    """The codes that some outcomes have already, to go on with."""
    codes = ClassCodes(outcomes.classes)
    for text in outcomes.unseen:
        codes.of(text)
    return codes


def _no_label(schema: Schema) -> float:
    return np.nan if schema.task is Task.REGRESSION else -1.0

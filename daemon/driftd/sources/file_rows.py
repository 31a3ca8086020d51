"""Rows of log files in the form of the statistics: which columns mean what, cutting, joining and labelling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftd.sources.log_files import RequestedColumns
from driftd.sources.protocol import CHUNK_ROWS
from driftd.sources.tables import table_of
from driftd.store.events.arrow_columns import read_column, read_numbers
from driftd.store.events.columnar import stack_columns, take_rows
from driftd.store.events.reader import EventReader
from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes
from driftd_detectors.schema import Kind, Schema, Task

_DEFAULTS = {
    "id": "prediction_id",
    "at": "at",
    "prediction": "prediction",
    "score": "score",
    "version": "version",
    "label": "label",
    "label_at": "label_at",
}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """What the columns of the files are called."""

    id: str
    at: str
    prediction: str
    score: str
    version: str
    label: str
    label_at: str
    classes_are_text: bool

    @classmethod
    def of(cls, names: Mapping[str, str], schema: Schema) -> ColumnMapping:
        """The names of the config over the usual ones. Raises ValueError for a meaning that there is not."""
        unknown = set(names) - set(_DEFAULTS)
        if unknown:
            raise ValueError(f"columns can name {', '.join(_DEFAULTS)}; not {', '.join(sorted(unknown))}")
        return cls(**{**_DEFAULTS, **names}, classes_are_text=schema.task is Task.CLASSIFICATION)

    def outcomes(self) -> RequestedColumns:
        """Everything but the features."""
        texts = (self.prediction, self.label) if self.classes_are_text else ()
        columns = (self.id, self.at, self.prediction, self.score, self.version, self.label, self.label_at)
        return RequestedColumns(self.id, columns, texts, (self.at, self.label_at))

    def with_features(self, schema: Schema) -> RequestedColumns:
        """Everything."""
        plain = self.outcomes()
        texts = tuple(feature.name for feature in schema.features if feature.kind is Kind.CATEGORY)
        times = tuple(feature.name for feature in schema.features if feature.kind is Kind.TIMESTAMP)
        return RequestedColumns(
            self.id, (*plain.columns, *schema.names), (*plain.texts, *texts), (*plain.times, *times)
        )

    def feedback(self) -> RequestedColumns:
        """Identity, label and when it became known."""
        texts = (self.label,) if self.classes_are_text else ()
        return RequestedColumns(self.id, (self.id, self.label, self.label_at), texts, (self.label_at,))


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
                values[feature.name], count = read_column(column, feature.kind, numeric_text=numeric_text)
                if count:
                    unreadable[feature.name] = count
        rows = len(table)
        return cls(
            _ids(table, names.id, first_row),
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
        )
        return FileRows(self.ids.take(pa.array(places)), columns, cut)

    def with_labels(self, reader: EventReader, schema: Schema, known_by: float) -> FileRows:
        """Labels not known by then removed, and those of the event store taken over where they are newer."""
        outcomes = self.outcomes
        unknown = ~(outcomes.label_at <= known_by)
        label = np.where(unknown, _no_label(schema), outcomes.label)
        label_at = np.where(unknown, np.nan, outcomes.label_at)
        classes = {name: code for code, name in enumerate(outcomes.classes)}
        if reader.exists and len(self):
            found, found_at = reader.labels_of(self.ids.to_pylist(), known_by)
            for place in np.flatnonzero(~np.isnan(found_at) & ~(found_at < label_at)).tolist():
                value = found[place]
                label_at[place] = found_at[place]
                label[place] = value if isinstance(value, float) else classes.setdefault(str(value), len(classes))
        return replace(self, outcomes=replace(outcomes, label=label, label_at=label_at, classes=tuple(classes)))

    def label_values(self, schema: Schema) -> list[str | float | None]:
        """The labels as they are sent: class texts or numbers; None where there is none."""
        if schema.task is Task.REGRESSION:
            return [None if np.isnan(outcome) else float(outcome) for outcome in self.outcomes.label]
        return [None if outcome < 0 else self.outcomes.classes[int(outcome)] for outcome in self.outcomes.label]

    def table(self, schema: Schema) -> pa.Table:
        """The rows as users know them."""
        return table_of(self.ids, self.columns, self.outcomes, schema)


def gather(parts: Iterable[FileRows], schema: Schema) -> Iterator[FileRows]:
    """Rows in chunks of about `CHUNK_ROWS`, however small or large the stretches are."""
    waiting: list[FileRows] = []
    size = 0
    for part in parts:
        if len(part) == 0:
            continue
        if waiting and size + len(part) > CHUNK_ROWS:
            yield FileRows.stack(waiting, schema)
            waiting, size = [], 0
        waiting.append(part)
        size += len(part)
    if waiting:
        yield FileRows.stack(waiting, schema)


def _ids(table: pa.Table, name: str, first_row: int) -> pa.Array:
    if name in table.column_names:
        column = table.column(name)
        return (column if pa.types.is_string(column.type) else column.cast(pa.string())).combine_chunks()
    return pa.array([f"row {first_row + place}" for place in range(len(table))], pa.string())


def _outcomes(
    table: pa.Table, names: ColumnMapping, schema: Schema, *, numeric_text: bool, arrived_at: float
) -> Outcomes:
    rows = len(table)
    classes = {name: code for code, name in enumerate(schema.classes)}

    def numbers(name: str, default: float = np.nan) -> Numbers:
        return read_numbers(table.column(name)) if name in table.column_names else np.full(rows, default)

    def outcome(name: str) -> Numbers:
        if schema.task is Task.REGRESSION or name not in table.column_names:
            return numbers(name, _no_label(schema))
        column, _ = read_column(table.column(name), Kind.CATEGORY, numeric_text=numeric_text)
        assert isinstance(column, Coded)
        places = [classes.setdefault(label, len(classes)) for label in column.labels]
        return np.array([*places, -1], dtype=np.float64)[column.codes]

    at = numbers(names.at, arrived_at)
    label = outcome(names.label)
    known = ~np.isnan(label) if schema.task is Task.REGRESSION else label >= 0
    label_at = np.where(known, np.fmax(numbers(names.label_at), np.nan), np.nan)
    label_at = np.where(known & np.isnan(label_at), at, label_at)  # it came with its row
    version = numbers(names.version, -1.0)
    return Outcomes(
        at=at,
        prediction=outcome(names.prediction),
        score=numbers(names.score),
        label=label,
        label_at=label_at,
        version=np.where(np.isfinite(version), version, -1.0).astype(np.int64),
        classes=tuple(classes),
    )


def _stacked_outcomes(parts: Sequence[Outcomes], schema: Schema) -> Outcomes:
    classes = {name: code for code, name in enumerate(schema.classes)}

    def recode(values: Numbers, own: tuple[str, ...]) -> Numbers:
        if schema.task is Task.REGRESSION:
            return values
        places = [classes.setdefault(label, len(classes)) for label in own]
        return np.array([*places, -1], dtype=np.float64)[values.astype(np.int64)]

    def join(arrays: list[Numbers]) -> Numbers:
        return np.concatenate(arrays) if arrays else np.empty(0)

    return Outcomes(
        at=join([part.at for part in parts]),
        prediction=join([recode(part.prediction, part.classes) for part in parts]),
        score=join([part.score for part in parts]),
        label=join([recode(part.label, part.classes) for part in parts]),
        label_at=join([part.label_at for part in parts]),
        version=np.concatenate([part.version for part in parts]) if parts else np.empty(0, dtype=np.int64),
        classes=tuple(classes),
    )


def _no_label(schema: Schema) -> float:
    return np.nan if schema.task is Task.REGRESSION else -1.0

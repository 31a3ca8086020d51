"""Loads predictions and labels of the past from files into a model's event store; every row ends in one count."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from driftd.errors import DriftdError
from driftd.sources.catalogue import Stretch
from driftd.sources.file_rows import FileRows
from driftd.sources.files_settings import ColumnMapping, FilesSettings
from driftd.sources.listing import Expected
from driftd.sources.log_files import LogFiles
from driftd.sources.row_counts import share_faults, usable_rows
from driftd.store.events.reader import EventReader
from driftd.store.events.validation import Refusal, read_events
from driftd.store.events.writer import EventStore
from driftd_detectors.columns import Coded, Column, Numbers
from driftd_detectors.schema import Schema

Event = Mapping[str, object]

_ROWS_AT_ONCE = 2_000  # in one transaction: others write meanwhile
_QUIET_SECONDS = 3600.0  # beyond the last change: a last line without its end is whole
_SET_ASIDE = ("malformed", "no_time", "impossible_time")


class BackfillError(DriftdError):
    """Files that cannot be loaded; the message says which, and why. Nothing was kept."""


@dataclass(slots=True)
class LoadedRows:
    """Where the rows of some files ended; `rows` is the sum of the others."""

    rows: int = 0
    kept: int = 0
    repeated: int = 0  # were kept before, whichever way they came; the first one stays
    too_old: int = 0  # than the retention
    malformed: int = 0
    no_time: int = 0
    impossible_time: int = 0
    no_label: int = 0  # of label files
    unread: int = 0  # of a file that could not be read to its end
    refused: Counter[str] = field(default_factory=Counter)  # by field
    examples: dict[str, str] = field(default_factory=dict)  # of the above, by name or field

    @property
    def ended(self) -> int:
        """How many rows have ended somewhere."""
        aside = self.malformed + self.no_time + self.impossible_time + self.no_label + self.unread
        return self.kept + self.repeated + self.too_old + aside + self.refused.total()


@dataclass(slots=True)
class BackfillResult:
    """What became of all rows."""

    predictions: LoadedRows = field(default_factory=LoadedRows)
    labels: LoadedRows = field(default_factory=LoadedRows)  # of label files
    labels_beside: int = 0  # that stood in the rows of predictions, and are new
    unjoined: int = 0  # identities in label files that no prediction has
    unjoined_example: str | None = None
    unreadable: Counter[str] = field(default_factory=Counter)  # values of features and scores, which count as missing
    first_at: float | None = None  # of the predictions that were kept, epoch seconds
    last_at: float | None = None
    will_be_checked: int = 0  # of the predictions that were kept
    closed: int = 0  # of them, those whose window is checked no more
    faults: tuple[str, ...] = ()  # what could not be read after loading had begun


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the rows go. `oldest` (epoch seconds) is what the retention keeps; windows are closed before `closed`."""

    store: EventStore
    reader: EventReader
    oldest: float
    closed: float


class Backfill:
    """One load into the store of one model. `now` is epoch seconds; `on_rows` is told of how many rows are done."""

    def __init__(
        self, schema: Schema, destination: Destination, now: float, on_rows: Callable[[int], None] = lambda _: None
    ) -> None:
        self.result = BackfillResult()
        self._schema = schema
        self._to = destination
        self._now = now
        self._on_rows = on_rows
        self._predictions: list[_Files] = []
        self._labels: list[_Files] = []

    def find(self, predictions: Sequence[FilesSettings], labels: Sequence[FilesSettings]) -> int:
        """Look for the rows of files of predictions and of labels; returns how many there are.

        Raises BackfillError when a file cannot be read at all.
        """
        self._predictions = [_Files.of_predictions(settings, self._schema, self._now) for settings in predictions]
        self._labels = [_Files.of_labels(settings, self._schema, self._now) for settings in labels]
        for counts, found in ((self.result.predictions, self._predictions), (self.result.labels, self._labels)):
            for files in found:
                files.count(counts)
        return self.result.predictions.rows + self.result.labels.rows

    def load(self) -> BackfillResult:
        """Keep what was found, the earliest file first, and labels after predictions.

        Raises EventsNotKeptError when the store does not take it; what was kept until then stays, and the next run
        goes on from there.
        """
        for files in self._predictions:
            for rows in files.read(self._schema, self._now):
                self._load_predictions(rows)
        ids: dict[str, None] = {}
        for files in self._labels:
            for rows in files.read(self._schema, self._now):
                ids |= dict.fromkeys(self._load_labels(rows))
        result = self.result
        for counts in (result.predictions, result.labels):
            counts.unread += counts.rows - counts.ended
        result.unjoined, result.unjoined_example = self._to.reader.count_absent(list(ids))
        result.faults = tuple(fault for files in (*self._predictions, *self._labels) for fault in files.new_faults())
        return result

    def _load_predictions(self, rows: FileRows) -> None:
        self.result.unreadable.update(rows.columns.unreadable)
        self.result.unreadable.update({"score": rows.outcomes.unreadable_scores})
        recent = self._within_retention(rows, rows.outcomes.at, self.result.predictions)
        for part in _parts(recent):
            batch, refused = read_events(_events_of(part, self._schema), self._schema, self._now, only="prediction")
            left_out = {refusal.index for refusal in refused}
            labels = _labels_of(part, self._schema, part.outcomes.label_at, left_out)
            batch.feedback = read_events(labels, self._schema, self._now, only="feedback")[0].feedback
            batch.refused = []  # the store counts refusals by the minute of arrival: these are not of today's window
            receipt = self._to.store.append(batch)
            self._count(self.result.predictions, refused, receipt.predictions, len(receipt.repeated))
            self.result.labels_beside += receipt.feedback
            again = frozenset(receipt.repeated)
            self._see_times(np.array([row[1] for place, row in enumerate(batch.predictions) if place not in again]))
        self._on_rows(len(rows))

    def _load_labels(self, rows: FileRows) -> Iterator[str]:
        """Keep some labels; gives their identities. A label without a time became known now."""
        counts = self.result.labels
        labelled = np.array([label is not None for label in rows.label_values(self._schema)], dtype=np.bool_)
        counts.no_label += int(np.count_nonzero(~labelled))
        given = rows.where(labelled)
        recent = self._within_retention(given, given.outcomes.label_at, counts)
        for part in _parts(recent):
            known = self._known_labels(part)
            counts.repeated += len(known)
            labels = _labels_of(part, self._schema, part.outcomes.label_at, known)
            batch, refused = read_events(labels, self._schema, self._now, only="feedback")
            batch.refused = []
            receipt = self._to.store.append(batch)
            self._count(counts, refused, receipt.feedback, receipt.duplicates)
            yield from part.ids.to_pylist()
        self._on_rows(len(rows))

    def _known_labels(self, rows: FileRows) -> AbstractSet[int]:
        """The places of labels without a time of their own that are the newest ones of their predictions already."""
        untimed = np.flatnonzero(rows.outcomes.label_at == self._now).tolist()
        if not untimed:
            return frozenset()
        labels = rows.label_values(self._schema)
        newest, _ = self._to.reader.labels_of([rows.ids[place].as_py() for place in untimed], np.inf)
        return {place for place, label in zip(untimed, newest, strict=True) if label == labels[place]}

    def _within_retention(self, rows: FileRows, at: Numbers, counts: LoadedRows) -> FileRows:
        old = at < self._to.oldest
        if old.any():
            counts.too_old += int(np.count_nonzero(old))
            counts.examples.setdefault("too_old", f"id {rows.ids[int(np.argmax(old))].as_py()!r}")
        return rows.where(~old)

    def _see_times(self, at: Numbers) -> None:
        if not len(at):
            return
        result, closed = self.result, int(np.count_nonzero(at < self._to.closed))
        result.closed += closed
        result.will_be_checked += len(at) - closed
        first, last = float(at.min()), float(at.max())
        result.first_at = first if result.first_at is None else min(first, result.first_at)
        result.last_at = last if result.last_at is None else max(last, result.last_at)

    def _count(self, counts: LoadedRows, refused: Sequence[Refusal], kept: int, repeated: int) -> None:
        counts.kept += kept
        counts.repeated += repeated
        for refusal in refused:
            counts.refused[refusal.field] += 1
            counts.examples.setdefault(refusal.field, f"id {refusal.prediction_id!r}: {refusal.reason}")


class _Files:
    """The files of one path, looked at as the files source does, without anything being written down."""

    def __init__(self, logs: LogFiles, names: ColumnMapping, *, has_features: bool) -> None:
        self._logs = logs
        self._names = names
        self._has_features = has_features
        faults = self.new_faults()
        if faults or not logs.known.files:
            raise BackfillError(faults[0] if faults else "there is no file that can be read")

    @classmethod
    def of_predictions(cls, settings: FilesSettings, schema: Schema, now: float) -> _Files:
        """Files whose rows have an identity, a time and a prediction: without, no row could be kept just once."""
        names = ColumnMapping.of(settings.columns, schema)
        needed = {"id": names.id, "at": names.at, "prediction": names.prediction}
        expected = Expected(needed, required=tuple(needed), features=schema.names)
        reading = replace(settings.to_reading(names, schema), timed=True, expected=expected)
        with tempfile.TemporaryDirectory(prefix="driftd-backfill-") as folder:
            logs = LogFiles(settings.path, reading, Path(folder) / "files.json", settings.store)
            logs.refresh(now + _QUIET_SECONDS, lambda *_: None)
        return cls(logs, names, has_features=True)

    @classmethod
    def of_labels(cls, settings: FilesSettings, schema: Schema, now: float) -> _Files:
        """Files whose rows have an identity and a label."""
        own = replace(settings, feedback_columns=settings.columns)
        names = own.feedback_names(schema)
        with tempfile.TemporaryDirectory(prefix="driftd-backfill-") as folder:
            logs = LogFiles(settings.path, own.reading_of_feedback(names), Path(folder) / "files.json", settings.store)
            logs.refresh(now + _QUIET_SECONDS, lambda *_: None)
        return cls(logs, names, has_features=False)

    def count(self, counts: LoadedRows) -> None:
        """Add the rows that were found, and those that are none."""
        for file in self._logs.known.files:
            counts.rows += file.rows + file.malformed
            for reason in _SET_ASIDE:
                setattr(counts, reason, getattr(counts, reason) + getattr(file, reason))
            for reason, example in file.examples.items():
                counts.examples.setdefault(reason, example)

    def new_faults(self) -> tuple[str, ...]:
        """What is wrong with the files beyond the rows that were set aside, which are counted."""
        counted = share_faults(self._logs.known.files)
        return tuple(fault for fault in self._logs.faults if fault not in counted)

    def read(self, schema: Schema, now: float) -> Iterator[FileRows]:
        """The rows whose time can be used, the earliest file first."""
        known, names = self._logs.known, self._names
        begins: dict[int, float] = {}
        for stretch in known.stretches:
            at = now if stretch.first_at is None else stretch.first_at
            begins[stretch.file] = min(at, begins.get(stretch.file, at))
        ordered = sorted(known.stretches, key=lambda stretch: (begins[stretch.file], stretch.file, stretch.start))
        wanted = names.with_features(schema) if self._has_features else names.feedback()
        for stretch, table in self._logs.read(ordered, wanted):
            column, null_at = (names.at, None) if self._has_features else (names.label_at, _found_at(stretch, now))
            usable = usable_rows(table, column, _found_at(stretch, now), null_at) if stretch.set_aside else table
            text = self._logs.reads_numbers_as_text(stretch)
            rows = FileRows.read(usable, names, schema, numeric_text=text, arrived_at=now, first_row=stretch.first_row)
            yield rows


def _found_at(stretch: Stretch, now: float) -> float:
    return now if stretch.found_at is None else stretch.found_at


def _parts(rows: FileRows) -> Iterator[FileRows]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[start : start + _ROWS_AT_ONCE] = True
        yield rows.where(mask)


def _events_of(rows: FileRows, schema: Schema) -> Iterator[Event]:
    """Rows in the form in which applications log them."""
    columns = {name: _values(column) for name, column in rows.columns.values.items()}
    outcomes = rows.outcomes
    predictions = _values(outcomes.texts(outcomes.prediction) if schema.classes else outcomes.prediction)
    scores, versions = _values(outcomes.score), outcomes.version.tolist()
    for place, name in enumerate(rows.ids.to_pylist()):
        yield {
            "prediction_id": name,
            "at": float(outcomes.at[place]),
            "features": {feature: values[place] for feature, values in columns.items()},
            "prediction": predictions[place],
            "score": scores[place],
            "version": versions[place] if versions[place] >= 0 else None,
        }


def _labels_of(rows: FileRows, schema: Schema, at: Numbers, left_out: AbstractSet[int] = frozenset()) -> list[Event]:
    """The labels of the rows that have one."""
    found = zip(rows.ids.to_pylist(), rows.label_values(schema), at.tolist(), strict=True)
    return [
        {"prediction_id": name, "label": label, "at": known_at}
        for place, (name, label, known_at) in enumerate(found)
        if label is not None and place not in left_out
    ]


def _values(column: Column) -> list[str | float | None]:
    """Values as JSON has them; missing is None."""
    if isinstance(column, Coded):
        labels = (*column.labels, None)
        return [labels[code] for code in column.codes.tolist()]
    return [None if value != value else value for value in column.tolist()]  # noqa: PLR0124 - NaN

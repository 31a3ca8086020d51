"""Rows of log files: with the labels that came on other ways, and in chunks of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from driftd.sources.protocol import chunk_rows
from driftd.store.events.reader import EventReader
from driftd_detectors.batches.rows import Rows, ids_of
from driftd_detectors.columns import Outcomes
from driftd_detectors.outcome_rows import no_label
from driftd_detectors.schema import Schema, Task
from driftd_detectors.values import ClassCodes

__all__ = ["FileRows", "gather", "ids_of"]


@dataclass(frozen=True, slots=True)
class FileRows(Rows):
    """Some rows of log files."""

    def with_labels(self, reader: EventReader, schema: Schema, known_by: float) -> FileRows:
        """Labels not known by then removed, and those of the event store taken over where they are newer."""
        outcomes = self.outcomes
        unknown = ~(outcomes.label_at <= known_by)
        label = np.where(unknown, no_label(schema), outcomes.label)
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


def _codes_of(outcomes: Outcomes) -> ClassCodes:
    """The codes that some outcomes have already, to go on with."""
    codes = ClassCodes(outcomes.classes)
    for text in outcomes.unseen:
        codes.of(text)
    return codes

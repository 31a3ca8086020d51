"""Files of labels: copied into the model's event store, where labels that come over HTTP are kept too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from driftd.sources.catalogue import LogFile, Stretch
from driftd.sources.file_rows import FileRows
from driftd.sources.files_settings import ColumnMapping
from driftd.sources.log_files import LogFiles
from driftd.sources.row_counts import usable_rows
from driftd.store.events.validation import FeedbackEvent, read_events
from driftd.store.events.writer import EventStore
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Schema

_ROWS_AT_ONCE = 5_000


class FeedbackFiles:
    """The feedback files of one model. `open_store` opens the event store when there is a label to keep."""

    def __init__(
        self, logs: LogFiles, names: ColumnMapping, schema: Schema, open_store: Callable[[], EventStore]
    ) -> None:
        self.logs = logs
        self._names = names
        self._schema = schema
        self._open_store = open_store

    def refresh(self, now: float) -> None:
        """Keep new feedback in the event store, before the catalogue says that it was read."""
        stores: list[EventStore] = []

        def on_rows(file: LogFile, stretch: Stretch, _times: Numbers) -> None:
            if not stretch.rows:
                return
            if not stores:
                stores.append(self._open_store())
            for found, table in self.logs.read([stretch], self._names.feedback()):
                events = self._events(found, table)
                file.no_label += found.rows - len(events)
                self._keep(stores[0], file, events, now)

        try:
            self.logs.refresh(now, on_rows)
        finally:
            for store in stores:
                store.close()

    def _keep(self, store: EventStore, file: LogFile, events: Sequence[FeedbackEvent], now: float) -> None:
        for start in range(0, len(events), _ROWS_AT_ONCE):
            batch, refused = read_events(events[start : start + _ROWS_AT_ONCE], self._schema, now)
            store.append(batch)
            file.refused += len(refused)
            if refused:
                said = f"{refused[0].field}: {refused[0].reason}"
                file.examples["refused"] = f"{file.path}, id {refused[0].prediction_id!r}: {said}"

    def _events(self, stretch: Stretch, table: pa.Table) -> Sequence[FeedbackEvent]:
        """The labels of a stretch; a row without an identity is one that the store refuses."""
        found_at = stretch.found_at if stretch.found_at is not None else stretch.first_at or 0.0
        if stretch.set_aside:
            table = usable_rows(table, self._names.label_at, found_at, found_at)
        rows = FileRows.read(
            table, self._names, self._schema, numeric_text=True, arrived_at=found_at, first_row=stretch.first_row
        )
        labels = rows.label_values(self._schema)
        known_at = np.where(np.isnan(rows.outcomes.label_at), found_at, rows.outcomes.label_at)
        return [
            FeedbackEvent(name or "", label, float(at))
            for name, label, at in zip(rows.ids.to_pylist(), labels, known_at, strict=True)
            if label is not None
        ]

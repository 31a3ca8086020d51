"""Where an application's events go: validated by the served version's schema, committed in groups. Stays small."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future

from driftd.places import Places
from driftd.registry import ManifestError, Registry
from driftd.store.events import EventStore
from driftd.store.events_commit import GroupCommit
from driftd.store.events_records import Batch, Receipt, Refusal
from driftd.store.events_validation import read_events
from driftd_detectors.schema import Schema


class NoSchemaError(Exception):
    """The model has no version yet, so nobody knows what its rows look like."""


class EventLog:
    """The writing end of one model's event store. Opened at the first use; safe to share between threads."""

    def __init__(self, places: Places, model: str) -> None:
        self._places = places
        self._model = model
        self._registry = Registry(places)
        self._schema: tuple[int, Schema] | None = None
        self._opening = threading.Lock()
        self._store: EventStore | None = None
        self._commit: GroupCommit | None = None

    def schema(self) -> Schema:
        """The schema of the version that the link names. Raises NoSchemaError when there is none."""
        number = self._registry.current(self._model)
        if self._schema is not None and self._schema[0] == number:
            return self._schema[1]
        if number is None:
            raise NoSchemaError(f"model {self._model} has no version yet: `driftd init` trains the first one")
        try:
            schema = self._registry.manifest(self._model, number).schema
        except ManifestError:
            if self._schema is None:
                raise
            return self._schema[1]  # a damaged manifest does not stop events from being kept
        self._schema = (number, schema)
        return schema

    def read(self, events: Iterable[object], now: float) -> tuple[Batch, list[Refusal]]:
        """Validate events one by one. Raises NoSchemaError."""
        return read_events(events, self.schema(), now)

    def submit(self, batch: Batch) -> Future[Receipt]:
        """Hand a batch to the group commit; the future is resolved once it is synced.

        Raises EventsNotKeptError, or `DatabaseError` when the store cannot be opened.
        """
        with self._opening:
            if self._commit is None:
                path = self._places.events_db(self._model)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._store = EventStore.open(path, self.schema(), segments=self._places.segments(self._model))
                self._commit = GroupCommit(self._store)
            return self._commit.submit(batch)

    def close(self) -> None:
        """Commit what is waiting, then let go of the file."""
        with self._opening:
            if self._commit is not None:
                self._commit.close()
            if self._store is not None:
                self._store.close()
            self._commit = self._store = None

"""Where an application's events go: validated by the served version's schema, committed in groups. Stays small."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Literal

import structlog

from driftd.errors import DriftdError
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.versions import CurrentLink, version_of
from driftd.store.events.group_commit import GroupCommit
from driftd.store.events.validation import Batch, Receipt, Refusal, read_events
from driftd.store.events.writer import EventsNotKeptError, EventStore
from driftd.store.schema_versions import DatabaseError
from driftd_detectors.schema import Schema

log = structlog.get_logger()

RETRY_SECONDS = 5.0  # a store that cannot be opened is tried again so often


class NoSchemaError(DriftdError):
    """The model has no version yet, so nobody knows what its rows look like."""


class EventLog:
    """The writing end of one model's event store. Opened at the first use; safe to share between threads.

    `waiting` bounds the events that wait in memory for the disk; what comes on top is refused at once.
    """

    def __init__(self, places: Places, model: str, *, waiting: int = 20_000) -> None:
        self._places = places
        self._model = model
        self._waiting = waiting
        self._registry = Registry(places)
        self._link = CurrentLink(places, model)
        self._schema: tuple[str, Schema] | None = None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._opening = threading.Lock()
        self._open: tuple[EventStore, GroupCommit] | None = None
        self._failed: tuple[float, str] | None = None  # until when (monotonic) it is not tried again, and why

    @property
    def is_open(self) -> bool:
        """Whether `submit` returns at once; otherwise it opens the store first, which may take a second."""
        return self._open is not None and self._pid == os.getpid()

    def schema(self) -> Schema:
        """The schema of the version that the link names. Raises NoSchemaError, ManifestError."""
        target, known = self._link.read(), self._schema
        if known is not None and known[0] == target:
            return known[1]
        try:
            schema = self._read_schema(target)
        except (ManifestError, NoSchemaError):
            if known is None:
                raise
            return known[1]  # a damaged manifest does not stop events from being kept
        self._schema = (target, schema)
        return schema

    def read(
        self, events: Iterable[object], now: float, *, only: Literal["prediction", "feedback"] | None = None
    ) -> tuple[Batch, list[Refusal]]:
        """Validate events one by one (see `read_events`). Raises NoSchemaError, ManifestError."""
        return read_events(events, self.schema(), now, only=only)

    def submit(self, batch: Batch) -> Future[Receipt]:
        """Hand a batch to the group commit; the future is resolved once it is synced.

        Raises EventsNotKeptError, also when the store cannot be opened.
        """
        if self._pid != os.getpid():
            if self._open is not None:  # SQLite would take the parent's locks for its own, and lose what it was given
                raise EventsNotKeptError("the log was opened before a fork; make a `Driftd` in each process")
            self._begin()
        return (self._open or self._open_store())[1].submit(batch)

    def open(self) -> None:
        """Open the store now rather than at the first event. Raises EventsNotKeptError."""
        self._open_store()

    def close(self) -> None:
        """Commit what is waiting, then let go of the file; later submissions open it again."""
        if self._pid != os.getpid():
            return  # the parent's
        with self._opening:
            opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()
            opened[0].close()

    def _read_schema(self, target: str) -> Schema:
        number = version_of(target)
        if number is None:
            raise NoSchemaError(f"model {self._model} has no version yet: `driftd init` trains the first one")
        return self._registry.manifest(self._model, number).schema

    def _open_store(self) -> tuple[EventStore, GroupCommit]:
        with self._opening:
            if self._open is not None:
                return self._open
            if self._failed is not None and time.monotonic() < self._failed[0]:
                raise EventsNotKeptError(self._failed[1])
            path = self._places.events_db(self._model)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                store = EventStore.open(path, self.schema(), segments=self._places.segments(self._model))
            except (DatabaseError, ManifestError, NoSchemaError, OSError) as error:
                self._failed = (time.monotonic() + RETRY_SECONDS, f"the event store cannot be opened: {error}")
                log.error("event_store_not_opened", model=self._model, reason=str(error))
                raise EventsNotKeptError(self._failed[1]) from error
            self._open, self._failed = (store, GroupCommit(store, waiting=self._waiting)), None
            return self._open

"""Where an application's events go: validated by the served version's schema, committed in groups. Stays small."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Literal

import structlog

from driftd.errors import DriftdError
from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.versions import CurrentLink, version_of
from driftd.store.events.group_commit import GroupCommit
from driftd.store.events.validation import Batch, Receipt, Refusal, Window, read_events
from driftd.store.events.writer import EventsNotKeptError, EventStore
from driftd.store.schema_versions import DatabaseError
from driftd.store.state.reader import StateAbsentError, read_cursor
from driftd_detectors.schema import Schema

log = structlog.get_logger()

RETRY_SECONDS = 5.0  # a store that cannot be opened is tried again so often
LOOK_SECONDS = 5.0  # what the daemon writes down of closed windows and the retention is read again so often


class NoSchemaError(DriftdError):
    """The model has no version yet, so nobody knows what its rows look like."""


class ClosedWindows:
    """Which windows of a model the daemon checks no more: those that it has checked, and those before its first.

    `seconds` is the length of a window where the config is known, 0 of row windows: these count events as they arrive,
    so none of theirs is ever closed. Safe to share between threads.
    """

    def __init__(self, places: Places, model: str, seconds: float | None = None) -> None:
        self._places = places
        self._model = model
        self._seconds = seconds
        self._read: tuple[float, float | None] | None = None  # when (monotonic), and what was found

    def until(self) -> float | None:
        """The event time (epoch seconds) before which all windows are closed; None where nobody can tell."""
        if self._read is None or time.monotonic() - self._read[0] > LOOK_SECONDS:
            self._read = time.monotonic(), self._look()
        return self._read[1]

    def of(self, at: float) -> Window | None:
        """What becomes of the window of an event; None where nobody can tell."""
        until = self.until()
        return None if until is None else "closed" if at < until else "will_be_checked"

    def counts(
        self, events: Sequence[object], batch: Batch, refused: Iterable[Refusal], repeated: Iterable[int]
    ) -> dict[Window, int]:
        """How many of the predictions that a commit kept, and that bring their time, have which kind of window."""
        left_out, again = {refusal.index for refusal in refused}, frozenset(repeated)
        given = (event for place, event in enumerate(events) if place not in left_out and not _is_feedback(event))
        found = (
            self.of(row[1])
            for place, (event, row) in enumerate(zip(given, batch.predictions, strict=True))
            if place not in again and is_dated(event)
        )
        return dict(Counter(window for window in found if window is not None))

    def _look(self) -> float | None:
        cursor, seconds = None, self._seconds
        try:
            cursor, content = read_cursor(self._places.state_db, self._model)
            seconds = _window_seconds(content, self._model, seconds)
        except StateAbsentError:
            pass
        except (DatabaseError, OSError):
            return None
        if not seconds:
            return None if seconds is None else -math.inf
        return self._first_end(seconds) if cursor is None else cursor * seconds

    def _first_end(self, seconds: float) -> float | None:
        """Where a daemon will begin that has not yet: behind the rows that the version was made from."""
        registry = Registry(self._places)
        number = registry.current(self._model)
        try:
            last_at = registry.manifest(self._model, number).data.get("last_at") if number is not None else None
        except ManifestError:
            return None
        return -math.inf if last_at is None else (float(last_at) // seconds + 1) * seconds


def _window_seconds(content: object, model: str, seconds: float | None) -> float | None:
    """The length of a model's windows by the config in force, 0 of row windows; else as it is known."""
    for key in ("models", model, "window"):
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        return seconds
    every = content.get("every")
    return float(every) if isinstance(every, int | float) else 0.0 if content.get("rows") else seconds


def _is_feedback(event: object) -> bool:
    return isinstance(event, Mapping) and "label" in event


def is_dated(event: object) -> bool:
    """Whether an event brings the time at which it happened."""
    return (type(event) is dict or isinstance(event, Mapping)) and event.get("at") is not None


class EventLog:
    """The writing end of one model's event store. Opened at the first use; safe to share between threads.

    `waiting` bounds the events that wait in memory for the disk; what comes on top is refused at once. `keep_seconds`
    is the retention and `window_seconds` the length of a window (0 of row windows) where the config is known; where it
    is not, what others wrote into the store goes.
    """

    def __init__(
        self,
        places: Places,
        model: str,
        *,
        waiting: int = 20_000,
        keep_seconds: float | None = None,
        window_seconds: float | None = None,
    ) -> None:
        self._places = places
        self._model = model
        self._waiting = waiting
        self._keep_seconds = keep_seconds
        self._kept: tuple[float, float | None] | None = None  # when (monotonic) the retention was read, and what it was
        self.windows = ClosedWindows(places, model, window_seconds)
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
        listed = list(events)
        oldest = self.oldest(now) if any(map(is_dated, listed)) else 0.0
        return read_events(listed, self.schema(), now, only=only, oldest=oldest)

    def oldest(self, now: float) -> float:
        """Up to which age events are kept, as epoch seconds; 0 where nobody has said it, or it cannot be read."""
        keep = self._keep_seconds if self._keep_seconds is not None else self._stored_keep_seconds()
        return 0.0 if keep is None else now - keep

    def _stored_keep_seconds(self) -> float | None:
        if self._kept is None or time.monotonic() - self._kept[0] > LOOK_SECONDS:
            try:
                keep = (self._open or self._open_store())[0].keep_seconds()
            except EventsNotKeptError:  # told by what is handed in next
                return None
            self._kept = time.monotonic(), keep
        return self._kept[1]

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
                if self._keep_seconds is not None:
                    store.save_keep_seconds(self._keep_seconds)
            except (DatabaseError, EventsNotKeptError, ManifestError, NoSchemaError, OSError) as error:
                self._failed = (time.monotonic() + RETRY_SECONDS, f"the event store cannot be opened: {error}")
                log.error("event_store_not_opened", model=self._model, reason=str(error))
                raise EventsNotKeptError(self._failed[1]) from error
            self._open, self._failed = (store, GroupCommit(store, waiting=self._waiting)), None
            return self._open

"""Group commit: many requests share one synced transaction, so that durability costs one wait for the disk for all."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from concurrent.futures import Future

from driftd.store.events.validation import Batch, Receipt
from driftd.store.events.writer import EventsNotKeptError, EventStore

_GROUP_EVENTS = 5_000  # a transaction of more would hold other writers up
_WAITING_EVENTS = 200_000  # the memory that a stalled disk may cost

_Waiting = tuple[Batch, "Future[Receipt]"]


class GroupCommit:
    """A thread that commits whatever has gathered while the previous commit was being synced.

    There is no waiting time to tune: alone, a batch is committed at once; under load, groups grow as large as the disk
    is slow. A future is resolved only after its commit is synced, and fails with `EventsNotKeptError` when nothing was
    kept; the next submission is tried afresh, so that the store recovers by itself when the disk does.
    """

    def __init__(self, store: EventStore, *, waiting: int = _WAITING_EVENTS) -> None:
        self._store = store
        self._most = waiting
        self._waiting: deque[_Waiting] = deque()
        self._events = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> Future[Receipt]:
        """Hand in a batch. Raises EventsNotKeptError when closed, or when too much is waiting already."""
        future: Future[Receipt] = Future()
        size = _size(batch)
        with self._changed:
            if self._closed:
                raise EventsNotKeptError("the event store is closed")
            if self._events + size > self._most and self._waiting:
                raise EventsNotKeptError(f"{self._events} events are waiting for the disk; send them again later")
            self._waiting.append((batch, future))
            self._events += size
            self._changed.notify()
        return future

    def close(self) -> None:
        """Commit what is waiting, then stop. The store itself stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            running = [item for item in group if item[1].set_running_or_notify_cancel()]
            if running:
                self._commit(running)

    def _next_group(self) -> list[_Waiting]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            group: list[_Waiting] = []
            taken = 0
            while self._waiting and (not group or taken + _size(self._waiting[0][0]) <= _GROUP_EVENTS):
                group.append(self._waiting.popleft())
                taken += _size(group[-1][0])
            self._events -= taken
            return group

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            receipts = self._store.append_all([batch for batch, _ in group])
        except EventsNotKeptError as error:
            _fail(group, error)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            if len(group) == 1:
                _fail(group, EventsNotKeptError(f"the batch could not be stored: {error}"), error)
            else:  # one of them is at fault: the others must not suffer for it
                for item in group:
                    self._commit([item])
        except BaseException as error:
            _fail(group, EventsNotKeptError(f"the group commit stopped: {error}"), error)
            raise
        else:
            for (_, future), receipt in zip(group, receipts, strict=True):
                future.set_result(receipt)


def _fail(group: list[_Waiting], error: EventsNotKeptError, cause: BaseException | None = None) -> None:
    error.__cause__ = cause or error.__cause__
    for _, future in group:
        future.set_exception(error)


def _size(batch: Batch) -> int:
    return len(batch.predictions) + len(batch.feedback) + len(batch.refused)

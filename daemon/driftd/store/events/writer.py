"""Writes `events.db`: predictions and feedback of one model, durably, each once."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from driftd.errors import DriftdError
from driftd.store.descriptors import open_database
from driftd.store.events.columnar import encode_block, shape_of
from driftd.store.events.validation import Batch, Receipt
from driftd.store.integrity import OPENING_SECONDS, DamagedError, damage_marked, examine, is_damage, mark_damaged
from driftd.store.migrations import ensure_current
from driftd.store.schema_versions import DatabaseError
from driftd_detectors.schema import Feature, Schema


class FileGate:
    """One process's place in the line of an events database. One thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        gate = path.with_name(f"{path.name}.gate")
        self._descriptor = os.open(gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)

    @contextmanager
    def enter_to_write(self) -> Iterator[None]:
        """Write; waits while the file is being replaced."""
        yield from self._hold(fcntl.LOCK_SH)

    @contextmanager
    def enter_to_replace(self) -> Iterator[None]:
        """Replace the file; waits for the writes under way."""
        yield from self._hold(fcntl.LOCK_EX)

    def close(self) -> None:
        """Leave the line."""
        os.close(self._descriptor)

    def _hold(self, kind: int) -> Iterator[None]:
        fcntl.flock(self._descriptor, kind)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


BUSY_SECONDS = 5.0
QUARANTINE_ROWS = 10_000
_BATCH_ROWS = 20
MINUTE = 60


class EventsNotKeptError(DriftdError):
    """Nothing of the batch was kept, and nothing may be acknowledged: the disk is full, read-only or locked."""


class EventStore:
    """The event store of one model, open for writing. Safe to share between threads; not across a fork."""

    def __init__(self, path: Path, schema: Schema, segments: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.schema = schema
        self.segments = segments
        self._db = connection
        self._lock = threading.Lock()
        self._turns = FileGate(path)
        self._file = _identity(path)
        self._shapes: dict[tuple[Feature, ...], int] = {}

    @classmethod
    def open(cls, path: Path, schema: Schema, *, segments: Path) -> EventStore:
        """Open the database, making or migrating it first. Raises `DatabaseError` when it cannot be used."""
        try:
            _require_whole(path)
            ensure_current(path, "events")
            return cls(path, schema, segments, connect(path))
        except sqlite3.Error as error:
            raise DatabaseError(f"{path} cannot be used: {error}") from error

    def append(self, batch: Batch) -> Receipt:
        """Keep one batch in one transaction; returns after it is synced. See `append_all`."""
        return self.append_all([batch])[0]

    def append_all(self, batches: Sequence[Batch]) -> list[Receipt]:
        """Keep several batches in one transaction, features in one block; returns after it is synced.

        A `prediction_id` that is already there keeps its first row. Raises EventsNotKeptError when nothing was kept.
        """
        with self._lock:
            known = dict(self._shapes)
            try:
                with self._turns.enter_to_write(), self._in_place(), transaction(self._db):
                    return self._insert(batches)
            except BaseException as error:
                self._shapes = known  # a shape of the lost transaction is not in the database
                if is_damage(error):
                    mark_damaged(self.path, str(error))
                    raise EventsNotKeptError(_refusal(self.path, str(error))) from error
                if isinstance(error, sqlite3.OperationalError):
                    raise EventsNotKeptError(f"{self.path}: {error}") from error
                raise

    def keep_seconds(self) -> float | None:
        """For how long events are kept, as whoever knows the config said last; None where nobody has.

        Raises EventsNotKeptError when the database cannot be read.
        """
        try:
            with self._lock:
                row = self._db.execute("select value from counters where name = 'keep_seconds'").fetchone()
        except sqlite3.Error as error:
            raise EventsNotKeptError(f"{self.path}: {error}") from error
        return None if row is None else float(row[0])

    def save_keep_seconds(self, seconds: float) -> None:
        """Say for how long events are kept. Raises EventsNotKeptError when the disk does not take it."""
        try:
            with self._lock, self._turns.enter_to_write(), self._in_place(), transaction(self._db):
                self._db.execute(SAVE_KEEP_SECONDS, (seconds,))
        except sqlite3.OperationalError as error:
            raise EventsNotKeptError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Close the connection; the store cannot be used afterwards."""
        with self._lock:
            self._db.close()
            self._turns.close()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Write to the file that stands there now: one that was restored is another file, and the old one is gone."""
        finding = damage_marked(self.path)
        if finding is not None:
            raise EventsNotKeptError(_refusal(self.path, finding))
        if _identity(self.path) != self._file:
            self._db.close()
            ensure_current(self.path, "events")
            self._db, self._file = connect(self.path), _identity(self.path)
            self._shapes.clear()
        yield

    def _insert(self, batches: Sequence[Batch]) -> list[Receipt]:
        repeated: list[tuple[int, ...]] = []
        for features, group in groupby(batches, key=lambda batch: batch.features):
            repeated += self._insert_predictions(list(group), features)
        receipts = []
        for batch, again in zip(batches, repeated, strict=True):
            predictions, feedback = len(batch.predictions) - len(again), self._insert_feedback(batch)
            duplicates = len(again) + len(batch.feedback) - feedback
            receipts.append(Receipt(predictions, feedback, duplicates, len(batch.refused), batch.ignored, again))
            self._quarantine(batch)
        self._count(
            duplicates=sum(receipt.duplicates for receipt in receipts),
            refused=sum(receipt.refused for receipt in receipts),
            ignored=sum(receipt.ignored for receipt in receipts),
        )
        return receipts

    def _insert_predictions(self, batches: list[Batch], features: tuple[Feature, ...]) -> list[tuple[int, ...]]:
        """One block for all of them; returns which rows of each batch were there already."""
        rows = sum(len(batch.predictions) for batch in batches)
        if not rows:
            return [()] * len(batches)
        columns = batches[0].columns
        if len(batches) > 1:
            parts = zip(*(batch.columns for batch in batches), strict=True)
            columns = [[value for part in column for value in part] for column in parts]
        block = self._db.execute(
            "insert into blocks(shape, rows, received_at, data) values (?, ?, ?, ?)",
            (self._shape(features), rows, batches[-1].received_at, encode_block(columns, features)),
        ).lastrowid
        repeated: list[tuple[int, ...]] = []
        position = new = 0
        for batch in batches:
            narrow = [
                (*row, batch.received_at, block, place) for place, row in enumerate(batch.predictions, start=position)
            ]
            kept = self._insert_narrow(narrow)
            repeated.append(self._find_repeated(batch, block, position) if kept < len(narrow) else ())
            position, new = position + len(narrow), new + kept
        if not new:  # a repeated request: nothing refers to the block
            self._db.execute("delete from blocks where id = ?", (block,))
        else:
            first_at = min(row[1] for batch in batches for row in batch.predictions)
            self._db.execute(_LOWER_FIRST_AT, (first_at,))
        return repeated

    def _insert_narrow(self, narrow: Sequence[tuple[object, ...]]) -> int:
        """Insert rows but those whose `prediction_id` has one already; returns how many went in.

        An insert that looks into its own table first takes twice as long: a batch is tried without, since nearly all
        ids are new.
        """
        if len(narrow) >= _BATCH_ROWS:
            self._db.execute("savepoint batch")
            try:
                rows = ((*row, row[0]) for row in narrow)
                count = self._db.executemany(_INSERT_NEW_PREDICTION, rows).rowcount
                self._db.execute("release batch")
                return max(count, 0)
            except sqlite3.IntegrityError:
                self._db.execute("rollback to batch")  # which gives the numbers of `seq` back, too
                self._db.execute("release batch")
        return max(self._db.executemany(_INSERT_PREDICTION, narrow).rowcount, 0)

    def _find_repeated(self, batch: Batch, block: int | None, first: int) -> tuple[int, ...]:
        """The rows of a batch whose `prediction_id` has another row; its own begin at `first` in the block."""
        found = (self._db.execute(_WHERE_KEPT, (row[0],)).fetchone() for row in batch.predictions)
        return tuple(place for place, stands in enumerate(found) if stands != (block, first + place))

    def _insert_feedback(self, batch: Batch) -> int:
        if not batch.feedback:
            return 0
        rows = [(*row, batch.received_at) for row in batch.feedback]
        kept = self._db.executemany(_INSERT_FEEDBACK, rows).rowcount
        self._db.executemany(_MARK_LABELLED, [(at, prediction_id, at) for prediction_id, at, _ in batch.feedback])
        self._db.execute(_RAISE_NEWEST_LABEL_AT, (max(at for _, at, _ in batch.feedback),))
        return max(kept, 0)

    def _quarantine(self, batch: Batch) -> None:
        if not batch.refused:
            return
        self._db.executemany(
            "insert into quarantine(received_at, prediction_id, field, reason, event) values (?, ?, ?, ?, ?)",
            [
                (batch.received_at, refusal.prediction_id, refusal.field, refusal.reason, text)
                for refusal, text in batch.refused
            ],
        )
        self._db.execute("delete from quarantine where id <= (select max(id) from quarantine) - ?", (QUARANTINE_ROWS,))
        minute = int(batch.received_at // MINUTE)
        self._db.executemany(_COUNT_REFUSAL, [(minute, refusal.field) for refusal, _ in batch.refused])

    def _count(self, **counts: int) -> None:
        for name, count in counts.items():
            if count:
                self._db.execute(_COUNT, (name, float(count)))

    def _shape(self, features: tuple[Feature, ...]) -> int:
        if features not in self._shapes:
            shape = shape_of(features)
            self._db.execute("insert into shapes(features) values (?) on conflict do nothing", (shape,))
            (number,) = self._db.execute("select id from shapes where features = ?", (shape,)).fetchone()
            self._shapes[features] = number
        return self._shapes[features]


def _require_whole(path: Path) -> None:
    finding = damage_marked(path)
    if finding is None and (finding := examine(path, seconds=OPENING_SECONDS)) is not None:
        mark_damaged(path, finding)
    if finding is not None:
        raise DamagedError(_refusal(path, finding))


def _refusal(path: Path, finding: str) -> str:
    return f"{path} is damaged ({finding}): no event is taken in until it is restored (`driftd restore --events MODEL`)"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path) -> sqlite3.Connection:
    """Open a migrated events database: durable at every commit, patient with other writers for `BUSY_SECONDS`."""
    connection = open_database(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("pragma synchronous = full")
    connection.execute("pragma journal_size_limit = 67108864")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All writes inside land together or not at all."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled back already
            connection.execute("rollback")
        raise


_INSERT_NEW_PREDICTION = """
    insert into predictions(
        prediction_id, at, version, prediction, score, received_at, block, position, first_label_at)
    values (?, ?, ?, ?, ?, ?, ?, ?, (select min(at) from feedback where prediction_id = ?))"""
_INSERT_PREDICTION = """
    insert into predictions(
        prediction_id, at, version, prediction, score, received_at, block, position, first_label_at)
    select new.*, (select min(at) from feedback where prediction_id = new.column1)
    from (values (?, ?, ?, ?, ?, ?, ?, ?)) as new
    where not exists (select 1 from predictions where prediction_id = new.column1)"""  # `on conflict` uses up a seq
_WHERE_KEPT = "select block, position from predictions where prediction_id = ?"
_INSERT_FEEDBACK = """
    insert into feedback(prediction_id, at, label, received_at) values (?, ?, ?, ?)
    on conflict(prediction_id, at, label) do nothing"""
_MARK_LABELLED = """
    update predictions set first_label_at = ?
    where prediction_id = ? and (first_label_at is null or first_label_at > ?)"""
_COUNT_REFUSAL = """
    insert into refusals(minute, field, events) values (?, ?, 1)
    on conflict(minute, field) do update set events = events + 1"""
_COUNT = """
    insert into counters(name, value) values (?, ?)
    on conflict(name) do update set value = value + excluded.value"""
SAVE_KEEP_SECONDS = """
    insert into counters(name, value) values ('keep_seconds', ?)
    on conflict(name) do update set value = excluded.value where excluded.value <> value"""
_RAISE_NEWEST_LABEL_AT = """
    insert into counters(name, value) values ('newest_label_at', ?)
    on conflict(name) do update set value = excluded.value where excluded.value > value"""
_LOWER_FIRST_AT = """
    insert into counters(name, value) values ('first_at', ?)
    on conflict(name) do update set value = excluded.value where excluded.value < value"""

"""Retention: seals and prunes the event store within an age and a size, in a short child process."""

from __future__ import annotations

import math
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from driftd.store.cutoff import Cutoff, choose_cutoff
from driftd.store.descriptors import open_database
from driftd.store.events.sealing import Sealed, has_cold, seal
from driftd.store.events.writer import MINUTE, SAVE_KEEP_SECONDS, connect, transaction
from driftd.store.migrations import ensure_current
from driftd.store.schema_versions import DatabaseError
from driftd.store.subprocesses import ChildError, are_ending, run_apart


def oldest_unsealed(path: Path) -> float | None:
    """When the oldest events arrived that are in no segment yet (epoch seconds); None when there are none."""
    if not path.exists():
        return None
    with closing(open_database(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        after = connection.execute("select coalesce(max(last_block), 0) from segments").fetchone()[0]
        query = "select received_at from blocks where id > ? order by id limit 1"
        row = connection.execute(query, (after,)).fetchone()
    return float(row[0]) if row else None


_ROWS_AT_ONCE = 500
_PAGES_AT_ONCE = 128
_BREATH = 0.005  # seconds between two small transactions, for the writers


@dataclass(frozen=True, slots=True)
class RetentionLimits:
    """What is kept: so many seconds of events; if given, at most so many bytes of segments and used database pages.

    By age at most `share` of the rows goes at once. With `is_ordered` a person said that what is too old must go: the
    clock and the share are not asked.
    """

    keep_seconds: float
    most_bytes: int | None = None
    keep_refused_seconds: float = 30 * 86_400.0
    share: float = 1.0
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went."""

    rows: int = 0
    segments: int = 0
    orphans: int = 0  # labels whose prediction never came
    quarantined: int = 0
    held: str = ""  # why nothing went by its age; empty when the clock and the share allowed it


def prune(path: Path, segments: Path, now: float, limits: RetentionLimits) -> Pruned:
    """Delete what is over the limits. Safe beside writers and readers; killed anywhere, the next run goes on.

    Raises sqlite3.OperationalError when the disk does not take it.
    """
    if not path.exists():
        return Pruned()
    ensure_current(path, "events")
    with closing(connect(path)) as connection:
        connection.execute("pragma synchronous = normal")  # nothing here is lost that could not be done again
        allowed = _cutoff(connection, now, limits)
        with transaction(connection):  # those who write events refuse what is older, and know no config
            connection.execute(SAVE_KEEP_SECONDS, (limits.keep_seconds,))
        cutoff = 0.0 if allowed.at is None else allowed.at  # no event is older than 1970
        rows = _delete_rows(connection, _OLD_ROWS, (cutoff,))
        orphans = _delete_orphans(connection, _orphans_cutoff(connection, cutoff))
        if limits.most_bytes is not None:
            orphans += _shrink_orphans(connection, limits.most_bytes)
            rows += _shrink(connection, limits.most_bytes)
        gone = _drop_segments(connection, segments)
        _delete_dead_blocks(connection, cutoff)
        quarantined = _delete_refused(connection, cutoff + limits.keep_seconds - limits.keep_refused_seconds)
        _give_pages_back(connection)
    return Pruned(rows, gone, orphans, quarantined, allowed.reason)


def count_old(path: Path, now: float, limits: RetentionLimits) -> tuple[int, int, Cutoff]:
    """How many predictions are too old, how many there are, and up to which time `prune` would delete them."""
    with closing(open_database(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        times = PredictionTimes(connection)
        total, allowed = times.count(), _cutoff(connection, now, limits)
        ordered = _cutoff(connection, now, replace(limits, is_ordered=True)).at
        assert ordered is not None  # nothing is held back where a person orders it
        return times.count_before(ordered, total), total, allowed


def _cutoff(connection: sqlite3.Connection, now: float, limits: RetentionLimits) -> Cutoff:
    times = PredictionTimes(connection)
    if limits.is_ordered or not times.count():
        return Cutoff(now - limits.keep_seconds)
    return choose_cutoff(times, now, limits.keep_seconds, limits.share)


class PredictionTimes:
    """The times of the predictions of an events database, by its index: see `Times`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def newest(self) -> float:
        """See `Times.newest`."""
        return float(self._value("select max(at) from predictions", ()))

    def last_until(self, at: float) -> float | None:
        """See `Times.last_until`."""
        found = self._value("select max(at) from predictions where at <= ?", (at,))
        return None if found is None else float(found)

    def first_after(self, at: float) -> float:
        """See `Times.first_after`."""
        return float(self._value("select min(at) from predictions where at > ?", (at,)))

    def count_from(self, at: float, most: int) -> int:
        """See `Times.count_from`."""
        query = "select count(*) from (select 1 from predictions indexed by predictions_by_time where at >= ? limit ?)"
        return int(self._value(query, (at, most)))

    def count_before(self, at: float, most: int) -> int:
        """See `Times.count_before`."""
        query = "select count(*) from (select 1 from predictions indexed by predictions_by_time where at < ? limit ?)"
        return int(self._value(query, (at, most)))

    def count(self) -> int:
        """See `Times.count`; by the numbers of arrival, so that not every row is read for it: at least so many."""
        query = "select coalesce((select max(seq) from predictions) - (select min(seq) from predictions) + 1, 0)"
        return int(self._value(query, ()))

    def _value(self, query: str, arguments: tuple[float, ...]) -> Any:
        return self._db.execute(query, arguments).fetchone()[0]


def _delete_rows(connection: sqlite3.Connection, chosen: str, arguments: Sequence[Any]) -> int:
    """Delete the rows that `chosen` selects, with their labels, some hundred at once."""
    total = 0
    while True:
        with transaction(connection):
            rows = connection.execute(chosen, (*arguments, _ROWS_AT_ONCE)).fetchall()
            connection.executemany("delete from feedback where prediction_id = ?", [(row,) for _, row in rows])
            connection.executemany("delete from predictions where seq = ?", [(seq,) for seq, _ in rows])
        total += len(rows)
        if len(rows) < _ROWS_AT_ONCE:
            return total
        time.sleep(_BREATH)


def _shrink(connection: sqlite3.Connection, most_bytes: int) -> int:
    """Delete the rows of the oldest segments until the rest fits. What is not sealed yet stays."""
    total = 0
    segments = connection.execute("select last_seq, bytes from segments order by last_seq").fetchall()
    held = sum(size for _, size in segments)
    for last_seq, size in segments:
        if _used_bytes(connection) + held <= most_bytes:
            break
        total += _delete_rows(connection, _FIRST_ROWS, (last_seq,))
        held -= size
    return total


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the database in use. Free pages do not count: they take the next rows before the file grows."""
    (pages,) = connection.execute("pragma page_count").fetchone()
    (free,) = connection.execute("pragma freelist_count").fetchone()
    (page_size,) = connection.execute("pragma page_size").fetchone()
    return int(pages - free) * int(page_size)


def _drop_segments(connection: sqlite3.Connection, segments: Path) -> int:
    """Forget segments without rows, then remove their files; sealing removes what a crash leaves in between."""
    with transaction(connection):
        # The newest stays registered, because it says what the next one begins with.
        empty = connection.execute(_EMPTY_SEGMENTS).fetchall()
        connection.executemany("delete from segments where id = ?", [(number,) for number, _ in empty])
    for _, file in empty:
        (segments / file).unlink(missing_ok=True)
    return len(empty)


def _delete_dead_blocks(connection: sqlite3.Connection, cutoff: float) -> None:
    """Blocks that were never sealed and have no row any more."""
    with transaction(connection):
        oldest = connection.execute("select block from predictions order by seq limit 1").fetchone()
        if oldest is None:
            connection.execute("delete from blocks where received_at < ?", (cutoff,))
        else:
            connection.execute("delete from blocks where id < ? and received_at < ?", (oldest[0], cutoff))


def _delete_orphans(connection: sqlite3.Connection, cutoff: float) -> int:
    """Labels without a prediction that are older than a time; the table is looked through in short pieces."""
    total = 0
    after = ""
    while piece := connection.execute(_FEEDBACK, (after, _ROWS_AT_ONCE * 10)).fetchall():
        after = piece[-1][0]
        orphans = [(name, cutoff) for name, at, prediction in piece if prediction is None and at < cutoff]
        if orphans:
            with transaction(connection):
                connection.executemany(_DELETE_ORPHAN, orphans)
            total += len(orphans)
        time.sleep(_BREATH)
    return total


_MOST_ORPHANS = 100_000  # labels without a prediction, or as many as there are predictions: they may yet come


def _orphans_cutoff(connection: sqlite3.Connection, cutoff: float) -> float:
    """The time up to which labels without a prediction go: by age, and the oldest of them over their number."""
    most = max(_MOST_ORPHANS, PredictionTimes(connection).count())
    (labels,) = connection.execute("select count(*) from feedback").fetchone()
    found = connection.execute(_ORPHAN_FROM_NEWEST, (most,)).fetchone() if labels > most else None
    return cutoff if found is None else max(cutoff, math.nextafter(found[0], math.inf))


def _shrink_orphans(connection: sqlite3.Connection, most_bytes: int) -> int:
    """Delete labels without a prediction, the oldest first, before any prediction goes."""
    total = 0
    (held,) = connection.execute("select coalesce(sum(bytes), 0) from segments").fetchone()
    while _used_bytes(connection) + held > most_bytes:
        (orphans,) = connection.execute(_COUNT_ORPHANS).fetchone()
        if not orphans:
            break
        found = connection.execute(_ORPHAN_FROM_NEWEST, (orphans // 2,)).fetchone()
        gone = _delete_orphans(connection, math.nextafter(found[0], math.inf))
        total += gone
        if not gone:
            break
    return total


def _delete_refused(connection: sqlite3.Connection, cutoff: float) -> int:
    with transaction(connection):
        count = connection.execute("delete from quarantine where received_at < ?", (cutoff,)).rowcount
        connection.execute("delete from refusals where minute < ?", (int(cutoff // MINUTE),))
    return count


def _give_pages_back(connection: sqlite3.Connection) -> None:
    """Shrink the file when more than a quarter of it is free; less is soon used again."""
    while True:
        (free,) = connection.execute("pragma freelist_count").fetchone()
        (pages,) = connection.execute("pragma page_count").fetchone()
        if free <= pages // 4 or free <= _PAGES_AT_ONCE:
            return
        # `execute` would stop after the first page: the pragma gives a row without columns for each.
        connection.executescript(f"pragma incremental_vacuum({_PAGES_AT_ONCE})")
        time.sleep(_BREATH)


_OLD_ROWS = "select seq, prediction_id from predictions indexed by predictions_by_time where at < ? limit ?"
_FIRST_ROWS = "select seq, prediction_id from predictions where seq <= ? order by seq limit ?"
_EMPTY_SEGMENTS = """
    select id, file from segments
    where last_seq < coalesce((select min(seq) from predictions), 9e18)
    and last_seq < (select max(last_seq) from segments)"""
_FEEDBACK = """
    select f.prediction_id, max(f.at), p.seq from feedback f left join predictions p using (prediction_id)
    where f.prediction_id > ? group by f.prediction_id order by f.prediction_id limit ?"""
_ORPHANS = """
    from feedback f where not exists (select 1 from predictions p where p.prediction_id = f.prediction_id)"""
_COUNT_ORPHANS = f"select count(*) {_ORPHANS}"
_ORPHAN_FROM_NEWEST = f"select f.at {_ORPHANS} order by f.at desc limit 1 offset ?"
_DELETE_ORPHAN = """
    delete from feedback where prediction_id = ? and at < ?
    and not exists (select 1 from predictions p where p.prediction_id = feedback.prediction_id)"""


HOT_SECONDS = 3600.0  # features stay in the database for so long: most checks read the newest window only
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done; `error` says why not all."""

    sealed: tuple[Sealed, ...]
    pruned: Pruned
    error: str = ""


def upkeep(
    path: Path, segments: Path, now: float, limits: RetentionLimits, *, hot_seconds: float = HOT_SECONDS
) -> Upkeep:
    """Seal what is cold, then delete what is over the limits, in this process.

    Raises OSError or sqlite3.OperationalError when the disk does not take it; the next run goes on from there.
    """
    sealed = seal(path, segments, now, hot_seconds=hot_seconds)
    return Upkeep(tuple(sealed), prune(path, segments, now, limits))


def needs_upkeep(path: Path, now: float, limits: RetentionLimits) -> bool:
    """Whether something is cold, or over its bytes; by a few numbers, and also where these cannot be read."""
    if not path.exists():
        return False
    try:
        with closing(open_database(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            if has_cold(connection, now, hot_seconds=HOT_SECONDS):
                return True
            (held,) = connection.execute("select coalesce(sum(bytes), 0) from segments").fetchone()
            return limits.most_bytes is not None and _used_bytes(connection) + held > limits.most_bytes
    except sqlite3.Error:
        return True


_AT_ONCE = 100  # stores in one child: their paths stand on its command line


def upkeep_apart(stores: Mapping[str, tuple[Path, Path]], now: float, limits: RetentionLimits) -> dict[str, Upkeep]:
    """The same for many stores in a child process, which this call waits for; by name, database and segments.

    One whose store makes the child fail harms no other: then each has a child of its own. `Upkeep.error` says what
    failed.
    """
    done: dict[str, Upkeep] = {}
    names = [name for name, (path, _) in stores.items() if path.exists()]
    for first in range(0, len(names), _AT_ONCE):
        piece = {name: stores[name] for name in names[first : first + _AT_ONCE]}
        found, error = _upkeep_of(piece, now, limits)
        for name in piece:
            if name not in found and len(piece) > 1 and not are_ending():
                alone, error = _upkeep_of({name: stores[name]}, now, limits)
                found |= alone
            done[name] = found.get(name, Upkeep((), Pruned(), error))
    return done


def _upkeep_of(
    stores: Mapping[str, tuple[Path, Path]], now: float, limits: RetentionLimits
) -> tuple[dict[str, Upkeep], str]:
    """What one child did, and how it failed."""
    paths = {name: (str(path), str(segments)) for name, (path, segments) in stores.items()}
    order = msgspec.json.encode(_Order(paths, now, limits)).decode()
    try:
        output = run_apart("driftd.store.events.retention", [order], _LONGEST_SECONDS)
    except (ChildError, OSError) as error:
        return {}, str(error)
    return msgspec.json.decode(output, type=dict[str, Upkeep]), ""


class _Order(msgspec.Struct):
    stores: dict[str, tuple[str, str]]
    now: float
    limits: RetentionLimits


def main() -> None:
    """Do what the JSON on the command line orders, and print what was done."""
    order = msgspec.json.decode(sys.argv[1], type=_Order)
    done: dict[str, Upkeep] = {}
    for name, (path, segments) in order.stores.items():
        try:
            done[name] = upkeep(Path(path), Path(segments), order.now, order.limits)
        except (DatabaseError, sqlite3.Error, OSError) as error:
            done[name] = Upkeep((), Pruned(), f"{type(error).__name__}: {error}")
    sys.stdout.write(msgspec.json.encode(done).decode())


if __name__ == "__main__":
    main()

"""Sealing: features that have cooled down move from blocks in the database into large Parquet segments.

At every moment a row's features are in exactly one place that readers look at: a segment counts from the moment it is
registered, in one small transaction, and by then the file is whole and synced; its blocks are deleted afterwards, in
pieces so small that no writer waits long. Killed anywhere, the next run goes on: files that nobody registered are
removed, blocks that a segment has are deleted.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driftd.store.events.columnar import decode_blocks, features_of
from driftd.store.events.writer import connect, transaction
from driftd.store.migrations import ensure_current
from driftd_detectors.columns import take_rows

SEGMENT_ROWS = 100_000
_SPARE_SECONDS = 86_400.0  # a small stream is sealed once its oldest rows have been cold for so long
_BLOCKS_AT_ONCE = 32
_BREATH = 0.005  # seconds between two small transactions, for the writers


@dataclass(frozen=True, slots=True)
class Sealed:
    """One segment that was written."""

    file: str
    rows: int
    bytes: int


def seal(
    path: Path, segments: Path, now: float, *, hot_seconds: float, segment_rows: int = SEGMENT_ROWS
) -> list[Sealed]:
    """Write what arrived more than `hot_seconds` ago into segments of about `segment_rows` rows; returns them.

    Fewer rows are left for later, until they have been cold for a day. Only one process seals at a time: another one
    returns at once with nothing. Raises OSError or sqlite3.OperationalError when the disk does not take it.
    """
    if not path.exists():
        return []
    ensure_current(path, "events")
    with _alone(segments) as mine:
        if not mine:
            return []
        connection = connect(path)
        connection.execute("pragma synchronous = normal")  # nothing here is lost that could not be done again
        try:
            _tidy(connection, segments)
            done = []
            # What arrives meanwhile is for the next run: it could make one tiny segment after the other.
            newest = connection.execute("select coalesce(max(id), 0) from blocks").fetchone()[0]
            while (sealed := _seal_one(connection, segments, now, hot_seconds, segment_rows, newest)) is not None:
                if sealed.rows:
                    done.append(sealed)
                    delete_sealed_blocks(connection)
        finally:
            connection.close()
    return done


def has_cold(connection: sqlite3.Connection, now: float, *, hot_seconds: float) -> bool:
    """Whether `seal` would write something now, by a few numbers."""
    rows, oldest, shapes = connection.execute(_COLD, (now - hot_seconds,)).fetchone()
    return rows >= SEGMENT_ROWS or shapes > 1 or (oldest is not None and oldest < now - hot_seconds - _SPARE_SECONDS)


def delete_sealed_blocks(connection: sqlite3.Connection) -> None:
    """Delete the blocks that registered segments have, a few at once."""
    last = connection.execute("select max(last_block) from segments").fetchone()[0]
    while last is not None:
        with transaction(connection):
            deleted = connection.execute(_DELETE_BLOCKS, (last, _BLOCKS_AT_ONCE)).rowcount
        if deleted < _BLOCKS_AT_ONCE:
            return
        time.sleep(_BREATH)


def _seal_one(
    connection: sqlite3.Connection, segments: Path, now: float, hot_seconds: float, segment_rows: int, newest: int
) -> Sealed | None:
    blocks = _next_blocks(connection, now, hot_seconds, segment_rows, newest)
    if not blocks:
        return None
    from driftd.store.events.segments import segment_table, write_segment  # noqa: PLC0415 - Arrow only when needed

    first, last = blocks[0][0], blocks[-1][0]
    narrow = _narrow_rows(connection, last)
    if not narrow:  # retention took the rows before they were sealed
        with transaction(connection):
            connection.execute("delete from blocks where id between ? and ?", (first, last))
        return Sealed("", 0, 0)
    features = features_of(blocks[0][1])
    columns = decode_blocks([data for *_, data in blocks], features, [size for _, _, size, _, _ in blocks])
    offsets = dict(
        zip((number for number, *_ in blocks), np.cumsum([0, *(block[2] for block in blocks)]), strict=False)
    )
    places = np.array([offsets[row[6]] + row[7] for row in narrow], dtype=np.int64)
    kept = {name: take_rows(column, places) for name, column in columns.items()}
    file = f"{narrow[0][0]:012d}-{narrow[-1][0]:012d}.parquet"
    named = {name: [row[place] for row in narrow] for place, name in enumerate(_NARROW)}
    size = write_segment(segment_table(named, kept, features), segments / file)
    times = named["driftd_at"]
    with transaction(connection):
        connection.execute(
            _REGISTER,
            (file, first, last, narrow[0][0], narrow[-1][0], min(times), max(times), len(narrow), size, now),
        )
    return Sealed(file, len(narrow), size)


def _next_blocks(
    connection: sqlite3.Connection, now: float, hot_seconds: float, segment_rows: int, newest: int
) -> list[tuple[int, str, int, float, bytes]]:
    """The oldest cold blocks of one shape that make a segment; empty when there are too few, and none too old.

    A change of shape (another version's features) ends a segment, so that every file has one schema.
    """
    chosen: list[tuple[int, str, int, float, bytes]] = []
    rows = 0
    ended = False
    for block in connection.execute(_COLD_BLOCKS, (now - hot_seconds, newest)):
        if chosen and block[1] != chosen[0][1]:
            ended = True
            break
        chosen.append(block)
        rows += block[2]
        if rows >= segment_rows:
            ended = True
            break
    old = bool(chosen) and chosen[0][3] < now - hot_seconds - _SPARE_SECONDS
    return chosen if ended or old else []


def _narrow_rows(connection: sqlite3.Connection, last_block: int) -> list[Any]:
    """The rows that are not in a segment yet, up to those of a block; blocks are filled in the order of arrival."""
    after = connection.execute("select coalesce(max(last_seq), 0) from segments").fetchone()[0]
    rows = []
    for row in connection.execute(_NEXT_ROWS, (after,)):
        if row[6] > last_block:
            break
        rows.append(row)
    return rows


def _tidy(connection: sqlite3.Connection, segments: Path) -> None:
    """Finish what a killed run began: the files that nobody registered are not there as far as readers know."""
    registered = {file for (file,) in connection.execute("select file from segments")}
    for path in segments.iterdir():
        if path.suffix == ".unfinished" or (path.suffix == ".parquet" and path.name not in registered):
            path.unlink(missing_ok=True)
    delete_sealed_blocks(connection)


@contextmanager
def _alone(segments: Path) -> Iterator[bool]:
    segments.mkdir(parents=True, exist_ok=True)
    with (segments / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


_NARROW = ("driftd_seq", "driftd_id", "driftd_at", "driftd_version", "driftd_prediction", "driftd_score")
_COLD_BLOCKS = """
    select blocks.id, shapes.features, blocks.rows, blocks.received_at, blocks.data
    from blocks join shapes on shapes.id = blocks.shape
    where blocks.received_at < ? and blocks.id <= ? and blocks.id > (select coalesce(max(last_block), 0) from segments)
    order by blocks.id"""
_NEXT_ROWS = """
    select seq, prediction_id, at, version, prediction, score, block, position
    from predictions where seq > ? order by seq"""
_REGISTER = """
    insert into segments(file, first_block, last_block, first_seq, last_seq, first_at, last_at, rows, bytes, sealed_at)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DELETE_BLOCKS = "delete from blocks where id in (select id from blocks where id <= ? order by id limit ?)"
_COLD = """
    select coalesce(sum(rows), 0), min(received_at), count(distinct shape) from blocks
    where id > (select coalesce(max(last_block), 0) from segments) and received_at < ?"""

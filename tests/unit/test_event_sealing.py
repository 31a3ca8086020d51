"""Sealing and retention: where rows are may change, what readers see may not."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from driftd.store.events.retention import RetentionLimits, needs_upkeep, prune
from driftd.store.events.sealing import seal
from driftd_detectors.schema import Feature, Kind, Schema
from event_samples import SCHEMA, START, keep, label, open_store, prediction, stored_rows

LATER = START + 100_000


def fill(folder: Path, batches: int = 6, size: int = 10) -> None:
    store = open_store(folder)
    for first in range(0, batches * size, size):
        keep(store, [prediction(number) for number in range(first, first + size)], START + first)
    store.close()


def block_count(folder: Path) -> int:
    with sqlite3.connect(folder / "events.db") as connection:
        return int(connection.execute("select count(*) from blocks").fetchone()[0])


def test_sealed_rows_read_the_same(tmp_path: Path) -> None:
    """After sealing, every row has the same values, and the database holds no block of it."""
    fill(tmp_path)
    before = stored_rows(tmp_path)
    done = seal(tmp_path / "events.db", tmp_path / "segments", LATER, hot_seconds=60, segment_rows=20)
    assert [item.rows for item in done] == [20, 20, 20]
    assert len(before) == 60
    assert stored_rows(tmp_path) == before
    assert block_count(tmp_path) == 0


def test_hot_rows_stay(tmp_path: Path) -> None:
    """Rows that arrived within the hot span, and too few cold ones, are not sealed; reading mixes both."""
    fill(tmp_path)
    before = stored_rows(tmp_path)
    done = seal(tmp_path / "events.db", tmp_path / "segments", START + 45, hot_seconds=10, segment_rows=15)
    assert [item.rows for item in done] == [20, 20]
    assert block_count(tmp_path) == 2
    assert stored_rows(tmp_path) == before
    assert seal(tmp_path / "events.db", tmp_path / "segments", START + 55, hot_seconds=10, segment_rows=15) == []


def test_a_store_without_cold_rows_needs_no_upkeep(tmp_path: Path) -> None:
    """A few cold rows wait for a day; more bytes than allowed wait for nothing, nor what cannot be read."""
    fill(tmp_path)
    path, day, limits = tmp_path / "events.db", 86_400.0, RetentionLimits(90 * 86_400.0)
    assert not needs_upkeep(path, START + 3 * 3600.0, limits)
    assert needs_upkeep(path, START + day + 3700.0, limits)
    assert needs_upkeep(path, START + 3 * 3600.0, replace(limits, most_bytes=1000))
    assert not needs_upkeep(path, START + 3 * 3600.0, replace(limits, most_bytes=10_000_000))
    assert not needs_upkeep(tmp_path / "absent.db", START, limits)
    path.write_bytes(b"no database " * 100)
    assert needs_upkeep(path, START, limits), "the upkeep tells what is wrong with it"


def test_another_shape_begins_another_segment(tmp_path: Path) -> None:
    """When a new version has other features, older rows still read, with what they lack missing."""
    fill(tmp_path, batches=2)
    wider = Schema(SCHEMA.task, SCHEMA.target, (*SCHEMA.features, Feature("rank", Kind.NUMBER)), SCHEMA.classes)
    store = open_store(tmp_path, wider)
    keep(store, [prediction(99, features={"age": 1, "rank": 7})], START + 50)
    store.close()
    before = stored_rows(tmp_path, wider)
    done = seal(tmp_path / "events.db", tmp_path / "segments", LATER + 200_000, hot_seconds=60, segment_rows=1000)
    assert [item.rows for item in done] == [20, 1]
    after = stored_rows(tmp_path, wider)
    assert repr(after) == repr(before)  # NaN among them
    assert after[-1][-1] == 7


def test_killed_before_the_segment_was_registered(tmp_path: Path) -> None:
    """Files that a killed run left, whole or not, are not seen by readers, and the next run takes their place."""
    fill(tmp_path)
    before = stored_rows(tmp_path)
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "000000000001-000000000020.unfinished").write_bytes(b"PAR1 half")
    (tmp_path / "segments" / "000000000001-000000000040.parquet").write_bytes(b"nobody registered this")
    assert stored_rows(tmp_path) == before
    seal(tmp_path / "events.db", tmp_path / "segments", LATER, hot_seconds=60, segment_rows=20)
    assert stored_rows(tmp_path) == before
    assert sorted(path.name for path in (tmp_path / "segments").glob("0*")) == [
        "000000000001-000000000020.parquet",
        "000000000021-000000000040.parquet",
        "000000000041-000000000060.parquet",
    ]


def test_killed_before_the_blocks_were_deleted(tmp_path: Path) -> None:
    """Blocks that a registered segment has are not read a second time, and the next run deletes them."""
    fill(tmp_path)
    before = stored_rows(tmp_path)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        blocks = connection.execute("select id, shape, rows, received_at, data from blocks").fetchall()
    seal(tmp_path / "events.db", tmp_path / "segments", LATER, hot_seconds=60, segment_rows=20)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.executemany("insert into blocks(id, shape, rows, received_at, data) values (?, ?, ?, ?, ?)", blocks)
    assert stored_rows(tmp_path) == before
    assert seal(tmp_path / "events.db", tmp_path / "segments", LATER, hot_seconds=60, segment_rows=20) == []
    assert block_count(tmp_path) == 0
    assert stored_rows(tmp_path) == before


def test_retention_by_age(tmp_path: Path) -> None:
    """Rows over the age go with their labels, and segments with their last row; the rest reads as before."""
    fill(tmp_path)
    store = open_store(tmp_path)
    keep(store, [label(number) for number in range(0, 60, 2)])
    seal(tmp_path / "events.db", tmp_path / "segments", LATER, hot_seconds=60, segment_rows=20)
    before = stored_rows(tmp_path)
    pruned = prune(tmp_path / "events.db", tmp_path / "segments", START + 1045, RetentionLimits(keep_seconds=14))
    assert (pruned.rows, pruned.segments) == (45, 2)
    assert stored_rows(tmp_path) == before[45:]
    assert len(list((tmp_path / "segments").glob("*.parquet"))) == 1
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("select count(*) from feedback").fetchone() == (7,)
    store.close()


def test_retention_by_size(tmp_path: Path) -> None:
    """Over the size, the oldest segments go, until the rest fits."""
    fill(tmp_path)
    seal(tmp_path / "events.db", tmp_path / "segments", LATER, hot_seconds=60, segment_rows=20)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "segments").glob("*.parquet"))]
    room = (tmp_path / "events.db").stat().st_size + sum(sizes[1:])
    before = stored_rows(tmp_path)
    pruned = prune(
        tmp_path / "events.db", tmp_path / "segments", LATER, RetentionLimits(keep_seconds=1e9, most_bytes=room)
    )
    assert (pruned.rows, pruned.segments) == (20, 1)
    assert stored_rows(tmp_path) == before[20:]


def test_feedback_whose_prediction_never_came(tmp_path: Path) -> None:
    """Old labels without a prediction go; young ones and those of predictions stay."""
    store = open_store(tmp_path)
    keep(store, [prediction(1), label(1, at=START + 2), label(500, at=START), label(501, at=START + 900)])
    pruned = prune(tmp_path / "events.db", tmp_path / "segments", START + 1000, RetentionLimits(keep_seconds=0.5))
    assert (pruned.rows, pruned.orphans) == (0, 1)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        kept = connection.execute("select prediction_id from feedback order by 1").fetchall()
    assert kept == [("p1",), ("p501",)]
    store.close()


def test_numbers_are_never_used_twice(tmp_path: Path) -> None:
    """After every row went, the next one still gets a new number, so that no row window is seen twice."""
    fill(tmp_path, batches=2)
    prune(tmp_path / "events.db", tmp_path / "segments", LATER, RetentionLimits(1.0, is_ordered=True))
    store = open_store(tmp_path)
    keep(store, [prediction(99)], LATER)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("select seq from predictions").fetchall() == [(21,)]
        assert connection.execute("select value from counters where name = 'first_at'").fetchone() == (START,)
    store.close()

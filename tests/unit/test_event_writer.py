"""Keeping events: durably, once, with their history."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftd.store.events.columnar import decode_blocks, encode_block, features_of, shape_of
from driftd.store.events.group_commit import GroupCommit
from driftd.store.events.reader import EventReader
from driftd.store.events.validation import Receipt, read_events
from driftd.store.events.writer import EventsNotKeptError
from driftd_detectors.columns import Coded
from driftd_detectors.schema import Feature, Kind, Schema
from event_samples import SCHEMA, START, keep, label, open_store, prediction, stored_rows
from limits import HANG

NOW = START + 1000


def outcomes_of(folder: Path, known_by: float = 4e9) -> Any:
    reader = EventReader(folder / "events.db", SCHEMA, folder / "segments")
    return reader.rows(reader.seqs_between(0, 4e9), known_by).outcomes


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    """Every value of every kind comes back; the receipt counts what was kept."""
    store = open_store(tmp_path)
    receipt = keep(store, [prediction(3), prediction(4, features={}), label(3), {"nonsense": 1}])
    assert receipt == Receipt(predictions=2, feedback=1, refused=1)
    rows = stored_rows(tmp_path)
    assert rows[0] == ("p3", 3.5, "town 3", "0", START - 3)
    assert rows[1][0] == "p4"
    assert rows[1][2:4] == (None, None)
    assert math.isnan(rows[1][1])
    assert math.isnan(rows[1][4])


def test_a_prediction_is_kept_once(tmp_path: Path) -> None:
    """A repeated id keeps the first row, in the same batch and later; each repetition is counted."""
    store = open_store(tmp_path)
    assert keep(store, [prediction(1), prediction(1, prediction="0"), prediction(2)]).duplicates == 1
    assert keep(store, [prediction(2, prediction="1"), prediction(3)]) == Receipt(predictions=1, duplicates=1)
    assert keep(store, [prediction(1), prediction(2)]) == Receipt(duplicates=2)
    assert [row[0] for row in stored_rows(tmp_path)] == ["p1", "p2", "p3"]
    outcomes = outcomes_of(tmp_path)
    assert [outcomes.classes[int(code)] for code in outcomes.prediction] == ["1", "0", "1"]
    reader = EventReader(tmp_path / "events.db", SCHEMA, tmp_path / "segments")
    assert reader.counters() == {"duplicates": 4.0}


def test_repetitions_leave_no_gap_in_the_order_of_arrival(tmp_path: Path) -> None:
    """Row windows are cut by arrival numbers: an application that sends again must not make them smaller."""
    store = open_store(tmp_path)
    keep(store, [prediction(1), prediction(1), prediction(2)])
    keep(store, [prediction(1), prediction(2)])
    keep(store, [prediction(2), prediction(3), prediction(4)])
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("select seq from predictions order by seq").fetchall() == [(1,), (2,), (3,), (4,)]


@pytest.mark.parametrize("again", [(), (7,), tuple(range(60))], ids=["none", "one", "all"])
def test_a_large_batch_with_repetitions_is_kept_as_a_small_one_is(again: tuple[int, ...], tmp_path: Path) -> None:
    """First rows stay, no arrival number is lost, labels that came before are joined, repetitions are named."""
    store = open_store(tmp_path)
    keep(store, [label(5), *(prediction(number, prediction="1") for number in again)])
    batch, _ = read_events([prediction(number, prediction="0") for number in range(60)], SCHEMA, NOW)
    receipt = store.append(batch)
    assert (receipt.predictions, receipt.duplicates, receipt.repeated) == (60 - len(again), len(again), again)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        found = connection.execute("select seq, prediction_id, prediction, first_label_at from predictions").fetchall()
    assert [row[0] for row in found] == list(range(1, 61))
    assert sorted(row[1] for row in found) == sorted(f"p{number}" for number in range(60))
    assert [row[1] for row in found if row[3] is not None] == ["p5"]
    firsts = {f"p{number}" for number in again}
    assert all((row[2] == "0") == (row[1] not in firsts) for row in found)


def test_a_repeated_request_leaves_no_block(tmp_path: Path) -> None:
    """When all of a batch was there already, the database does not grow by its features."""
    store = open_store(tmp_path)
    for _ in range(3):
        keep(store, [prediction(1), prediction(2)])
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("select count(*) from blocks").fetchone() == (1,)


def test_every_label_is_kept_and_the_newest_wins(tmp_path: Path) -> None:
    """Corrections by time of becoming known, whatever the order of arrival; a repeated label is a duplicate."""
    store = open_store(tmp_path)
    keep(store, [prediction(1), label(1, "0", START + 300), label(1, "1", START + 200)])
    assert keep(store, [label(1, "0", START + 300)]) == Receipt(duplicates=1)
    assert outcomes_of(tmp_path).label.tolist() == [0.0]
    assert outcomes_of(tmp_path, START + 250).label.tolist() == [1.0]
    assert outcomes_of(tmp_path, START + 100).label.tolist() == [-1.0]
    assert math.isnan(outcomes_of(tmp_path, START + 100).label_at[0])
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("select count(*) from feedback").fetchone() == (2,)


def test_two_labels_of_one_time(tmp_path: Path) -> None:
    """Of two labels of the same time, the one that arrived later wins."""
    store = open_store(tmp_path)
    keep(store, [prediction(1), label(1, "1")], NOW)
    keep(store, [label(1, "0")], NOW + 1)
    assert outcomes_of(tmp_path).label.tolist() == [0.0]


def test_the_quarantine(tmp_path: Path) -> None:
    """Refused events are kept with their field and reason, and counted by field for the windows to see."""
    store = open_store(tmp_path)
    minute = NOW // 60 * 60
    keep(store, [prediction(1, features={"age": "old"}), prediction(2, features={"age": []}), 5], minute + 59)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        fields = connection.execute("select prediction_id, field from quarantine order by id").fetchall()
        assert fields == [("p1", "features.age"), ("p2", "features.age"), (None, "")]
    reader = EventReader(tmp_path / "events.db", SCHEMA, tmp_path / "segments")
    assert reader.refusals(minute, minute + 60) == {"": 1, "features.age": 2}
    assert reader.refusals(minute - 3600, minute) == reader.refusals(minute + 1, minute + 3600) == {}


def test_group_commit(tmp_path: Path) -> None:
    """Every batch gets its own receipt, also when many share one transaction and repeat each other's ids."""
    store = open_store(tmp_path)
    group = GroupCommit(store)
    batches = [read_events([prediction(n), prediction(n + 1), label(n)], SCHEMA, NOW)[0] for n in range(40)]
    receipts = [future.result(timeout=HANG) for future in [group.submit(batch) for batch in batches]]
    group.close()
    assert receipts[0] == Receipt(predictions=2, feedback=1)
    assert all(item == Receipt(predictions=1, feedback=1, duplicates=1) for item in receipts[1:])
    rows = stored_rows(tmp_path)
    assert [(row[0], row[1]) for row in rows] == [(f"p{n}", n + 0.5) for n in range(41)]
    with pytest.raises(EventsNotKeptError, match="closed"):
        group.submit(batches[0])


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    """While the database takes nothing, every waiting batch fails; afterwards the same store goes on by itself."""
    store = open_store(tmp_path)
    keep(store, [prediction(0)])
    group = GroupCommit(store)
    store._db.execute("pragma query_only = on")
    futures = [group.submit(read_events([prediction(n)], SCHEMA, NOW)[0]) for n in range(1, 5)]
    for future in futures:
        with pytest.raises(EventsNotKeptError, match="readonly"):
            future.result(timeout=HANG)
    store._db.execute("pragma query_only = off")
    assert group.submit(read_events([prediction(9)], SCHEMA, NOW)[0]).result(timeout=HANG).predictions == 1
    group.close()
    assert [row[0] for row in stored_rows(tmp_path)] == ["p0", "p9"]


def test_one_impossible_batch_does_not_harm_the_others(tmp_path: Path) -> None:
    """A batch that SQLite cannot take fails alone."""
    store = open_store(tmp_path)
    group = GroupCommit(store)
    good, bad = (read_events([prediction(n)], SCHEMA, NOW)[0] for n in (1, 2))
    bad.predictions[0] = ("p2", START, 2**70, "1", None)
    futures = [group.submit(item) for item in (bad, good, bad)]
    assert futures[1].result(timeout=HANG).predictions == 1
    for future in (futures[0], futures[2]):
        with pytest.raises(EventsNotKeptError, match="could not be stored"):
            future.result(timeout=HANG)
    group.close()
    assert [row[0] for row in stored_rows(tmp_path)] == ["p1"]


def test_a_reader_before_the_first_event(tmp_path: Path) -> None:
    """Reading an event store that does not exist finds nothing and makes no file."""
    reader = EventReader(tmp_path / "events.db", SCHEMA, tmp_path / "segments")
    assert (reader.count(), reader.first_at(), len(reader.seqs_between(0, 1e10))) == (0, None, 0)
    assert not (tmp_path / "events.db").exists()


def test_another_kind_is_unreadable(tmp_path: Path) -> None:
    """When a feature's kind changed between versions, older values are missing and counted as unreadable."""
    keep(open_store(tmp_path), [prediction(1), prediction(2)])
    changed = Schema(SCHEMA.task, SCHEMA.target, (Feature("age", Kind.CATEGORY), Feature("city", Kind.CATEGORY)))
    reader = EventReader(tmp_path / "events.db", changed, tmp_path / "segments")
    columns = reader.features(reader.rows(reader.seqs_between(0, 4e9), 4e9))
    assert dict(columns.unreadable) == {"age": 2}
    assert columns.values["age"].codes.tolist() == [-1, -1]
    assert columns.values["city"].labels == ("town 1", "town 2")


NUMBER = st.none() | st.floats() | st.integers(-(2**60), 2**60)
TEXT = st.none() | st.text(st.characters(codec="utf-8"), max_size=4)
ROWS = st.lists(st.tuples(NUMBER, TEXT, st.none() | st.booleans()), min_size=1, max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_blocks_round_trip(batches: list[list[tuple[Any, Any, Any]]]) -> None:
    """Any values of several blocks come back, in order; NaN is missing."""
    features = (Feature("n", Kind.NUMBER), Feature("c", Kind.CATEGORY), Feature("b", Kind.BOOLEAN))
    assert features_of(shape_of(features)) == features
    blocks = [encode_block([list(column) for column in zip(*rows, strict=True)], features) for rows in batches]
    columns = decode_blocks(blocks, features, [len(rows) for rows in batches])
    flat = [row for rows in batches for row in rows]
    numbers = np.array([math.nan if row[0] is None else row[0] for row in flat], dtype=float)
    np.testing.assert_array_equal(columns["n"], numbers)
    for place, name in ((1, "c"), (2, "b")):
        column = columns[name]
        assert isinstance(column, Coded)
        output = [None if code < 0 else column.labels[code] for code in column.codes]
        assert output == [str(int(row[2])) if place == 2 and row[2] is not None else row[place] for row in flat]

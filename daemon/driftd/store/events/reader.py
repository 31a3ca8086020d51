"""Reading `events.db`: which rows a window has, their outcomes, their features. Never holds a writer up.

Rows are named by `seq`, their number in the order of arrival, from 1 on without gaps. Features are found through the
row's block: in the database while it is hot, in a registered segment once it is sealed. One read transaction sees both,
so a row is never seen twice or not at all while the daemon seals.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd.store.events.columnar import adapt_columns, decode_blocks, features_of
from driftd.store.events.writer import MINUTE, connect
from driftd.store.migrations import ensure_current
from driftd.store.schema_versions import is_current
from driftd_detectors.columns import Columns, Numbers, Outcomes, missing_column, stack_columns, take_rows
from driftd_detectors.schema import Feature, Schema, Task
from driftd_detectors.values import ClassCodes

Seqs = NDArray[np.int64]
_IDS_AT_ONCE = 10_000
_SPARSE = 64  # a gap longer than this starts a new scan


@dataclass(frozen=True, slots=True)
class Rows:
    """Narrow rows in the order of arrival, with the labels known by some time."""

    seqs: Seqs
    ids: tuple[str, ...]
    blocks: Seqs
    positions: Seqs
    outcomes: Outcomes


class EventReader:
    """Reads one model's events; an event store that does not exist yet has no rows. For one thread at a time."""

    def __init__(self, path: Path, schema: Schema, segments: Path) -> None:
        self._path = path
        self._schema = schema
        self._segments = segments
        self._opened: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether there is an event store at all."""
        return self._path.exists()

    def use_schema(self, schema: Schema) -> None:
        """Give the features and the codes of classes of another version from now on."""
        self._schema = schema

    def close(self) -> None:
        """Close the connection; the next reading opens another."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All readings inside see one state of the database. Keep it short: the WAL grows while it lasts."""
        connection = self._db
        if connection is None or connection.in_transaction:
            yield
            return
        connection.execute("begin")
        try:
            yield
        finally:
            connection.execute("rollback")

    def count(self) -> int:
        """How many predictions ever arrived; also the `seq` of the newest."""
        return int(self._one("select coalesce(max(seq), 0) from predictions") or 0)

    def first_at(self) -> float | None:
        """The earliest event time ever seen (rows that retention took still count)."""
        value: float | None = self._one("select value from counters where name = 'first_at'")
        return value

    def arrived_late(self, after: int, before_at: float) -> int:
        """How many rows with `seq > after` have an event time before `before_at`."""
        return int(self._one("select count(*) from predictions where seq > ? and +at < ?", after, before_at) or 0)

    def newest_at(self) -> float | None:
        """The latest event time of a prediction; None before the first."""
        value: float | None = self._one("select max(at) from predictions")
        return value

    def newest_label_at(self) -> float | None:
        """The latest time of a label; None before the first."""
        value: float | None = self._one("select value from counters where name = 'newest_label_at'")
        return value

    def counters(self) -> dict[str, float]:
        """What the writers counted: `duplicates`, `refused`, `ignored` since the database was made."""
        return dict(self._all("select name, value from counters where name in ('duplicates', 'refused', 'ignored')"))

    def refusals(self, since: float, until: float) -> dict[str, int]:
        """Refused events by field, counted by the minute of their arrival (minutes that begin within the span)."""
        minutes = (math.ceil(since / MINUTE), math.ceil(until / MINUTE))
        sql = "select field, sum(events) from refusals where minute >= ? and minute < ? group by field"
        return dict(self._all(sql, *minutes))

    def seqs_between(self, since: float, until: float) -> Seqs:
        """The rows with `since <= at < until`, in the order of arrival."""
        return self._seqs(
            "select seq from predictions indexed by predictions_by_time where at >= ? and at < ?", since, until
        )

    def labelled_between(self, since: float, until: float, known_by: float) -> Seqs:
        """The rows with `since <= at < until` that have a label known by `known_by`, in the order of arrival."""
        return self._seqs(
            """select seq from predictions indexed by predictions_by_time
               where at >= ? and at < ? and first_label_at <= ?""",
            since,
            until,
            known_by,
        )

    def count_labelled(self, since: float, known_by: float) -> int:
        """How many rows with `at >= since` have a label known by `known_by`; an index alone is read."""
        sql = "select count(*) from predictions indexed by predictions_by_time where at >= ? and first_label_at <= ?"
        return int(self._one(sql, since, known_by) or 0)

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float | None:
        """The time of the oldest of the newest `rows` rows that `count_labelled` counts; None for fewer."""
        sql = """select at from predictions indexed by predictions_by_time where at >= ? and first_label_at <= ?
                 order by at desc limit 1 offset ?"""
        found: float | None = self._one(sql, since, known_by, rows - 1)
        return found

    def labels_of(self, ids: Sequence[str], known_by: float) -> tuple[list[str | float | None], Numbers]:
        """The newest label known by then of each prediction (kept here or not), and when it became known."""
        labels: list[str | float | None] = [None] * len(ids)
        label_at = np.full(len(ids), np.nan)
        for start in range(0, len(ids), _IDS_AT_ONCE):
            wanted = json.dumps(ids[start : start + _IDS_AT_ONCE])
            for place, label, at in self._all(_LABELS_OF, wanted, known_by):
                labels[start + place] = label
                label_at[start + place] = at
        return labels, label_at

    def find(self, prediction_id: str) -> tuple[int, float] | None:
        """The number of a prediction in the order of arrival, and when it arrived; None where it is not kept here."""
        found = self._all("select seq, received_at from predictions where prediction_id = ?", prediction_id)
        return (int(found[0][0]), float(found[0][1])) if found else None

    def labels_sent(self, prediction_id: str) -> list[tuple[str | float, float, float]]:
        """Every label of a prediction, the one that counts last: the label, since when it holds, when it arrived."""
        sql = "select label, at, received_at from feedback where prediction_id = ? order by at, received_at"
        return [(label, at, received_at) for label, at, received_at in self._all(sql, prediction_id)]

    def first_label_at(self, ids: Sequence[str]) -> Numbers:
        """When the first label of each prediction became known; NaN where there is none."""
        first = np.full(len(ids), np.nan)
        for start in range(0, len(ids), _IDS_AT_ONCE):
            for place, at in self._all(_FIRST_LABEL_AT, json.dumps(ids[start : start + _IDS_AT_ONCE])):
                first[start + place] = at
        return first

    def labelled_ids(self, received_after: float) -> tuple[list[str], float]:
        """The identities whose labels came after a time and that no prediction here has; when the last of them came."""
        rows = self._all(_LABELLED_AFTER, received_after)
        return [name for name, _ in rows], max((at for _, at in rows), default=received_after)

    def count_labelled_ids(self) -> int:
        """How many identities have a label, whether or not there is a prediction."""
        return int(self._one("select count(distinct prediction_id) from feedback") or 0)

    def unjoined_ids(self) -> tuple[int, str | None]:
        """How many identities have a label and no prediction here, and one of them."""
        found = self._all(_UNJOINED)
        return (int(found[0][0]), found[0][1]) if found else (0, None)

    def count_absent(self, ids: Sequence[str]) -> tuple[int, str | None]:
        """How many of these identities no prediction here has, and one of them."""
        absent: list[str] = []
        for start in range(0, len(ids), _IDS_AT_ONCE):
            absent += [name for (name,) in self._all(_ABSENT, json.dumps(ids[start : start + _IDS_AT_ONCE]))]
        return len(absent), absent[0] if absent else None

    def stamp(self) -> int:
        """A number that changes whenever another connection committed something."""
        return int(self._one("pragma data_version") or 0)

    def rows(self, seqs: Seqs, known_by: float) -> Rows:
        """The narrow rows of ascending `seqs` (those that retention has not taken)."""
        if self._db is None or len(seqs) == 0:
            return self._assemble([], {})
        with self.snapshot():
            found: list[Any] = []
            labels: dict[int, tuple[Any, float]] = {}
            for first, last, wanted in _runs(seqs):
                rows = self._all(_ROWS, first, last)
                found += rows if len(rows) == len(wanted) else _only(rows, wanted)
                if any(row[8] is not None and row[8] <= known_by for row in rows):
                    labels.update((seq, (label, at)) for seq, label, at in self._all(_LABELS, first, last, known_by))
            return self._assemble(found, labels)

    def features(self, rows: Rows, features: Sequence[Feature] | None = None) -> Columns:
        """The features of these rows (of the schema, unless some are named)."""
        wanted = tuple(features or self._schema.features)
        parts: list[Columns] = []
        if self._db is None or len(rows.seqs) == 0:
            return Columns(0, {feature.name: missing_column(feature.kind, 0) for feature in wanted}, {})
        with self.snapshot():
            first, last = int(rows.blocks.min()), int(rows.blocks.max())
            sealed = self._all(_SEGMENTS, first, last)
            place = 0
            for file, first_block, last_block in [*sealed, (None, last + 1, last + 1)]:
                start = int(np.searchsorted(rows.blocks, first_block))
                if start > place:
                    parts += self._hot(rows, place, start, wanted)
                place = int(np.searchsorted(rows.blocks, last_block, side="right"))
                if file is not None and place > start:
                    parts.append(self._cold(self._segments / file, rows.seqs[start:place], wanted))
        return stack_columns(parts, wanted)

    @property
    def _db(self) -> sqlite3.Connection | None:
        if self._opened is None and self._path.exists():
            connection = connect(self._path)
            if not is_current(connection, "events"):
                connection.close()
                ensure_current(self._path, "events")
                connection = connect(self._path)
            self._opened = connection
            self._opened.execute("pragma query_only = on")
        return self._opened

    def _all(self, sql: str, *arguments: Any) -> list[Any]:
        return [] if self._db is None else self._db.execute(sql, arguments).fetchall()

    def _seqs(self, sql: str, *arguments: Any) -> Seqs:
        if self._db is None:
            return np.empty(0, dtype=np.int64)
        return np.sort(np.fromiter((seq for (seq,) in self._db.execute(sql, arguments)), dtype=np.int64))

    def _one(self, sql: str, *arguments: Any) -> Any:
        rows = self._all(sql, *arguments)
        return rows[0][0] if rows else None

    def _hot(self, rows: Rows, start: int, stop: int, features: Sequence[Feature]) -> Iterator[Columns]:
        """The rows from `start` to `stop` out of blocks, one part for each stretch of blocks of one shape."""
        blocks, positions = rows.blocks[start:stop], rows.positions[start:stop]
        stored = self._all(_BLOCKS, int(blocks[0]), int(blocks[-1]))
        for shape, members in _stretches(stored):
            numbers = np.array([number for number, _, _, _ in members], dtype=np.int64)
            sizes = [size for _, _, size, _ in members]
            low, high = np.searchsorted(blocks, numbers[0]), np.searchsorted(blocks, numbers[-1], side="right")
            if high == low:
                continue
            offsets = np.concatenate([[0], np.cumsum(sizes)])
            places = offsets[np.searchsorted(numbers, blocks[low:high])] + positions[low:high]
            own = features_of(shape)
            columns = decode_blocks([data for _, _, _, data in members], own, sizes)
            whole = len(places) == offsets[-1]
            yield adapt_columns(
                {name: column if whole else take_rows(column, places) for name, column in columns.items()},
                own,
                features,
            )

    def _cold(self, path: Path, seqs: Seqs, features: Sequence[Feature]) -> Columns:
        from driftd.store.events.segments import read_segment  # noqa: PLC0415 - Arrow only once something is sealed

        columns, unreadable = read_segment(path, seqs, features)
        return Columns(len(seqs), columns, unreadable)

    def _assemble(self, found: Sequence[Any], labels: dict[int, tuple[Any, float]]) -> Rows:
        columns = list(zip(*found, strict=True)) if found else [()] * 9
        seqs, ids, at, version, prediction, score, block, position, _ = columns
        known = [labels.get(seq, _UNLABELLED) for seq in seqs]
        codes = ClassCodes(self._schema.classes)
        predictions = self._outcome(prediction, codes)
        labels_known = self._outcome([label for label, _ in known], codes)
        outcomes = Outcomes(
            at=_floats(at),
            prediction=predictions,
            score=_floats(score),
            label=labels_known,
            label_at=_floats([when for _, when in known]),
            version=np.array([-1 if number is None else number for number in version], dtype=np.int64),
            classes=self._schema.classes,
            unseen=codes.unseen,
        )
        return Rows(_whole(seqs), tuple(ids), _whole(block), _whole(position), outcomes)

    def _outcome(self, values: Sequence[Any], codes: ClassCodes) -> Numbers:
        """Predictions or labels as numbers: those of a classification as codes of classes."""
        if self._schema.task is Task.REGRESSION:
            return _floats(values)
        table = {value: -1 if value is None else codes.of(str(value)) for value in dict.fromkeys(values)}
        return np.array([table[value] for value in values], dtype=np.float64)


def _whole(values: Sequence[Any]) -> Seqs:
    return np.array(values, dtype=np.int64)


def _floats(values: Sequence[Any]) -> Numbers:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _runs(seqs: Seqs) -> Iterator[tuple[int, int, Seqs]]:
    """Ascending numbers as (first, last, members) of stretches without a long gap."""
    cuts = np.flatnonzero(np.diff(seqs) > _SPARSE) + 1
    for part in np.split(seqs, cuts):
        yield int(part[0]), int(part[-1]), part


def _only(rows: Sequence[Any], wanted: Seqs) -> list[Any]:
    among = set(wanted.tolist())
    return [row for row in rows if row[0] in among]


def _stretches(stored: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    members: list[Any] = []
    for row in stored:
        if members and members[-1][1] != row[1]:
            yield members[-1][1], members
            members = []
        members.append(row)
    if members:
        yield members[-1][1], members


_UNLABELLED = (None, None)
_ROWS = """
    select seq, prediction_id, at, version, prediction, score, block, position, first_label_at
    from predictions where seq between ? and ? order by seq"""
# The newest label comes last, and so wins.
_LABELS = """
    select p.seq, f.label, f.at from predictions p join feedback f on f.prediction_id = p.prediction_id
    where p.seq between ? and ? and f.at <= ? order by p.seq, f.at, f.received_at"""
_LABELS_OF = """
    select asked.key, f.label, f.at from json_each(?) asked join feedback f on f.prediction_id = asked.value
    where f.at <= ? order by asked.key, f.at, f.received_at"""
_LABELLED_AFTER = """
    select prediction_id, max(received_at) from feedback f where received_at > ?
    and not exists (select 1 from predictions p where p.prediction_id = f.prediction_id) group by prediction_id"""
_UNJOINED = """
    select count(distinct prediction_id), min(prediction_id) from feedback f
    where not exists (select 1 from predictions p where p.prediction_id = f.prediction_id)"""
_ABSENT = """
    select asked.value from json_each(?) asked
    where not exists (select 1 from predictions p where p.prediction_id = asked.value)"""
_FIRST_LABEL_AT = """
    select asked.key, min(f.at) from json_each(?) asked join feedback f on f.prediction_id = asked.value
    group by asked.key"""
_SEGMENTS = """
    select file, first_block, last_block from segments
    where last_block >= ? and first_block <= ? order by first_block"""
_BLOCKS = """
    select blocks.id, shapes.features, blocks.rows, blocks.data from blocks join shapes on shapes.id = blocks.shape
    where blocks.id between ? and ? order by blocks.id"""

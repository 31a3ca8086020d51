"""Reads long stretches of `state.db` for charts: by index, merged in SQL. Never writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from driftd.errors import DriftdError
from driftd.events import Event
from driftd.store.descriptors import open_database, open_to_read
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.records import StoredAlarm, StoredTransition

LARGEST = 2**62  # beyond every index of a window


class CheckRow(NamedTuple):
    """A check as it lies in the table: figures and evidence are still JSON, for who reads only some of them."""

    window_index: int
    window_start: float
    at: float
    rows: int
    verdict: str
    version: int | None
    figures: str
    evidence: str


class StateUnreadableError(DriftdError):
    """The state database is there and cannot be read: locked, damaged, or of another program."""


@dataclass(frozen=True, slots=True)
class ScoreMean:
    """What one stream scored on the mean of some windows, and the most evidence that it alone had in them."""

    group: int
    kind: str
    subject: str
    component: str
    value: float | None
    evidence: float


class SeriesReader(StateReader):
    """The questions of the status page: one connection that outlives them, so that it can tell when nothing changed."""

    @classmethod
    def read_only(cls, path: Path, *, lasts: bool = True) -> Self:
        """Open for reading only, from any one thread at a time; raises StateAbsentError when there is no database.

        A connection that does not last is for a short look, and leaves nothing beside the database.
        """
        if not path.exists():
            raise StateAbsentError(f"no state database at {path}: start `driftd run` first")
        if not lasts:
            return cls(open_to_read(path, timeout=5, isolation_level=None))
        uri = f"{path.resolve().as_uri()}?mode=ro"
        return cls(open_database(uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False))

    @contextmanager
    def at_one_moment(self) -> Iterator[int]:
        """Everything read inside is of one commit; gives a number that changes with every commit of others.

        Raises StateUnreadableError when SQLite cannot read.
        """
        try:
            self._db.execute("begin")
            try:
                self._db.execute("select 1 from models limit 1").fetchone()  # the snapshot is taken by the first read
                yield int(self._db.execute("pragma data_version").fetchone()[0])
            finally:
                self._db.execute("rollback")
        except sqlite3.Error as error:
            raise StateUnreadableError(f"the state database cannot be read now: {error}") from error

    def last_window(self, model: str, kind: str) -> int | None:
        """The index of the latest window that was checked."""
        query = "select max(window_index) as last from checks where model = ? and kind = ?"
        row = self._db.execute(query, (model, kind)).fetchone()
        return None if row["last"] is None else int(row["last"])

    def first_window(self, model: str, kind: str) -> int | None:
        """The index of the oldest window that is still remembered."""
        query = "select min(window_index) as first from checks where model = ? and kind = ?"
        row = self._db.execute(query, (model, kind)).fetchone()
        return None if row["first"] is None else int(row["first"])

    def checks_from(self, model: str, kind: str, first: int, last: int = LARGEST) -> Iterator[CheckRow]:
        """The checks of windows from an index on, up to another one, oldest first."""
        query = """select window_index, window_start, at, rows, verdict, version, figures, evidence from checks
                   where model = ? and kind = ? and window_index between ? and ? order by window_index"""
        return map(CheckRow._make, self._db.execute(query, (model, kind, first, last)))

    def windows_between(self, model: str, since: float, until: float) -> tuple[int, int] | None:
        """The first and the last window that was checked in a stretch of time (of windows of rows); None: no window."""
        query = """select min(window_index), max(window_index) from checks
                   where model = ? and kind = 'window' and at >= ? and at < ?"""
        first, last = self._db.execute(query, (model, since, until)).fetchone()
        return None if first is None else (int(first), int(last))

    def check_ends(self, model: str, first: int, last: int) -> tuple[float, float] | None:
        """When the first and the last of some windows were checked; None where none was."""
        query = """select min(at), max(at) from checks
                   where model = ? and kind = 'window' and window_index between ? and ?"""
        begin, end = self._db.execute(query, (model, first, last)).fetchone()
        return None if begin is None else (float(begin), float(end))

    def group_starts(self, model: str, first: int, size: int, last: int = LARGEST) -> list[tuple[int, float, float]]:
        """Of the first checked window of each group of `size` from `first` on: the group, its start, its check's time.

        A group without a checked window has none.
        """
        query = """select (window_index - :first) / :size, window_start, at, min(window_index) from checks
                   where model = :model and kind = 'window' and window_index between :first and :last group by 1"""
        given = {"model": model, "first": first, "size": size, "last": last}
        return [(group, start, at) for group, start, at, _ in map(tuple, self._db.execute(query, given))]

    def score_means(self, model: str, first: int, last: int, group: int, stride: int = 1) -> list[ScoreMean]:
        """The mean score of every stream in groups of so many windows, the first beginning at `first`.

        Of long groups every `stride`-th window is enough: only its rows are read, however long the history is.
        """
        query = """select place, kind, subject, component, sum(total) / sum(known), max(most) from (
                       select (window_index - :first) / :group as place, kind, subject, component,
                              sum(scores.value) as total, count(scores.value) as known, max(evidence) as most
                       from json_each(:windows) as wanted
                       cross join scores on model = :model and window_index = wanted.value
                       group by 1, 2, 3, 4
                       union all
                       select place, kind, subject, component, total, known, most from (
                           select (window_index - :first) / :group as place, stream, sum(score_codes.value) as total,
                                  count(score_codes.value) as known, max(evidence) as most
                           from json_each(:windows) as wanted
                           cross join score_codes on window_index = wanted.value
                                and model = (select id from score_models where model = :model)
                           group by 1, 2)
                       cross join score_streams on score_streams.id = stream)
                   group by 1, 2, 3, 4"""
        windows = json.dumps(list(range(first, last + 1, stride)))
        given = {"model": model, "first": first, "group": group, "windows": windows}
        return [ScoreMean(*row) for row in self._db.execute(query, given)]

    def count_scores(self, model: str, window: int) -> int:
        """How many scores a window has."""
        query = """select (select count(*) from scores where model = :model and window_index = :window)
                   + (select count(*) from score_codes where window_index = :window
                      and model = (select id from score_models where model = :model)) as scores"""
        return int(self._db.execute(query, {"model": model, "window": window}).fetchone()["scores"])

    def thresholds(self, model: str) -> dict[str, float]:
        """By kind, the evidence at which it alarms, as the newest check of a window with evidence had it."""
        query = """select evidence from checks where model = ? and kind = 'window' and evidence != '{}'
                   order by window_index desc limit 1"""
        row = self._db.execute(query, (model,)).fetchone()
        return {} if row is None else {kind: found["threshold"] for kind, found in json.loads(row["evidence"]).items()}

    def latest_subject(self, model: str, kind: str) -> str | None:
        """The subject of the newest score of a kind: for `performance`, the metric."""
        coded = """select subject from score_codes cross join score_streams on score_streams.id = stream
                   where model = (select id from score_models where model = ?) and kind = ?
                   order by window_index desc limit 1"""
        older = "select subject from scores where model = ? and kind = ? order by window_index desc limit 1"
        found = (self._db.execute(query, (model, kind)).fetchone() for query in (coded, older))
        return next((str(row["subject"]) for row in found if row is not None), None)

    def profiles_upto(self, model: str, last: int, limit: int, first: int = -LARGEST) -> list[tuple[int, float, bytes]]:
        """The stored Profiles of the latest windows with rows up to an index, newest first: index, start, bytes."""
        query = """select window_index, window_start, profile from profiles
                   where model = ? and window_index between ? and ? and rows > 0
                   order by window_index desc limit ?"""
        rows = self._db.execute(query, (model, first, last, limit))
        return [(row["window_index"], row["window_start"], row["profile"]) for row in rows]

    def profiled_version(self, model: str, last: int = LARGEST) -> int | None:
        """The version that served in the latest window with a Profile, up to an index."""
        query = """select version from profiles where model = ? and window_index <= ?
                   order by window_index desc limit 1"""
        row = self._db.execute(query, (model, last)).fetchone()
        return None if row is None else row["version"]

    def events_between(self, model: str, since: float, until: float, limit: int) -> list[StoredTransition]:
        """The latest transitions of a stretch of time, newest first."""
        query = "select * from transitions where model = ? and at >= ? and at <= ? order by id desc limit ?"
        return [StoredTransition.from_row(row) for row in self._db.execute(query, (model, since, until, limit))]

    def alarms_between(self, model: str, first: int, last: int, limit: int) -> list[StoredAlarm]:
        """The latest alarms that windows between two indexes raised, newest first."""
        query = "select * from alarms where model = ? and window_index between ? and ? order by id desc limit ?"
        return [StoredAlarm.from_row(row) for row in self._db.execute(query, (model, first, last, limit))]

    def approver(self, model: str, version: int) -> str | None:
        """Who let a version serve: the actor of the swap that promoted it; None when it never was promoted."""
        query = """select actor from transitions where model = ? and event = ?
                   and json_extract(figures, '$.version') = ? order by id desc limit 1"""
        row = self._db.execute(query, (model, Event.SWAP_STARTED, version)).fetchone()
        return None if row is None else str(row["actor"])

"""Scores by the number of their stream: a quarter of the bytes that their names take, in the largest table by far.

Those of an earlier driftd lie in the table `scores` with their names, until they have moved here in small pieces.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from driftd_detectors.assessment import Score

MOST_REMEMBERED = 20_000  # numbers of streams
_ADD_MODEL = "insert or ignore into score_models(model) values (?)"
_ADD_STREAM = "insert or ignore into score_streams(kind, subject, component) values (?, ?, ?)"
_MODEL = "select id from score_models where model = ?"
_STREAM = "select id from score_streams where kind = ? and subject = ? and component = ?"


class ScoreCodes:
    """The scores of a state database, for the one that writes it. Call its methods inside a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._codes: dict[tuple[str, ...], int] = {}  # of models and streams

    def forget_codes(self) -> None:
        """Ask for numbers anew: a transaction was undone, which may have given some."""
        self._codes.clear()

    def save(self, model: str, window_index: int, scores: Sequence[Score]) -> None:
        """Keep the scores of a window."""
        if not scores:
            return
        owner = self._code(_ADD_MODEL, _MODEL, (model,))
        codes = [self._code(_ADD_STREAM, _STREAM, (str(each.kind), each.subject, each.component)) for each in scores]
        rows = [
            (owner, window_index, code, each.value, each.evidence) for code, each in zip(codes, scores, strict=True)
        ]
        self._db.executemany("insert or replace into score_codes values (?, ?, ?, ?, ?)", rows)

    def delete(self, model: str, first: int, last: int) -> None:
        """Forget the scores of the windows from `first` to `last`."""
        coded = """delete from score_codes where model = (select id from score_models where model = ?)
                   and window_index between ? and ?"""
        self._db.execute(coded, (model, first, last))
        self._db.execute("delete from scores where model = ? and window_index between ? and ?", (model, first, last))

    def move(self, model: str, most: int) -> int:
        """Give about so many of the oldest scores that lie with their names a number; returns how many it were.

        All scores of a window move at once.
        """
        query = """select (select window_index from scores where model = :model order by window_index limit 1) as first,
                   (select window_index from scores where model = :model
                    order by window_index limit 1 offset :most) as past"""
        found = self._db.execute(query, {"model": model, "most": most}).fetchone()
        if found["first"] is None:
            return 0
        until = 2**62 if found["past"] is None else max(found["past"], found["first"] + 1)
        given = {"model": model, "until": until}
        self._db.execute(_ADD_MODEL, (model,))
        streams = """insert or ignore into score_streams(kind, subject, component)
                     select distinct kind, subject, component from scores
                     where model = :model and window_index < :until"""
        self._db.execute(streams, given)
        codes = """insert or ignore into score_codes
                   select (select id from score_models where model = :model), window_index,
                          (select id from score_streams where kind = scores.kind and subject = scores.subject
                           and component = scores.component), scores.value, evidence
                   from scores where model = :model and window_index < :until"""
        self._db.execute(codes, given)
        return self._db.execute("delete from scores where model = :model and window_index < :until", given).rowcount

    def _code(self, add: str, ask: str, names: tuple[str, ...]) -> int:
        """The number of a model, or of a stream, which it gets when it is first seen."""
        if (known := self._codes.get(names)) is not None:
            return known
        self._db.execute(add, names)
        code = int(self._db.execute(ask, names).fetchone()["id"])
        if len(self._codes) >= MOST_REMEMBERED:
            self._codes.clear()
        self._codes[names] = code
        return code

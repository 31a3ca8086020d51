"""A source: predictions and labels in two tables of a SQLite file, which an application writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from driftd.testing import RowExtent, RowQuery

BATCH_ROWS = 50_000


class SqliteTables:
    """Options: `path` of the file, `predictions` and `labels` (names of tables, those unless given).

    The table of predictions has a row each: `prediction_id`, `at` (epoch seconds), `prediction`, and as they are there
    `score`, `version` and the features. That of labels has a row each time one is learned: `prediction_id`, `label`,
    `label_at`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._path = str(options["path"])
        self._predictions = quote(str(options.get("predictions", "predictions")))
        self._labels = quote(str(options.get("labels", "labels")))
        self._opened: sqlite3.Connection | None = None

    def extent(self) -> RowExtent:
        """By the indices of both tables, where there are some."""
        first, newest = self._one(f"select min(at), max(at) from {self._predictions}")  # noqa: S608 - names are quoted
        (label_at,) = self._one(f"select max(label_at) from {self._labels}")  # noqa: S608 - see above
        return RowExtent(first, newest, label_at)

    def rows(self, query: RowQuery) -> Iterator[pa.Table]:
        """The rows in the order of their times; of several labels the newest that was known by then."""
        there = {name for _, name, *_ in self._database.execute(f"pragma table_info({self._predictions})")}
        columns = [name for name in dict.fromkeys(("at", *query.columns)) if name in there]
        chosen = [f"p.{quote(name)}" for name in columns]
        join, values = "", [query.start, query.end]
        if query.known_by is not None:
            columns += ["label", "label_at"]
            chosen += ["l.label", "l.label_at"]
            newest = (
                "m.prediction_id = p.prediction_id and m.label_at <= ? order by m.label_at desc, m.rowid desc limit 1"
            )
            join = f"left join {self._labels} l on l.rowid = (select m.rowid from {self._labels} m where {newest})"  # noqa: S608 - see above
            values.insert(0, query.known_by)
        span = "where p.at >= ? and p.at < ? order by p.at"
        text = f"select {', '.join(chosen)} from {self._predictions} p {join} {span}"  # noqa: S608 - see above
        found = self._database.execute(text, values)
        while batch := found.fetchmany(BATCH_ROWS):
            arrays = [pa.array(values) for values in zip(*batch, strict=True)]
            yield pa.table(dict(zip(columns, arrays, strict=True)))

    def close(self) -> None:
        """The next question opens the file again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:  # for reading alone: a source never writes
            self._opened = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        return self._opened

    def _one(self, text: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(text).fetchone()
        return row


def quote(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'

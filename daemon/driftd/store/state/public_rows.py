"""Reads the public views of `state.db` page by page: bounded memory, and no page keeps a daemon from writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from driftd.store.descriptors import open_to_read

PAGE = 20_000  # rows
WINDOWS = 100  # of one model, whose scores are one page

Row = tuple[Any, ...]
ColumnType = Literal["integer", "real", "text"]
TIME_COLUMNS = {"public_versions": "created_at", "public_label_requests": "drawn_at"}  # else `at`
_WITH_ID = {"public_alarms", "public_checks", "public_transitions", "public_requests"}
_INTEGERS = {"id", "version", "window_index", "rows", "seed", "parent", "is_open", "refused"}
_TEXTS = {
    "model", "kind", "subject", "component", "sentence", "leaders", "report", "verdict", "reason", "figures", "event",
    "phase_from", "phase_to", "actor", "config_hash", "trigger", "trainer", "fingerprint", "snapshot", "artefact",
    "decision", "metric", "content", "who", "arguments", "outcome", "prediction_id",
}  # fmt: skip


class PublicReader:
    """A connection that reads the views, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._db = open_to_read(path, timeout=30.0, isolation_level=None)

    def columns(self, view: str) -> dict[str, ColumnType]:
        """The columns of a view, in their order."""
        return columns_of(self._db, view)

    def pages(self, view: str, wanted: RowFilter) -> Iterator[list[Row]]:
        """The rows of a view, page by page."""
        return pages(self._db, view, wanted)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows: of one model or of all (None), with `since <= time < until` (epoch seconds)."""

    model: str | None = None
    since: float = -1e18
    until: float = 1e18


def column_type(view: str, column: str) -> ColumnType:
    """What the values of a column are; each may be null. `evidence` is JSON by kind where it is that of a check."""
    if column in _INTEGERS:
        return "integer"
    is_text = column in _TEXTS or column.endswith("_iso") or (view, column) == ("public_checks", "evidence")
    return "text" if is_text else "real"


def columns_of(connection: sqlite3.Connection, view: str) -> dict[str, ColumnType]:
    """The columns of a view, in their order."""
    names = [row[1] for row in connection.execute(f"pragma table_info({view})")]
    return {name: column_type(view, name) for name in names}


def pages(connection: sqlite3.Connection, view: str, wanted: RowFilter) -> Iterator[list[Row]]:
    """The rows of a view, oldest first, page by page; scores model by model."""
    if view in _WITH_ID:
        yield from _by_id(connection, view, wanted)
    elif view == "public_scores":
        for model in _models(connection, wanted):
            yield from _scores(connection, model, wanted)
    else:
        yield from _at_once(connection, view, wanted)


def _by_id(connection: sqlite3.Connection, view: str, wanted: RowFilter) -> Iterator[list[Row]]:
    last = 0
    of_model = "" if wanted.model is None else "and model = :model"
    # `+at`: by the index of times each page would be sorted anew
    query = f"""select * from {view} where id > :last {of_model} and +at >= :since and +at < :until
                order by id limit :page"""  # noqa: S608 - our own names
    given = {"model": wanted.model, "since": wanted.since, "until": wanted.until, "page": PAGE}
    while rows := [tuple(row) for row in connection.execute(query, {**given, "last": last})]:
        yield rows
        last = rows[-1][0]


def _models(connection: sqlite3.Connection, wanted: RowFilter) -> list[str]:
    if wanted.model is not None:
        return [wanted.model]
    return [row[0] for row in connection.execute("select model from models order by model")]


def _scores(connection: sqlite3.Connection, model: str, wanted: RowFilter) -> Iterator[list[Row]]:
    """The scores of so many windows at a time: a query for each page reads them by their key."""
    last: int | None = -(2**62)
    ends = """select window_index from checks where model = ? and kind = 'window' and window_index > ?
              order by window_index limit 1 offset ?"""
    newest = "select max(window_index) from checks where model = ? and kind = 'window'"
    query = """select * from public_scores where model = ? and window_index > ? and window_index <= ?
               and +at >= ? and +at < ? order by window_index, kind, subject, component"""
    (final,) = connection.execute(newest, (model,)).fetchone()
    while final is not None and last is not None and last < final:
        found = connection.execute(ends, (model, last, WINDOWS - 1)).fetchone()
        until = final if found is None else int(found[0])
        if rows := [tuple(row) for row in connection.execute(query, (model, last, until, wanted.since, wanted.until))]:
            yield rows
        last = until


def _at_once(connection: sqlite3.Connection, view: str, wanted: RowFilter) -> Iterator[list[Row]]:
    time = TIME_COLUMNS[view]
    of_model = "" if wanted.model is None else "and model = :model"
    query = f"select * from {view} where {time} >= :since and {time} < :until {of_model} order by {time}"  # noqa: S608 - our own names
    cursor = connection.execute(query, {"model": wanted.model, "since": wanted.since, "until": wanted.until})
    while rows := [tuple(row) for row in cursor.fetchmany(PAGE)]:
        yield rows

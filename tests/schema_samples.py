"""Databases as every earlier schema left them: made by the migration steps up to one, with rows in every table."""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlite_utils

from driftd.store.schema_versions import KINDS


def database_at(path: Path, kind: str, step: str) -> dict[str, list[tuple[Any, ...]]]:
    """Make the database of a kind as it was after `step`, with two rows in every table; returns its rows by table."""
    module, _, attribute = KINDS[kind].steps.partition(":")
    steps = getattr(importlib.import_module(module), attribute)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma auto_vacuum = incremental")
        connection.execute("pragma journal_mode = wal")
        steps.apply(sqlite_utils.Database(connection, execute_plugins=False), stop_before=_after(kind, step))
        for table in _tables(connection):
            for number in (1, 2):
                _fill(connection, table, number)
        connection.commit()
        return rows_of(connection)


def rows_of(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of ours."""
    return {
        table: connection.execute(f"select {', '.join(_names(connection, table))} from {table}").fetchall()
        for table in _tables(connection)
    }


def common_columns(before: sqlite3.Connection, after: sqlite3.Connection, table: str) -> str:
    """The columns that a table has in both, for a select."""
    return ", ".join(name for name in _names(before, table) if name in _names(after, table))


def _after(kind: str, step: str) -> str | None:
    names = KINDS[kind].names
    place = names.index(step) + 1
    return names[place] if place < len(names) else None


def _tables(connection: sqlite3.Connection) -> list[str]:
    query = "select name from sqlite_master where type = 'table' and name not glob 'sqlite_*' and name not glob '_*'"
    return [name for (name,) in connection.execute(query)]


def _names(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"pragma table_info({table})")]


def _fill(connection: sqlite3.Connection, table: str, number: int) -> None:
    columns = connection.execute(f"pragma table_info({table})").fetchall()
    values = [_value(name, kind.lower(), number) for _, name, kind, *_ in columns]
    marks = ", ".join("?" for _ in values)
    connection.execute(f"insert into {table} values ({marks})", values)


def _value(name: str, kind: str, number: int) -> Any:
    if kind == "integer":
        return number
    if kind == "real":
        return 1000.5 + number
    if kind == "blob":
        return bytes([number]) * 300
    return f'{{"{name}": {number}}}'

"""Tables of predictions and labels in DuckDB and PostgreSQL, which tests write rows into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import psycopg
import pyarrow as pa

from driftd.config.source_schema import SqlSourceConfig
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.sql_engine import SqlEngine
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.schema import Schema

PREDICTIONS = """create table predictions (prediction_id text, "at" timestamp with time zone, version integer,
  prediction text, score double precision, age double precision, city text, member boolean,
  joined timestamp with time zone)"""
LABELS = """create table labels (prediction_id text, label text, label_at timestamp with time zone,
  received_at timestamp with time zone)"""
TIMES = ("at", "joined", "label_at", "received_at")


@dataclass(frozen=True)
class Database:
    """A database that tests may write to; `url` is what a config names."""

    url: str
    run: Callable[[str, Sequence[Sequence[Any]]], None]  # a statement, once for each row of parameters
    load: Callable[[str, pa.Table], None]  # make a table of these rows

    def execute(self, *statements: str) -> None:
        """Statements without parameters."""
        for statement in statements:
            self.run(statement, ())

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that all have the same columns; numbers of columns named in `TIMES` are epoch seconds."""
        if not rows:
            return
        names = list(rows[0])
        mark = "?" if self.url.startswith("duckdb") else "%s"
        listed = ", ".join(f'"{name}"' for name in names)
        values = [[_moment(row[name]) if name in TIMES else row[name] for name in names] for row in rows]
        self.run(f"insert into {table} ({listed}) values ({', '.join([mark] * len(names))})", values)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def duckdb_database(path: Path) -> Database:
    """A new file of DuckDB."""

    def run(statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with duckdb.connect(path) as connection:
            if rows:
                connection.executemany(statement, rows)
            else:
                connection.execute(statement)

    def load(name: str, table: pa.Table) -> None:
        with duckdb.connect(path) as connection:
            connection.register("given", table)
            connection.execute(f"create table {name} as select * from given")

    return Database(f"duckdb://{path}", run, load)


def postgres_database(server: str, name: str) -> Database:
    """A new database of a server."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'create database "{name}"')  # type: ignore[call-overload]
    url = f"{server.rpartition('/')[0]}/{name}"

    def run(statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            if rows:
                connection.cursor().executemany(statement, rows)  # type: ignore[arg-type]
            else:
                connection.execute(statement)  # type: ignore[call-overload]

    def load(name: str, table: pa.Table) -> None:
        with adbc_driver_postgresql.dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(name, table, mode="create")

    return Database(url, run, load)


def sql_config(database: Database, **keys: Any) -> SqlSourceConfig:
    """The section of a config that names the tables `predictions` and `labels`."""
    given = {"predictions": "predictions", "labels": "labels", **keys}
    return SqlSourceConfig(kind="sql", url=database.url, **given)


def sql_source(database: Database, schema: Schema, **keys: Any) -> EngineSource:
    """A source over these tables, in this process."""
    settings = sql_config(database, **keys)
    return EngineSource(SqlEngine(settings), schema, RowNames(**settings.columns))

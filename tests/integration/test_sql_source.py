"""A database as a source, on real DuckDB and PostgreSQL: the values of files, faults in sentences, limits that hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.config.load import parse
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.engines.sql_engine import SqlEngine
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.open import open_watched_source
from driftd.sources.protocol import Source
from driftd_detectors.columns import Coded
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy, WindowBins
from engine_servers import postgres
from limits import HANG
from sql_tables import LABELS, PREDICTIONS, Database, duckdb_database, postgres_database, sql_config, sql_source

START = 1_700_000_000.0
HOUR = Window(0, START, START + 3600)
SCHEMA = Schema(
    Task.CLASSIFICATION, "bought", (Feature("age", Kind.NUMBER), Feature("city", Kind.CATEGORY)), ("0", "1")
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "postgres":
        return postgres_database(request.getfixturevalue("server"), tmp_path.name)
    return duckdb_database(tmp_path / "events.duckdb")


@pytest.fixture
def events(server: str, tmp_path: Path) -> Database:
    """PostgreSQL with twenty predictions and ten labels."""
    database = postgres_database(server, tmp_path.name)
    fill(database)
    return database


def fill(database: Database) -> None:
    """Twenty predictions, a second each, and the labels of every other one, a minute later."""
    database.execute(PREDICTIONS, LABELS)
    rows = [
        {
            "prediction_id": f"p{number}",
            "at": START + number,
            "version": 1,
            "prediction": str(number % 2),
            "score": 0.5,
            "age": number + 0.5,
            "city": f"town {number % 3}",
        }
        for number in range(20)
    ]
    database.insert("predictions", rows)
    known = {"label": "1", "label_at": START + 60, "received_at": START + 60}
    database.insert("labels", [{"prediction_id": f"p{number}", **known} for number in range(0, 20, 2)])


@dataclass(frozen=True)
class Values:
    """A column in SQL and in Arrow: the same values in both."""

    sql: str
    arrow: pa.DataType
    pairs: tuple[tuple[str, Any], ...]
    kind: Kind


NULL = ("null", None)
ZONED = pa.timestamp("us", "UTC")
WINTER = datetime(2023, 11, 1, 12, 30, 15, 123_457, tzinfo=UTC)
COLUMNS = {
    "number": Values(
        "double precision",
        pa.float64(),
        (
            NULL,
            ("'NaN'", float("nan")),
            ("'Infinity'", float("inf")),
            ("'-Infinity'", float("-inf")),
            ("'-0.0'", -0.0),
            ("1.7976931348623157e308", 1.7976931348623157e308),
            ("0.1", 0.1),
        ),
        Kind.NUMBER,
    ),
    "single": Values("real", pa.float32(), (NULL, ("0.1", 0.1), ("'NaN'", float("nan"))), Kind.NUMBER),
    "big": Values("bigint", pa.int64(), (NULL, ("9007199254740993", 9007199254740993), ("-1", -1)), Kind.NUMBER),
    "price": Values(
        "decimal(12, 2)",
        pa.decimal128(12, 2),
        (NULL, ("0.57", Decimal("0.57")), ("1.15", Decimal("1.15")), ("-8.20", Decimal("-8.20"))),
        Kind.NUMBER,
    ),
    "wide": Values(
        "decimal(38, 4)",
        pa.decimal128(38, 4),
        (NULL, ("1234567890123456789012345678901234.5678", Decimal("1234567890123456789012345678901234.5678"))),
        Kind.NUMBER,
    ),
    "word": Values(
        "text",
        pa.string(),
        (
            NULL,
            ("''", ""),
            ("'Zürich'", "Zürich"),
            ("'日本 🎌'", "日本 🎌"),
            ("' a''b\"c '", " a'b\"c "),
            ("'NULL'", "NULL"),
        ),
        Kind.CATEGORY,
    ),
    "code": Values("integer", pa.int32(), (NULL, ("7", 7), ("-3", -3)), Kind.CATEGORY),
    "rate": Values("decimal(6, 3)", pa.decimal128(6, 3), (NULL, ("1.500", Decimal("1.500"))), Kind.CATEGORY),
    "key": Values(
        "uuid",
        pa.binary(16),
        (NULL, ("'0189d6f2-3c47-7a1b-8f00-aabbccddeeff'", UUID("0189d6f2-3c47-7a1b-8f00-aabbccddeeff").bytes)),
        Kind.CATEGORY,
    ),
    "truth": Values("boolean", pa.bool_(), (NULL, ("true", True), ("false", False)), Kind.BOOLEAN),
    "whole_truth": Values("smallint", pa.int16(), (NULL, ("1", 1), ("0", 0), ("2", 2)), Kind.BOOLEAN),
    "text_truth": Values("text", pa.string(), (("'yes'", "yes"), ("'F'", "F"), ("'maybe'", "maybe")), Kind.BOOLEAN),
    "zoned": Values(
        "timestamp with time zone",
        ZONED,
        (NULL, ("'2023-11-01 13:30:15.123457+01:00'", WINTER), ("'1960-01-01 00:00:00+00:00'", datetime(1960, 1, 1))),
        Kind.TIMESTAMP,
    ),
    "plain": Values(
        "timestamp",
        pa.timestamp("us"),
        (NULL, ("'2023-11-01 12:30:15.123457'", WINTER.replace(tzinfo=None))),
        Kind.TIMESTAMP,
    ),
    "day": Values("date", pa.date32(), (NULL, ("'2023-10-29'", date(2023, 10, 29))), Kind.TIMESTAMP),
    "seconds": Values("double precision", pa.float64(), (NULL, ("1698841815.25", 1698841815.25)), Kind.TIMESTAMP),
    "text_time": Values(
        "text", pa.string(), (("'2023-11-01T12:00:00+02:00'", "2023-11-01T12:00:00+02:00"),), Kind.TIMESTAMP
    ),
    "text_number": Values("text", pa.string(), (("'12'", "12"), NULL), Kind.NUMBER),
}
AWKWARD = Schema(
    Task.CLASSIFICATION, "y", tuple(Feature(name, column.kind) for name, column in COLUMNS.items()), ("0", "1")
)
ROWS = 84  # each pair of each column comes at least ten times


def awkward_worlds(
    database: Database, root: Path, ids: tuple[str, pa.DataType] = ("text", pa.string())
) -> list[Source]:
    """The same rows as a table and as Parquet."""
    definitions = ", ".join(f'"{name}" {column.sql}' for name, column in COLUMNS.items())
    own = f'prediction_id {ids[0]}, "at" timestamp with time zone, prediction integer, score real, version bigint'
    database.execute(f"create table predictions ({own}, {definitions}, label integer)")
    lines, table = (
        [],
        {name: [] for name in ("prediction_id", "at", "prediction", "score", "version", *COLUMNS, "label")},
    )
    for row in range(ROWS):
        at = datetime.fromtimestamp(START + row + 0.25, UTC)
        pairs = {name: column.pairs[row % len(column.pairs)] for name, column in COLUMNS.items()}
        own_values = [row, at, row % 2, 0.25, 1, *(pair[1] for pair in pairs.values()), None if row % 3 else 1]
        for name, value in zip(table, own_values, strict=True):
            table[name].append(value)
        label = "null" if row % 3 else "1"
        literals = ", ".join(pair[0] for pair in pairs.values())
        lines.append(f"({row}, '{at.isoformat()}', {row % 2}, 0.25, 1, {literals}, {label})")
    database.execute(f"insert into predictions values {', '.join(lines)}")
    table["prediction_id"] = list(map(str, table["prediction_id"])) if ids[0] == "text" else table["prediction_id"]
    kinds = {
        "prediction_id": ids[1],
        "at": ZONED,
        "prediction": pa.int32(),
        "score": pa.float32(),
        "version": pa.int64(),
    }
    kinds |= {name: column.arrow for name, column in COLUMNS.items()} | {"label": pa.int32()}
    logs = root / "logs"
    logs.mkdir()
    arrays = [pa.array(values, kinds[name]) for name, values in table.items()]
    pq.write_table(pa.Table.from_arrays(arrays, list(table)), logs / "a.parquet")
    files = FilesSource("m", AWKWARD, Places(root), FilesSettings(str(logs)))
    return [sql_source(database, AWKWARD, labels=None), files]


def values_of(source: Source) -> dict[str, list[Any]]:
    """Every value of a window as the statistics see it, and what could not be read."""
    parts = list(source.chunks(HOUR))
    assert len(parts) == 1
    columns, outcomes = parts[0]
    found: dict[str, list[Any]] = {"unreadable": [sorted(columns.unreadable.items())]}
    for name, column in columns.values.items():
        coded = isinstance(column, Coded)
        labels = (*column.labels, None) if coded else ()
        found[name] = [labels[code] for code in column.codes] if coded else [repr(value) for value in column.tolist()]
    for name in ("at", "prediction", "score", "label", "label_at", "version"):
        found[name] = [repr(value) for value in getattr(outcomes, name).tolist()]
    return found


def test_every_kind_of_value_reads_the_same_as_from_files(database: Database, tmp_path: Path) -> None:
    """Missing, infinite, tiny, Unicode, zoned and decimal values are those of Parquet, to the last bit."""
    sql, files = awkward_worlds(database, tmp_path)
    files.refresh(START + 100)
    assert sql.refresh(START + 100).faults == ()
    found, expected = values_of(sql), values_of(files)
    for name, values in expected.items():
        assert found[name] == values, name

"""A database as a source, on real DuckDB and PostgreSQL: the values of files, faults in sentences, limits that hold."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.config.database_address import read_address
from driftd.config.load import parse
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.engines.child_source import LONGEST_REST, ChildSource
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.protocol import EngineError, Query, lacks_memory
from driftd.sources.engines.sql_connections import CONNECTIONS, Connection, libpq_address, need_library
from driftd.sources.engines.sql_engine import SqlEngine
from driftd.sources.engines.sql_text import Meanings, Statements, quote_table
from driftd.sources.files import FilesSettings, FilesSource
from driftd.sources.open import open_watched_source
from driftd.sources.protocol import Source
from driftd.store.integrity import is_damage
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.columns import Coded
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.reference import Reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy, WindowBins
from engine_servers import postgres
from limits import HANG, wait
from sql_tables import LABELS, PREDICTIONS, Database, duckdb_database, postgres_database, sql_config, sql_source
from worlds import CLASSES as WORDS
from worlds import DAY, day_of, reference_of, together
from worlds import LABELS as LETTERS
from worlds import SCHEMA as WORLD

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


def names_of(**names: str) -> RowNames:
    return RowNames(**names)


def connection_of(database: Database) -> Connection:
    """A connection as the engine opens it."""
    return CONNECTIONS[database.url.partition(":")[0]](read_address(database.url, None), HANG)


def statements_of(database: Database, **keys: Any) -> Statements:
    """The queries of a config, with the columns that the tables have."""
    settings = sql_config(database, **keys)
    connection = connection_of(database)
    tables = [connection.table(quote_table(name)) for name in (settings.predictions, settings.labels or "labels")]
    connection.close()
    partition = None if settings.partition is None else (settings.partition.key, settings.partition.slack)
    return Statements("postgres", *tables, Meanings.of(settings), partition)


def plan(database: Database, statement: str | None) -> str:
    """How PostgreSQL would answer a query in a session of the engine."""
    with psycopg.connect(libpq_address(read_address(database.url, None), HANG)) as connection:
        rows = connection.execute(f"explain {statement}").fetchall()  # type: ignore[call-overload]
    return "\n".join(row[0] for row in rows)


FIRST_DAY = 19_000  # since 1970


def assessments(source: Source, reference: Reference) -> list[str]:
    """What a monitor says of each of twelve days, and of the labels of each day four days later."""
    monitor = Monitor.begin(reference, MonitorSettings(windows_per_year=365, window_seconds=DAY))
    source.refresh((FIRST_DAY + 12) * DAY)
    texts = []
    for number in range(FIRST_DAY, FIRST_DAY + 12):
        data = source.profile(Window(number, number * DAY, (number + 1) * DAY), reference, ServedBy(1))
        monitor, said = monitor.check(data.profile, number * DAY)
        texts.append(repr(said))
        old = Window(number - 4, (number - 4) * DAY, (number - 3) * DAY)
        cohort = source.cohort(old, (number + 1) * DAY, (), ServedBy(1))
        monitor, said = monitor.check_labels(cohort.outcomes, old.start, 4 * DAY)
        texts.append(repr(said))
    return texts


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
        (
            NULL,
            ("'2023-11-01 13:30:15.123457+01:00'", WINTER),
            ("'1960-01-01 00:00:00+00:00'", datetime(1960, 1, 1, tzinfo=UTC)),
        ),
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
    own = 'prediction_id text, "at" timestamp with time zone, prediction integer, score real, version bigint'
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
    table["prediction_id"] = list(map(str, table["prediction_id"]))
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


def test_counts_made_there_are_those_made_here(database: Database, tmp_path: Path) -> None:
    """Bins, faults, absent columns, pairs, times and versions are equal to the last; means and spreads nearly."""
    _, files = awkward_worlds(database, tmp_path)
    files.refresh(START + 100)
    features = tuple(feature for feature in AWKWARD.features if feature.name != "text_time")
    schema = replace(AWKWARD, features=(*features, Feature("gone", Kind.NUMBER)))
    files.use_schema(schema)
    ((columns, outcomes),) = list(files.chunks(HOUR))
    bins = WindowBins(schema, learn_layout(columns, outcomes, schema, bins=4))
    assert len(bins.layout.joint) > 5
    served = ServedBy(2, since=START + 20)
    window = Window(0, START + 10, START + 70)
    here, there = (
        sql_source(database, schema, labels=None, count=count).profile(window, bins, served)
        for count in ("here", "there")
    )
    assert (there.first_at, there.last_at, there.foreign) == (here.first_at, here.last_at, here.foreign)
    assert here.foreign == 60
    for name in ("rows", "layout"):
        assert getattr(here.profile, name) == getattr(there.profile, name)
    for name in ("counts", "unreadable", "absent"):
        np.testing.assert_array_equal(getattr(here.profile, name), getattr(there.profile, name), name)
    for name in ("rows", "sums", "products"):
        np.testing.assert_array_equal(getattr(here.profile.joint, name), getattr(there.profile.joint, name), name)
    for name in ("finite", "low", "high"):
        np.testing.assert_array_equal(getattr(here.profile.moments, name), getattr(there.profile.moments, name), name)
    small = here.profile.moments.high < 1e15
    for name in ("mean", "squares"):
        mine, theirs = (getattr(data.profile.moments, name)[small] for data in (here, there))
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)
    empty = sql_source(database, schema, labels=None, count="there").profile(Window(0, 0.0, 60.0), bins, served)
    assert empty.profile.rows == 0


@pytest.mark.parametrize("ids", ["uuid", "bigint"])
def test_identities_of_other_types_join(server: str, tmp_path: Path, ids: tuple[str, pa.DataType]) -> None:
    """Predictions with UUIDs or whole numbers join labels with the same as text, and are drawn as from files."""
    database = postgres_database(server, tmp_path.name)
    keys = [UUID(int=number) if ids == "uuid" else 10**17 + number for number in range(30)]
    own = f'prediction_id {ids}, "at" timestamp with time zone, prediction text'
    database.execute(f"create table predictions ({own})", LABELS)
    rows = [{"prediction_id": key, "at": START + place, "prediction": "1"} for place, key in enumerate(keys)]
    database.insert("predictions", rows)
    known = {"label": "1", "label_at": START + 60, "received_at": START + 60}
    database.insert("labels", [{"prediction_id": str(key).upper(), **known} for key in keys[:12]])
    sql = sql_source(database, SCHEMA)
    assert int(sql.outcomes(HOUR, START + 3600).labelled.sum()) == 12
    assert sql.count_labelled(START, START + 3600) == 12
    assert set(sql.sample(HOUR, 10, 3).column("driftd_id").to_pylist()) <= set(map(str, keys))


def test_labels_of_one_time_have_one_order(database: Database) -> None:
    """Of labels that were known at one moment the last received wins, then the greatest, in whatever order they lie."""
    database.execute(PREDICTIONS, LABELS)
    ties = [
        ("a", "1", 60, 70),
        ("a", "0", 60, 80),
        ("b", "0", 60, 70),
        ("b", "1", 60, 70),
        ("c", "1", 60, None),
        ("c", "0", 60, 5),
    ]
    names = ("prediction_id", "label", "label_at", "received_at")
    rows = [
        dict(zip(names, (key, label, START + at, None if got is None else START + got), strict=True))
        for key, label, at, got in ties
    ]
    database.insert("predictions", [{"prediction_id": key, "at": START, "prediction": "1"} for key in "abc"])
    database.insert("labels", rows)
    first = sql_source(database, SCHEMA).outcomes(HOUR, START + 3600).label.tolist()
    database.execute("delete from labels")
    database.insert("labels", rows[::-1])
    assert first == sql_source(database, SCHEMA).outcomes(HOUR, START + 3600).label.tolist()
    assert sorted(first) == [0.0, 0.0, 1.0]


def test_a_label_without_its_time_counts_from_when_it_was_received(database: Database) -> None:
    """A label with no label_at is known from received_at on, and one with neither is never known."""
    database.execute(PREDICTIONS, LABELS)
    database.insert("predictions", [{"prediction_id": key, "at": START, "prediction": "1"} for key in "ab"])
    rows = [{"prediction_id": "a", "label": "1", "label_at": None, "received_at": START + 90}]
    database.insert("labels", [*rows, {**rows[0], "prediction_id": "b", "received_at": None}])
    source = sql_source(database, SCHEMA)
    assert [int(source.outcomes(HOUR, START + known).labelled.sum()) for known in (80, 100)] == [0, 1]


def test_names_of_any_kind(database: Database) -> None:
    """Tables, schemas and columns may have spaces, quotes, capitals, dots and letters of any script."""
    schema, table = 'Verkäufe "neu"', "Log.2026 of 'all'"
    escaped = [name.replace('"', '""') for name in (schema, table)]
    place = f'"{escaped[0]}"."{escaped[1]}"'
    columns = '"Id Nr" text, "Zeit; --" timestamp with time zone, "select" text, "Größe ""x""" float8, "price" float8'
    database.execute(f'create schema "{escaped[0]}"', f"create table {place} ({columns}, label text)")
    moment = datetime.fromtimestamp(START, UTC).isoformat()
    database.execute(f"insert into {place} values ('k', '{moment}', '1', 1.5, 2.5, '1')")
    features = (Feature('Größe "x"', Kind.NUMBER), Feature("Price", Kind.NUMBER))
    names = {"id": "Id Nr", "at": "Zeit; --", "prediction": "select"}
    source = sql_source(database, replace(SCHEMA, features=features), predictions=place, labels=None, columns=names)
    assert source.refresh(START + 60).first_at == START
    ((found, outcomes),) = source.chunks(HOUR)
    assert found.values['Größe "x"'].tolist() == [1.5]
    assert "Price" not in found.values  # "price" is another column
    assert outcomes.label.tolist() == [1.0]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"predictions": "nowhere"}, "correct source.predictions or source.labels"),
        (
            {"columns": {"at": "when"}},
            "has no column 'when' for the time of a prediction (set it in columns); it has: ",
        ),
        ({"columns": {"at": "city"}}, "holds no times that can be compared (string): give a view that casts it"),
        ({"label_columns": {"label": "truth"}}, "has no column 'truth' for the label"),
        ({"partition": {"key": "age"}}, "partition.key 'age' is of the type double"),
        ({"predictions": 'a"b'}, "is no name of a table"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(events: Database, keys: dict[str, Any], said: str) -> None:
    """A table or a column that is not as the config says is a fault that names it, and no exception of a library."""
    source = sql_source(events, SCHEMA, **keys)
    fault = next(iter(source.refresh(START + 60).faults), "")
    if not fault:
        with pytest.raises(EngineError) as refused:
            source.outcomes(HOUR, START + 60)
        fault = str(refused.value)
    assert said in fault
    assert "\n" not in fault


def test_nothing_is_written(database: Database) -> None:
    """The connection refuses to write, whoever's rights it has."""
    fill(database)
    settings = sql_config(database, predictions="(insert into labels values ('x') returning *)")
    assert EngineSource(SqlEngine(settings), SCHEMA, names_of()).refresh(START).faults
    connection = connection_of(database)
    with pytest.raises(Exception, match="read-only"):
        list(connection.batches("insert into labels (prediction_id) values ('x')"))
    connection.close()


def test_a_database_that_is_away_comes_back(tmp_path: Path) -> None:
    """While a server is away no window is complete and tries grow rarer; when it is back, all goes on by itself."""
    clock = [0.0]
    with postgres(tmp_path / "first") as server:
        database = postgres_database(server, "events")
        fill(database)
        engine = SqlEngine(sql_config(database), monotonic=lambda: clock[0])
        source = EngineSource(engine, SCHEMA, names_of())
        assert source.refresh(START + 60).faults == ()
    lost = source.refresh(START + 60)
    assert (lost.complete_until, lost.first_at) == (-np.inf, START)
    assert len(lost.faults) == 1
    for waits in ("1 s", "2 s", "4 s"):
        (fault,) = source.refresh(START + 60).faults
        assert "does the server run, and does source.url name it?" in fault
        (again,) = source.refresh(START + 60).faults
        assert again == f"{fault}; it is tried again in {waits}"
        clock[0] += 60.0
    found = duckdb_database(tmp_path / "late.duckdb")
    late = sql_source(found, SCHEMA)
    assert "does not exist: correct source.url" in late.refresh(START).faults[0]


def test_a_connection_that_the_server_ends_is_opened_again(events: Database) -> None:
    """After the server ended the session, one call fails with a sentence and the next is good."""
    source = sql_source(events, SCHEMA)
    assert source.refresh(START + 60).faults == ()
    mine = "application_name = 'driftd' and datname = current_database()"
    events.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {mine}")
    (fault,) = source.refresh(START + 60).faults
    assert "\n" not in fault
    assert source.refresh(START + 60).faults == ()


def test_rights_that_are_revoked_are_told_and_come_back(events: Database, tmp_path: Path) -> None:
    """A user without SELECT is told which right is missing; once it is granted, the source reads again."""
    role = tmp_path.name
    events.execute(f"create role {role} login", f"grant select on predictions, labels to {role}")
    file = tmp_path / "credentials"
    file.write_text(f"user: {role}\npassword: s3cret/@: x\n")
    source = sql_source(events, SCHEMA, credentials_file=file)
    assert source.refresh(START + 60).faults == ()
    events.execute(f"revoke select on labels from {role}")
    (fault,) = source.refresh(START + 60).faults
    assert "permission denied for table labels: a right is missing: GRANT SELECT" in fault
    events.execute(f"grant select on labels to {role}")
    assert source.refresh(START + 60).faults == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("s3cret", "must hold lines `user: ...` and `password: ...`, or a whole address"),
        ("user: nobody\npassword: s3cret\n", "it refuses the user or the password"),
        ("mysql://nobody:s3cret@127.0.0.1/x", "holds an address that is not of postgresql"),
        ("postgresql://nobody:s3cret@127.0.0.1:1/x", "does the server run, and does source.url name it?"),
        ("postgresql://nobody:s3cret@127.0.0.1:5432:1/x", ""),
    ],
)
def test_no_message_holds_a_secret(events: Database, tmp_path: Path, content: str | None, said: str) -> None:
    """Credentials that fail are told by the name of their file, and what is in it is in no message."""
    file = tmp_path / "credentials"
    if content is not None:
        file.write_text(content)
    (fault,) = sql_source(events, SCHEMA, credentials_file=file).refresh(START).faults
    assert said in fault
    assert "s3cret" not in fault
    assert "\n" not in fault


def test_a_query_takes_no_longer_than_it_may(database: Database) -> None:
    """What takes longer than `timeout` is ended by the database or by us, with a sentence; the next query is good."""
    fill(database)
    slow = "select p.* from predictions p, (select count(*) from range(20000) a, range(2000000) b) s"
    if database.url.startswith("postgres"):
        slow = "select p.*, pg_sleep(0.5)::text as z from predictions p"
    database.execute(f"create view slow as {slow}")
    engine = SqlEngine(sql_config(database, predictions="slow", timeout=1.0))
    begun = time.monotonic()
    with pytest.raises(EngineError, match=r"took longer than source.timeout \(1 s\): give the tables an index"):
        list(engine.read(Query(("age",), START, START + 60)))
    assert time.monotonic() - begun < HANG
    assert sql_source(database, SCHEMA).refresh(START + 60).faults == ()
    engine.close()


def test_a_query_is_cancelled_by_another_thread(events: Database) -> None:
    """`cancel` ends what is under way, and the engine can be asked again."""
    events.execute("create view slow as select p.*, pg_sleep(60)::text as z from predictions p")
    engine = SqlEngine(sql_config(events, predictions="slow"))
    sentences: list[str] = []

    def ask() -> None:
        try:
            list(engine.read(Query(("age",), START, START + 60)))
        except EngineError as error:
            sentences.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    mine = "application_name = 'driftd' and query like '%slow%' and state = 'active'"
    running = f"select count(*) from pg_stat_activity where {mine}"
    deadline = time.monotonic() + HANG
    with psycopg.connect(events.url, autocommit=True) as connection:
        while connection.execute(running).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    while thread.is_alive():
        engine.cancel()
        thread.join(0.2)
        assert time.monotonic() < deadline
    assert len(sentences) == 1
    assert "the query was cancelled" in sentences[0]
    events.execute("create or replace view slow as select p.*, ''::text as z from predictions p")
    assert engine.count(Query((), START, START + 60)) == 20
    engine.close()


def test_rows_and_bytes_of_a_day_are_limited(database: Database) -> None:
    """What would read more than a day may is refused before it reads, is counted, and is allowed the next day."""
    fill(database)
    now = [START]
    engine = SqlEngine(sql_config(database, most_rows=30), now=lambda: now[0], monotonic=lambda: now[0])
    query = Query(("age",), START, START + 60)
    assert sum(map(len, engine.read(query))) == 20
    with pytest.raises(EngineError, match=r"20 rows are asked for after 20 of today, more than source.most_rows"):
        list(engine.read(query))
    with pytest.raises(
        EngineError, match=r"\(30\): raise it, or wait for the next day \(UTC\); it is tried again in 1 s"
    ):
        list(engine.read(query))
    assert (engine.reads.rows, engine.reads.refused) == (20, 1)
    now[0] += 86_400.0
    assert sum(map(len, engine.read(query))) == 20
    engine = SqlEngine(sql_config(database, most_bytes=100), now=lambda: now[0])
    with pytest.raises(EngineError, match=r"bytes were read today, more than source.most_bytes \(100\)"):
        list(engine.read(query))
    assert engine.reads.refused == 1
    assert engine.look(None).newest_at == START + 19


def test_a_look_uses_an_index(events: Database) -> None:
    """Where times have an index no look, window or join of labels reads a whole table; partitions are chosen by key."""
    events.execute(
        "insert into predictions select 'x' || n, to_timestamp(1700000100 + n), 1, '1', .5, n, 'town', true, null "
        "from generate_series(1, 30000) n",
        "insert into labels select 'x' || n, '1', to_timestamp(1700000200 + n) from generate_series(1, 30000) n",
        'create index on predictions ("at")',
        "create index on labels (label_at)",
        "create index on labels (prediction_id)",
        "analyze predictions",
        "analyze labels",
    )
    statements = statements_of(events)
    narrow = Query(("prediction",), START + 5000, START + 5060, START + 9000)
    asked = [
        statements.extent(first=True, since=None),
        statements.extent(first=False, since=START + 20_000),
        statements.newest_label(None),
        statements.newest_label(START + 20_000),
        statements.rows(narrow),
        statements.rows(replace(narrow, labelled_only=True)),
        statements.count(replace(narrow, labelled_only=True)),
        statements.so_many_back(5, replace(narrow, end=np.inf, labelled_only=True)),
    ]
    for statement in asked:
        assert "Seq Scan" not in plan(events, statement), statement


def test_labels_join_in_linear_time_without_statistics(events: Database) -> None:
    """A table that was never analysed is joined by hashing, not by a loop in a loop."""
    events.execute(
        "insert into predictions select 'x' || n, to_timestamp(1700000100 + n), 1 from generate_series(1, 20000) n",
        "insert into labels select 'x' || n, '1', to_timestamp(1700000200 + n) from generate_series(1, 20000) n",
    )
    day = Query(("prediction",), START, START + 86_400, START + 2 * 86_400)
    for query in (day, replace(day, labelled_only=True)):
        assert "Nested Loop" not in plan(events, statements_of(events).rows(query))


def test_partitions_are_chosen_by_their_key(events: Database) -> None:
    """A window reads the partitions of its days and of the slack around them, whatever the type of the key."""
    days = [(date(2023, 11, 12 + number), date(2023, 11, 13 + number)) for number in range(6)]
    events.execute('create table parted (like predictions, "day" date) partition by range ("day")')
    events.execute(
        *(f"create table d{low:%d} partition of parted for values from ('{low}') to ('{high}')" for low, high in days),
        "insert into parted select p.*, date '2023-11-14' from predictions p",
    )
    keys = {"predictions": "parted", "partition": {"key": "day", "slack": "12h"}}
    text = plan(events, statements_of(events, **keys).rows(Query(("age",), START, START + 60)))
    assert [name in text for name in ("d12", "d13", "d14", "d15", "d16")] == [False, False, True, True, False]
    source = sql_source(events, SCHEMA, **keys)
    assert source.refresh(START + 60).newest_at == START + 19
    assert source.outcomes(HOUR, START).rows == 20
    for cast in ("to_char(\"day\", 'YYYY-MM-DD')", "to_char(\"day\", 'YYYYMMDD')::int", '"day"::timestamp'):
        events.execute("drop view if exists cast_day", f"create view cast_day as select *, {cast} as key from parted")
        source = sql_source(events, SCHEMA, predictions="cast_day", partition={"key": "key"})
        assert source.outcomes(HOUR, START).rows == 20


def test_drift_is_found_at_the_same_window_with_identical_evidence(database: Database, tmp_path: Path) -> None:
    """The assessments of every window and cohort are those of the same rows in Parquet, word for word."""
    rng = np.random.default_rng(5)
    reference = reference_of(np.random.default_rng(21), delay=2.0)
    days = [day_of(rng, FIRST_DAY + day, shift=0.5 if day > 7 else 0.0, delay=2.0) for day in range(12)]
    columns, outcomes = together(days)
    at, label_at = (np.round(times * 1e6).astype(np.int64) for times in (outcomes.at, outcomes.label_at))
    ids = [f"p{number}" for number in range(columns.rows)]
    texts = {name: np.array(WORDS)[getattr(outcomes, name).astype(int)] for name in ("prediction", "label")}
    shared = {
        "prediction_id": ids,
        "at": pa.array(at).cast(ZONED),
        "version": outcomes.version,
        "prediction": texts["prediction"],
        "score": outcomes.score,
        "a": columns.values["a"],
        "b": columns.values["b"],
        "c": np.array(LETTERS)[columns.values["c"].codes],
    }
    labels = {"label": texts["label"], "label_at": pa.array(label_at).cast(ZONED)}
    database.load("predictions", pa.table(shared))
    database.load("labels", pa.table({"prediction_id": ids, **labels, "received_at": labels["label_at"]}))
    (tmp_path / "logs").mkdir()
    pq.write_table(pa.table({**shared, **labels}), tmp_path / "logs" / "a.parquet")
    files = FilesSource("m", WORLD, Places(tmp_path), FilesSettings(str(tmp_path / "logs")))
    found = [assessments(source, reference) for source in (sql_source(database, WORLD), files)]
    assert found[0] == found[1]
    assert any("drift" in text.lower() for text in found[0][8:])


def test_the_daemon_reads_a_database_through_a_child(events: Database, tmp_path: Path) -> None:
    """What a config names is opened in a process of its own, which gives the same window."""
    text = f"models: {{m: {{task: classification, target: bought, source: {source_keys(events)}}}}}"
    config = parse(text.encode()).models["m"]
    source = open_watched_source("m", config, SCHEMA, Places(tmp_path))
    try:
        assert source.refresh(START + 60).newest_at == START + 19
        assert source.cohort(HOUR, START + 60, ["city"], ServedBy(1)).labelled == 10
    finally:
        source.close()


def test_a_child_that_wants_more_memory_than_the_limit_says_so(events: Database, tmp_path: Path) -> None:
    """It is a fault of the source that names the limit, never damage; with more memory the same source answers."""
    config = parse(f"models: {{m: {{task: regression, target: y, source: {source_keys(events)}}}}}".encode())
    source = open_watched_source("m", config.models["m"], SCHEMA, Places(tmp_path), memory=256 << 20)
    try:
        (fault,) = source.refresh(START + 20).faults
        assert "ran out of the memory that limits.memory allows (268,435,456 bytes): set a shorter window" in fault
        with pytest.raises(EngineError, match=r"limits\.memory allows") as refused:
            source.cohort(HOUR, START + 60, ["city"], ServedBy(1))
        assert not is_damage(refused.value)
    finally:
        source.close()


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (pa.ArrowMemoryError("malloc of size 64 failed"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("can't start new thread"), True),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate data of size 1.0 MiB"), True),
        (OSError(errno.EMFILE, "Too many open files"), False),
        (psycopg.errors.OutOfMemory("out of memory: of the server"), False),
    ],
)
def test_memory_of_this_process_is_told_from_that_of_a_server(error: Exception, lacks: bool) -> None:
    """Python, Arrow and DuckDB say it in different words; a server that has no memory is another thing."""
    assert lacks_memory(error) is lacks


def test_a_model_that_is_stepped_each_second_looks_now_and_then(events: Database, tmp_path: Path) -> None:
    """What a look found is given for five seconds to two minutes; after a fault it looks at once, then ever later."""
    config = parse(f"models: {{m: {{task: regression, target: y, source: {source_keys(events)}}}}}".encode()).models[
        "m"
    ]
    source = open_watched_source("m", config, SCHEMA, Places(tmp_path))
    try:
        source.refresh(START + 20)
        events.execute("alter table predictions rename to away")
        assert source.refresh(START + 24).faults == ()
        assert source.refresh(START + 20 + LONGEST_REST).faults != ()
        events.execute("alter table away rename to predictions")
        assert source.refresh(START + 21 + LONGEST_REST).newest_at == START + 19
        events.execute("drop table labels")
        assert source.refresh(START + 20).faults != ()  # the clock was set back
        assert source.refresh(START + 21).faults != ()  # the second look in vain
        events.execute(
            "create table labels (prediction_id text, label text, label_at timestamptz, received_at timestamptz)"
        )
        assert source.refresh(START + 25).faults != ()
        assert source.refresh(START + 26).faults == ()
    finally:
        source.close()


@pytest.mark.parametrize("ending", ["closed", "killed"])
def test_a_query_that_waits_for_a_lock_ends_with_who_asked(events: Database, tmp_path: Path, ending: str) -> None:
    """While somebody changes a table, neither a child that is told to end nor a killed one leaves its query there."""
    config = parse(f"models: {{m: {{task: regression, target: y, source: {source_keys(events)}}}}}".encode())
    source = open_watched_source("m", config.models["m"], SCHEMA, Places(tmp_path))
    assert isinstance(source, ChildSource)
    assert source.refresh(START + 20).faults == ()
    waiting = "select count(*) from pg_stat_activity where application_name = 'driftd' and wait_event_type = 'Lock'"
    with psycopg.connect(events.url) as locking, psycopg.connect(events.url, autocommit=True) as seeing:
        locking.execute("lock table predictions in access exclusive mode")
        asking = threading.Thread(target=source.refresh, args=(START + 2 * LONGEST_REST,), daemon=True)
        asking.start()
        wait(lambda: seeing.execute(waiting).fetchone() == (1,), "the query waits", pause=0.1)
        if ending == "killed":
            assert source._process is not None
            source._process.kill()
        else:
            source.close()
        wait(lambda: seeing.execute(waiting).fetchone() == (0,), "the query ends", pause=0.1)
    asking.join(HANG)
    source.close()


def source_keys(database: Database) -> str:
    """The source in a config."""
    return f"{{kind: sql, url: '{database.url}', predictions: predictions, labels: labels}}"


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    """The sentence says what to install."""
    with pytest.raises(EngineError, match=r"the library nowhere is missing .*: pip install 'driftd\[postgres\]'"):
        need_library("nowhere", "postgres")

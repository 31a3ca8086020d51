"""The SQL of one layout, for databases that the tests run and, by sqlglot, for eight that they do not."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import expressions

from driftd.sources.engines.protocol import EngineError, Query
from driftd.sources.engines.sql_counts import Counting
from driftd.sources.engines.sql_text import DialectName, Meanings, Statements, Table, least_micros, quote_table
from driftd_detectors.batches.profile_batches import ProfileJob
from driftd_detectors.columns import Coded, Columns, Outcomes
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy

FOLDER = Path(__file__).resolve().parents[1] / "data" / "sql"
RUN: tuple[DialectName, ...] = ("duckdb", "postgres")
# How a database counts microseconds since 1970; whatever else differs, sqlglot knows.
MICROS = {
    "bigquery": "UNIX_MICROS({})",
    "snowflake": "DATE_PART(EPOCH_MICROSECOND, {})",
    "databricks": "UNIX_MICROS({})",
    "trino": "CAST(TO_UNIXTIME({}) * 1000000 AS BIGINT)",
    "athena": "CAST(TO_UNIXTIME({}) * 1000000 AS BIGINT)",
    "clickhouse": "toUnixTimestamp64Micro({})",
    "tsql": "DATEDIFF_BIG(MICROSECOND, '1970-01-01', {})",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {})",
}
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "bought",
    (
        Feature("price", Kind.NUMBER),
        Feature("Größe", Kind.NUMBER),
        Feature("city", Kind.CATEGORY),
        Feature("joined", Kind.TIMESTAMP),
    ),
    ("0", "1"),
)
MOMENT = pa.timestamp("us", "UTC")
START = 1_700_006_400.0


@cache
def counting(dialect: DialectName) -> Counting:
    """The statements of one day on a small layout."""
    rows = 40
    numbers = np.arange(rows, dtype=np.float64)
    at = START + numbers * 60
    columns = Columns(
        rows,
        {
            "price": numbers / 8,
            "Größe": numbers % 2,
            "city": Coded((numbers % 3).astype(np.int32), ("x", "y", "z")),
            "joined": at - numbers * 86_400,
        },
        {},
    )
    outcomes = Outcomes(at, numbers % 2, numbers / 100, numbers % 2, at, np.ones(rows, dtype=np.int64), SCHEMA.classes)
    layout = learn_layout(columns, outcomes, SCHEMA, bins=3)
    kinds = {
        "prediction_id": pa.string(),
        "at": MOMENT,
        "version": pa.int32(),
        "prediction": pa.string(),
        "score": pa.float64(),
        "price": pa.decimal128(12, 2),
        "Größe": pa.float64(),
        "city": pa.string(),
        "joined": MOMENT,
        "day": pa.date32(),
    }
    label_kinds = {"prediction_id": pa.string(), "label": pa.string(), "label_at": MOMENT, "received_at": MOMENT}
    of_labels = {"id": "prediction_id"} | {name: name for name in ("label", "label_at", "received_at")}
    names = Meanings("prediction_id", "at", "label", "label_at", of_labels)
    statements = Statements(
        dialect,
        Table(quote_table("sales.predictions"), kinds, {}, endless=False),
        Table(quote_table("sales.labels"), label_kinds, {}, endless=False),
        names,
        ("day", 86_400.0),
    )
    job = ProfileJob(SCHEMA, layout, ServedBy(3, since=START + 60), START, START + 86_400)
    return Counting(statements, Query(job.columns, START, START + 86_400), job)


def texts(dialect: DialectName) -> dict[str, str]:
    """Every kind of statement, by name."""
    given = counting(dialect)
    statements, query = given.statements, given.query
    narrow = Query(("prediction_id", "at", "prediction"), query.start, query.end, query.end + 3600)
    words = {2: pa.table({"word": ["x", "y", "z"]})}
    return {
        "window": statements.rows(query),
        "labels": statements.rows(narrow),
        "bins": given.bins() or "",
        "words": given.distinct(pa.string()),
        "summary": given.summary(),
        "versions": given.versions(),
        "pairs": given.pairs(words) or "",
    }


def compile_for(text: str, dialect: str) -> str:
    """DuckDB's SQL in another dialect. What is not the grammar's business is put right in the tree."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for function in list(tree.find_all(expressions.Anonymous)):
        assert function.name.upper() == "EPOCH_US"  # nothing else is DuckDB's own
        argument = function.expressions[0].sql(dialect)
        function.replace(sqlglot.parse_one(MICROS[dialect].format(argument), read=dialect))
    if dialect in {"tsql", "mysql"}:  # they have no infinity: a comparison with it goes
        for comparison in list(tree.find_all(expressions.EQ, expressions.LTE)):
            if any(value.name == "Infinity" for value in comparison.find_all(expressions.Literal)):
                _drop(comparison)
    compiled = tree.sql(dialect, pretty=True)
    return compiled.replace("Nullable(DateTime)", "Nullable(DateTime64(6))")  # of whole seconds otherwise


def _drop(comparison: expressions.Expression) -> None:
    parent = comparison.parent
    if isinstance(parent, expressions.And):
        parent.replace(parent.left)
    else:
        assert isinstance(parent, expressions.If)
        parent.pop()


@pytest.mark.parametrize("dialect", [*RUN, *MICROS])
def test_the_sql_of_each_database_is_on_file(dialect: str) -> None:
    """Window, labels and counts are the SQL in tests/data/sql; DRIFTD_WRITE_SQL=1 writes the files anew."""
    if dialect in RUN:
        found = {
            name: sqlglot.transpile(text, dialect, dialect, pretty=True)[0] for name, text in texts(dialect).items()
        }
    else:
        found = {name: compile_for(text, dialect) for name, text in texts("duckdb").items()}
    content = "".join(f"-- {name}\n{text};\n\n" for name, text in found.items())
    path = FOLDER / f"{dialect}.sql"
    if os.environ.get("DRIFTD_WRITE_SQL"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")
    assert path.read_text("utf-8") == content
    for text in found.values():
        assert sqlglot.parse_one(text, read=dialect).sql(dialect, pretty=True)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("events", '"events"'),
        ("sales.Events", '"sales"."Events"'),
        ('"a.b"."c""d"', '"a.b"."c""d"'),
        ("sales.my events", '"sales"."my events"'),
    ],
)
def test_tables_are_quoted(text: str, quoted: str) -> None:
    """Dots part a name, but inside of double quotes; nothing else has a meaning."""
    assert quote_table(text) == quoted


@pytest.mark.parametrize("text", ["", "a..b", '"a', 'a"b', '"a"."', "a\0b", '""'])
def test_what_is_no_name_is_refused(text: str) -> None:
    """A name that no database can have is refused before it is sent."""
    with pytest.raises(EngineError):
        quote_table(text)


@pytest.mark.parametrize("seconds", [START, START + 1e-6, 0.1, 1_700_000_000.123456, -1.5, 4_102_444_800.999999])
def test_bounds_are_the_least_microsecond(seconds: float) -> None:
    """The bound of a span is the first microsecond that, as a float, is not before it."""
    micros = least_micros(seconds)
    assert micros / 1e6 >= seconds > (micros - 1) / 1e6
    assert least_micros(1e300) > least_micros(-1e300)

"""Tables of predictions and labels in a lake, which tests write rows into as an application would."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import Catalog, load_catalog

from driftd.config.source_schema import DeltaSourceConfig, IcebergSourceConfig
from driftd.sources.engines.delta_tables import DeltaTables
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.iceberg_tables import IcebergTables
from driftd.sources.engines.table_engine import TableEngine
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.schema import Schema

TIME = pa.timestamp("us", "UTC")
PREDICTIONS = pa.schema(
    {
        "prediction_id": pa.string(),
        "at": TIME,
        "version": pa.int32(),
        "prediction": pa.string(),
        "score": pa.float64(),
        "age": pa.float64(),
        "city": pa.string(),
        "member": pa.bool_(),
        "joined": TIME,
    }
)
LABELS = pa.schema({"prediction_id": pa.string(), "label": pa.string(), "label_at": TIME, "received_at": TIME})
SCHEMAS = {"predictions": PREDICTIONS, "labels": LABELS}


@dataclass(frozen=True)
class LakeTables:
    """Tables that tests may write to; `section` is what a config says of them."""

    section: Mapping[str, Any]
    write: Callable[[str, pa.Table], None]  # append these rows to a table

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of `predictions` or `labels`; numbers in columns of times are epoch seconds."""
        self.write(table, lake_rows(SCHEMAS[table], rows))

    def engine(
        self, *, keeps: bool = False, monotonic: Callable[[], float] = time.monotonic, **keys: Any
    ) -> TableEngine:
        """An engine over these tables, in this process."""
        if self.section["kind"] == "iceberg":
            iceberg = IcebergSourceConfig(**{**self.section, **keys})
            return TableEngine(iceberg, IcebergTables(iceberg).open, keeps=keeps, monotonic=monotonic)
        settings = DeltaSourceConfig(**{**self.section, **keys})
        return TableEngine(settings, DeltaTables(settings).open, keeps=keeps, monotonic=monotonic)


def lake_rows(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of this schema."""
    moments = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    plain = [{name: row.get(name) for name in schema.names} for row in rows]
    for row in plain:
        for name in moments:
            seconds = row[name]
            row[name] = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return pa.Table.from_pylist(plain, schema)


def delta_tables(folder: Path, **options: Any) -> LakeTables:
    """Two new Delta tables in a folder."""
    for name, schema in SCHEMAS.items():
        DeltaTable.create(str(folder / name), schema=schema, **options)

    def write(name: str, rows: pa.Table) -> None:
        write_deltalake(str(folder / name), rows, mode="append")

    section = {"kind": "delta", "predictions": str(folder / "predictions"), "labels": str(folder / "labels")}
    return LakeTables(section, write)


def iceberg_catalog(section: Mapping[str, Any]) -> Catalog:
    """The catalog of a section, for writing."""
    return load_catalog("default", type="sql", **section["catalog"])


def iceberg_tables(folder: Path) -> LakeTables:
    """Two new Iceberg tables of a catalog in a folder."""
    folder.mkdir()
    catalog = {"uri": f"sqlite:///{folder / 'catalog.db'}", "warehouse": f"file://{folder}"}
    section = {"kind": "iceberg", "catalog": catalog, "predictions": "lake.predictions", "labels": "lake.labels"}
    opened = iceberg_catalog(section)
    opened.create_namespace("lake")
    for name, schema in SCHEMAS.items():
        opened.create_table(f"lake.{name}", schema)

    def write(name: str, rows: pa.Table) -> None:
        opened.load_table(f"lake.{name}").append(rows)

    return LakeTables(section, write)


def lake_source(tables: LakeTables, schema: Schema, **keys: Any) -> EngineSource:
    """A source over these tables, in this process."""
    columns = keys.get("columns", {})
    return EngineSource(tables.engine(**keys), schema, RowNames(**columns))

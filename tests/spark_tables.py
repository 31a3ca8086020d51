"""Tables on a Spark Connect server, which tests append Parquet files to, and a Python for its workers."""

from __future__ import annotations

import sys
import uuid
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftd.config.source_schema import SparkSourceConfig
from driftd.sources.engines.engine_source import EngineSource
from driftd.sources.engines.spark_engine import SparkEngine
from driftd_detectors.batches.rows import RowNames
from driftd_detectors.schema import Schema

IDENTITY = "the tests"  # one session for all of them, so that the workers are started once
_TYPES = {  # of Arrow's in Spark's words
    "double": "DOUBLE",
    "float": "FLOAT",
    "int64": "BIGINT",
    "int32": "INT",
    "int16": "SMALLINT",
    "string": "STRING",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMP",
    "timestamp[us]": "TIMESTAMP_NTZ",
}


def narrow_python(folder: Path) -> Path:
    """A Python that can import numpy and pyarrow, and nothing else but its own library."""
    venv.create(folder, with_pip=False, symlinks=True)
    place = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for package in (np, pa):
        installed = Path(package.__file__).parent
        for name in (installed.name, f"{installed.name}.libs"):
            if (installed.parent / name).exists():
                (place / name).symlink_to(installed.parent / name)
    return folder / "bin" / "python"


@dataclass
class SparkWorld:
    """One server, and the folders of its tables."""

    remote: str
    folder: Path
    tables: dict[str, str] = field(default_factory=dict)  # their names by ours
    _files: int = 0

    def run(self, *statements: str) -> list[list[Any]]:
        """Statements by a session of their own; the rows of the last one."""
        engine = SparkEngine(SparkSourceConfig(kind="spark", remote=self.remote, predictions="none"), IDENTITY)
        try:
            with engine._open() as spark:
                frames = [spark.sql(statement) for statement in statements]
                return [list(row) for row in frames[-1].collect()]
        finally:
            engine.close()

    def create(self, name: str, schema: pa.Schema, *, key: str | None = None) -> str:
        """An empty table; with `key` it is partitioned. Gives its name on the server."""
        table = f"{name}_{uuid.uuid4().hex}"
        columns = ", ".join(f"`{item.name}` {_type_of(item.type)}" for item in schema)
        partitioned = "" if key is None else f" PARTITIONED BY ({key})"
        place = self.folder / name
        place.mkdir(parents=True)
        self.run(f"CREATE TABLE {table} ({columns}) USING parquet{partitioned} LOCATION '{place}'")
        self.tables[name] = table
        return table

    def append(self, name: str, rows: pa.Table, folder: str = "") -> None:
        """Rows as one more file of a table, as a job of another team would write it."""
        self._files += 1
        place = self.folder / name / folder
        place.mkdir(exist_ok=True)
        pq.write_table(rows, place / f"{self._files}.parquet")

    def config(self, **keys: Any) -> SparkSourceConfig:
        """The section of a config that names the tables `predictions` and `labels`."""
        given = {"predictions": self.tables["predictions"], "labels": self.tables.get("labels"), **keys}
        return SparkSourceConfig(kind="spark", remote=self.remote, **given)

    def engine(self, **keys: Any) -> SparkEngine:
        """An engine over these tables, in this process."""
        return SparkEngine(self.config(**keys), IDENTITY)

    def source(self, schema: Schema, **keys: Any) -> EngineSource:
        """A source over these tables, in this process."""
        settings = self.config(**keys)
        return EngineSource(SparkEngine(settings, IDENTITY), schema, RowNames(**settings.columns))


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows with exactly these columns; what a row lacks is NULL."""
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def _type_of(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _TYPES[str(kind)]

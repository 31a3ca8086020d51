"""Snapshots: immutable datasets named by their content, `data.parquet` and `manifest.json` in a folder.

The name is the SHA-256 of `data.parquet`, whose metadata hold the schema; rows are in time order and everything is
written the same way each time, so the same content twice is the same folder.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftd.errors import DriftdError
from driftd.fsutil import sha256_of, sync, write_durably
from driftd.paths import Places
from driftd.training.vocabulary import name_values
from driftd_detectors.schema import Kind, Schema, Task

DATA = "data.parquet"
_ROW_GROUP = 131_072
_TYPES = {
    Kind.NUMBER: pa.float64(),
    Kind.CATEGORY: pa.string(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.TIMESTAMP: pa.timestamp("us", "UTC"),
}


class SnapshotError(DriftdError):
    """A snapshot that cannot be made or read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Labelled rows of one model, each once, oldest first."""

    digest: str
    schema: Schema
    table: pa.Table
    left_out: Mapping[str, int] = field(default_factory=dict)  # rows by the label that is no class

    @property
    def at(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Event time of each row, epoch seconds, rising."""
        return np.asarray(self.table["driftd_at"].to_numpy(), dtype=np.float64)


def take_snapshot(
    places: Places, model: str, tables: Iterable[pa.Table], schema: Schema, classes: Sequence[str] = ()
) -> Snapshot:
    """Store labelled rows (the columns of `Source.labelled`) durably and return them as they were stored.

    Rows without a usable label or time are left out, of several rows with one `driftd_id` the newest label wins.
    Classes and categories that the rows bring join the schema as `name_values` has it, with the `classes` of the
    config. Raises SnapshotError when no row is left.
    """
    named = name_values(labelled_rows(tables, schema), schema, classes)
    table, schema = named.table.combine_chunks(), named.schema
    if table.num_rows == 0:
        raise SnapshotError(f"there is no labelled row of {model} to build from")
    text = json.dumps(schema.to_dict())  # in the order of the features: it is part of the schema
    table = table.replace_schema_metadata({"driftd_schema": text})
    folder = places.snapshot(model, "x").parent
    folder.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder, prefix=".staged-"))
    try:
        digest = _write(staged, table, schema)
        _publish(staged, places.snapshot(model, digest), digest)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Snapshot(digest, schema, table, named.left_out)


def read_snapshot(places: Places, model: str, digest: str) -> Snapshot:
    """Read a snapshot back. Raises SnapshotError when it is absent or its content is not what its name says."""
    path = places.snapshot(model, digest) / DATA
    if not path.is_file():
        raise SnapshotError(f"snapshot {digest} of {model} is absent ({path}): restore it from a backup")
    if sha256_of(path) != digest:
        raise SnapshotError(f"{path} does not match its name: it was changed or damaged. Restore it from a backup.")
    table = pq.read_table(path)
    return Snapshot(digest, Schema.from_dict(json.loads(table.schema.metadata[b"driftd_schema"])), table)


def labelled_rows(tables: Iterable[pa.Table], schema: Schema, *, logged: bool = False) -> pa.Table:
    """The usable rows of some tables in the one form of snapshots: fixed columns and types, each row once, in order.

    With `logged`, also what was predicted when the row was live: `driftd_prediction` and `driftd_score`.
    """
    fields = _fields(schema, logged=logged)
    pieces = [_shape(table, fields) for table in tables] or [fields.empty_table()]
    table = pa.concat_tables(pieces).combine_chunks()
    usable = pc.and_(pc.is_finite(table["driftd_at"]), pc.is_valid(table[schema.target]))
    if schema.task is Task.REGRESSION:
        usable = pc.and_(usable, pc.is_finite(table[schema.target]))
    table = table.filter(pc.fill_null(usable, fill_value=False))
    return _newest_labels(table).sort_by([("driftd_at", "ascending"), ("driftd_id", "ascending")]).combine_chunks()


def without_spans(table: pa.Table, spans: Sequence[tuple[float, float]]) -> pa.Table:
    """The rows of a table of `Source.labelled` that lie in none of some spans `start <= at < end`, which are disjoint.

    Windows with a fault of the pipeline are left out so: no model is built on garbage, and none is judged by it.
    """
    if not spans or table.num_rows == 0:
        return table
    starts, ends = np.array(sorted(spans), dtype=np.float64).T
    at = np.asarray(table["driftd_at"].to_numpy(), dtype=np.float64)
    found = np.searchsorted(starts, at, side="right") - 1
    return table.filter(pa.array((found < 0) | (at >= ends[found])))


def _fields(schema: Schema, *, logged: bool) -> pa.Schema:
    target = pa.float64() if schema.task is Task.REGRESSION else pa.string()
    own = {
        "driftd_id": pa.string(),
        "driftd_at": pa.float64(),
        "driftd_label_at": pa.float64(),
        "driftd_version": pa.int64(),
    }
    if logged:
        own |= {"driftd_prediction": target, "driftd_score": pa.float64()}
    features = {feature.name: _TYPES[feature.kind] for feature in schema.features}
    return pa.schema([pa.field(name, kind) for name, kind in {**features, schema.target: target, **own}.items()])


def _shape(table: pa.Table, fields: pa.Schema) -> pa.Table:
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in fields
    ]
    return pa.table(columns, schema=fields)


def _newest_labels(table: pa.Table) -> pa.Table:
    """Of rows with one id, the one whose label came last; rows without an id are all kept."""
    codes = table["driftd_id"].combine_chunks().dictionary_encode().indices
    names = codes.fill_null(-1).to_numpy(zero_copy_only=False)
    label_at = table["driftd_label_at"].fill_null(float("-inf")).to_numpy()
    order = np.lexsort((np.arange(len(names)), label_at, names))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (names[order][1:] != names[order][:-1]) | (names[order][:-1] == -1)
    return table.take(pa.array(np.sort(order[last])))


def _write(folder: Path, table: pa.Table, schema: Schema) -> str:
    path = folder / DATA
    pq.write_table(table, path, compression="zstd", row_group_size=_ROW_GROUP, store_schema=True)
    digest = sha256_of(path)
    manifest: dict[str, Any] = {
        "format": 1,
        "sha256": digest,
        "rows": table.num_rows,
        "first_at": table["driftd_at"][0].as_py(),
        "last_at": table["driftd_at"][-1].as_py(),
        "schema": schema.to_dict(),
    }
    write_durably(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    sync(path)
    folder.chmod(0o750)
    return digest


def _publish(staged: Path, target: Path, digest: str) -> None:
    if target.is_dir():
        if (target / DATA).is_file() and sha256_of(target / DATA) == digest and (target / "manifest.json").is_file():
            return
        shutil.rmtree(target)  # damaged; what it held is exactly what was staged
    staged.rename(target)
    sync(target.parent)

"""Snapshots: immutable datasets named by their content, and the classes and categories that one brings."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftd.errors import DriftdError
from driftd.fsutil import make_staging, sha256_of, sync, write_durably
from driftd.paths import Places
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.values import MOST_NAMES, Vocabulary, learn_names

ENOUGH_ROWS = 100  # of a class that nobody named: a quarter of them, held out, still says something about it


@dataclass(frozen=True, slots=True)
class NamedRows:
    """Rows in the names of their schema, and how many were left out, by the label that is no class of it."""

    table: pa.Table
    schema: Schema
    left_out: Mapping[str, int] = field(default_factory=dict)


def name_values(table: pa.Table, schema: Schema, classes: Sequence[str] = (), enough: int = ENOUGH_ROWS) -> NamedRows:
    """Rows with every class and category in one spelling, and the schema with the names that they bring.

    The classes of the schema stay, in their order. New ones are those that the config names (`classes`), or, where it
    names none, those with `enough` rows; rows of any other label are left out. Categories are united.
    """
    features = []
    for feature in schema.features:
        if feature.kind is Kind.CATEGORY:
            table, feature = _with_categories(table, feature)  # noqa: PLW2901 - the same feature, with more names
        features.append(feature)
    named = replace(schema, features=tuple(features))
    if schema.task is Task.REGRESSION:
        return NamedRows(table, named)
    return _with_classes(table, named, tuple(classes), enough)


def _with_categories(table: pa.Table, feature: Feature) -> tuple[pa.Table, Feature]:
    texts = pc.unique(table[feature.name]).drop_null().to_pylist()
    names = learn_names(texts, feature.categories)
    if len(names) <= MOST_NAMES:
        feature = replace(feature, categories=names)
    return _rename_values(table, feature.name, feature.vocabulary), feature


def _with_classes(table: pa.Table, schema: Schema, named: tuple[str, ...], enough: int) -> NamedRows:
    target = schema.target
    known = (*schema.classes, *(name for name in named if name not in schema.classes))
    texts = pc.unique(table[target]).drop_null().to_pylist()
    table = _rename_values(table, target, Vocabulary(learn_names(texts, known)))
    counts = Counter(
        {pair["values"]: pair["counts"] for pair in pc.value_counts(table[target].drop_null()).to_pylist()}
    )
    strays = sorted(set(counts) - set(known))
    joins = [name for name in strays if not known or (not named and counts[name] >= enough)]
    classes = (*known, *joins)
    left_out = {name: counts[name] for name in strays if name not in joins}
    if left_out:
        table = table.filter(
            pc.or_(pc.is_null(table[target]), pc.is_in(table[target], value_set=pa.array(classes, pa.string())))
        )
    return NamedRows(table, replace(schema, classes=classes), left_out)


def _rename_values(table: pa.Table, name: str, vocabulary: Vocabulary) -> pa.Table:
    column = table[name]
    texts = pc.unique(column).drop_null().to_pylist()
    if all(vocabulary.resolve(text) == text for text in texts):
        return table
    coded = column.combine_chunks().dictionary_encode()
    names = pa.array([vocabulary.resolve(text) for text in coded.dictionary.to_pylist()], pa.string())
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), names.take(coded.indices))


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
    places: Places,
    model: str,
    tables: Iterable[pa.Table],
    schema: Schema,
    classes: Sequence[str] = (),
    *,
    logged: bool = False,
) -> Snapshot:
    """Store labelled rows (the columns of `Source.labelled`) durably and return them as they were stored.

    Rows without a usable label or time are left out, of several rows with one `driftd_id` the newest label wins.
    Classes and categories that the rows bring join the schema as `name_values` has it, with the `classes` of the
    config. With `logged` they keep what was predicted when they were live. Raises SnapshotError when no row is left.
    """
    named = name_values(labelled_rows(tables, schema, logged=logged), schema, classes)
    table, schema = named.table.combine_chunks(), named.schema
    if table.num_rows == 0:
        raise SnapshotError(f"there is no labelled row of {model} to build from")
    text = json.dumps(schema.to_dict())  # in the order of the features: it is part of the schema
    table = table.replace_schema_metadata({"driftd_schema": text})
    folder = places.snapshot(model, "x").parent
    staged = make_staging(folder)
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


def labelled_rows(
    tables: Iterable[pa.Table], schema: Schema, *, logged: bool = False, unlabelled: bool = False
) -> pa.Table:
    """The usable rows of some tables in the one form of snapshots: fixed columns and types, each row once, in order.

    With `logged`, also what was predicted when the row was live: `driftd_prediction` and `driftd_score`. With
    `unlabelled`, also rows without a label, which have a prediction.
    """
    fields = _fields(schema, logged=logged)
    pieces = [_shape(table, fields) for table in tables] or [fields.empty_table()]
    table = pa.concat_tables(pieces).combine_chunks()
    needed = "driftd_prediction" if unlabelled else schema.target
    usable = pc.and_(pc.is_finite(table["driftd_at"]), pc.is_valid(table[needed]))
    if schema.task is Task.REGRESSION:
        usable = pc.and_(usable, pc.is_finite(table[needed]))
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

"""Snapshots: immutable datasets named by their content, and the classes and categories that one brings."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftd.errors import DriftdError
from driftd.fsutil import make_staging, sha256_of, sync, write_durably
from driftd.paths import Places
from driftd.training.row_runs import RUN_BYTES, RowRuns, usable_rows
from driftd.training.stored_rows import StoredRows, write_rows
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.values import MOST_NAMES, Vocabulary, canonical_text, learn_names

ENOUGH_ROWS = 100  # of a class that nobody named: a quarter of them, held out, still says something about it
HELD_OUT = 0.25  # of the rows of a build: what the gate judges by

Blocks = Callable[[Sequence[str]], Iterable[pa.Table]]  # some columns of all rows, piece by piece


@dataclass(frozen=True, slots=True)
class NamedRows:
    """Rows in the names of their schema, and how many were left out, by the label that is no class of it."""

    table: pa.Table
    schema: Schema
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Naming:
    """The names that values of some rows have: how each text is spelled, and which labels are classes."""

    schema: Schema
    vocabularies: Mapping[str, Vocabulary]  # by column
    left_out: Mapping[str, int]

    def apply(self, table: pa.Table) -> pa.Table:
        """The rows in these names, without those whose label is no class."""
        for name, vocabulary in self.vocabularies.items():
            table = _rename_values(table, name, vocabulary)
        if not self.left_out:
            return table
        label, classes = table[self.schema.target], pa.array(self.schema.classes, pa.string())
        return table.filter(pc.or_(pc.is_null(label), pc.is_in(label, value_set=classes)))


def name_values(table: pa.Table, schema: Schema, classes: Sequence[str] = (), enough: int = ENOUGH_ROWS) -> NamedRows:
    """Rows with every class and category in one spelling, and the schema with the names that they bring.

    The classes of the schema stay, in their order. New ones are those that the config names (`classes`), or, where it
    names none, those with `enough` rows; rows of any other label are left out. Categories are united.
    """
    naming = _learn_naming(lambda names: [table.select(list(names))], schema, classes, enough)
    return NamedRows(naming.apply(table), naming.schema, naming.left_out)


def _learn_naming(blocks: Blocks, schema: Schema, classes: Sequence[str], enough: int) -> Naming:
    texts = {feature.name: TextsSeen() for feature in schema.features if feature.kind is Kind.CATEGORY}
    labels: Counter[str] = Counter()
    columns = [*texts, *([] if schema.task is Task.REGRESSION else [schema.target])]
    for block in blocks(columns) if columns else ():
        for name, seen in texts.items():
            seen.add(block[name])
        if len(columns) > len(texts):
            found = pc.value_counts(block[schema.target].drop_null()).to_pylist()
            labels.update({pair["values"]: pair["counts"] for pair in found})
    features = tuple(
        texts[feature.name].name(feature) if feature.name in texts else feature for feature in schema.features
    )
    named = replace(schema, features=features)
    vocabularies = {feature.name: feature.vocabulary for feature in features if feature.name in texts}
    if schema.task is Task.REGRESSION:
        return Naming(named, vocabularies, {})
    known = (*schema.classes, *(name for name in classes if name not in schema.classes))
    spelled = Vocabulary(learn_names(labels, known))
    counts: Counter[str] = Counter()
    for text, count in labels.items():
        counts[spelled.resolve(text)] += count
    strays = sorted(set(counts) - set(known))
    joins = [name for name in strays if not known or (not classes and counts[name] >= enough)]
    left_out = {name: counts[name] for name in strays if name not in joins}
    return Naming(replace(named, classes=(*known, *joins)), vocabularies | {schema.target: spelled}, left_out)


class TextsSeen:
    """The distinct texts of a column, up to those that are too many to be categories."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._too_many = False

    def add(self, column: pa.ChunkedArray) -> None:
        """See the values of some rows."""
        if self._too_many:
            return
        self._texts.update(pc.unique(column).drop_null().to_pylist())
        if len(self._texts) > MOST_NAMES and len({canonical_text(text) for text in self._texts}) > MOST_NAMES:
            self._too_many, self._texts = True, set()

    def name(self, feature: Feature) -> Feature:
        """The feature with the categories that these texts bring; as it is where they are too many."""
        names = () if self._too_many else learn_names(self._texts, feature.categories)
        return feature if self._too_many or len(names) > MOST_NAMES else replace(feature, categories=names)


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
    rows: StoredRows
    left_out: Mapping[str, int] = field(default_factory=dict)  # rows by the label that is no class

    @property
    def at(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Event time of each row, epoch seconds, rising."""
        return np.asarray(self.rows.read(["driftd_at"])["driftd_at"].to_numpy(), dtype=np.float64)


def take_snapshot(
    places: Places,
    model: str,
    tables: Iterable[pa.Table],
    schema: Schema,
    classes: Sequence[str] = (),
    *,
    logged: bool = False,
    most: int | None = None,
    run_bytes: int | None = None,
    versions: Mapping[str, str] | None = None,
) -> Snapshot:
    """Store labelled rows (the columns of `Source.labelled`) durably and return them as they were stored.

    Rows without a usable label or time are left out, of several rows with one `driftd_id` the newest label wins, and of
    all these the newest `most` are taken. Classes and categories that the rows bring join the schema as `name_values`
    has it, with the `classes` of the config. With `logged` they keep what was predicted when they were live. However
    many rows there are, so many bytes of them are in memory at once. `versions` of the source's tables stand beside
    them. Raises SnapshotError when no row is left.
    """
    folder = places.snapshot(model, "x").parent
    staged = make_staging(folder)
    try:
        with scratch_in(staged) as scratch:
            runs = RowRuns(_fields(schema, logged=logged), scratch, run_bytes or RUN_BYTES)
            count = _collect(runs, tables, schema, schema.target, logged=logged)
            naming = _learn_naming(runs.blocks, schema, classes, ENOUGH_ROWS)
            count -= sum(naming.left_out.values())
            if count == 0:
                raise SnapshotError(f"there is no labelled row of {model} to build from")
            newest = _newest(map(naming.apply, runs.merge()), count - (most or count))
            write_rows(staged / DATA, newest, _snapshot_fields(naming.schema, logged=logged))
        digest = _describe(staged, naming.schema, versions or {})
        _publish(staged, places.snapshot(model, digest), digest)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Snapshot(digest, naming.schema, StoredRows.open(places.snapshot(model, digest) / DATA), naming.left_out)


@contextmanager
def scratch_in(folder: Path | None) -> Iterator[Path]:
    """A folder for rows that do not fit in memory: that of the job, whose size `limits.disk` bounds, or in another."""
    given = os.environ.get("DRIFTD_SCRATCH", folder)
    with tempfile.TemporaryDirectory(prefix="driftd-rows-", dir=given) as name:
        yield Path(name)


def _newest(blocks: Iterable[pa.Table], skipped: int) -> Iterator[pa.Table]:
    """The rows without the oldest ones."""
    for block in blocks:
        if skipped < len(block):
            yield block.slice(max(0, skipped))
        skipped -= len(block)


def read_snapshot(places: Places, model: str, digest: str) -> Snapshot:
    """Read a snapshot back. Raises SnapshotError when it is absent or its content is not what its name says."""
    path = places.snapshot(model, digest) / DATA
    if not path.is_file():
        raise SnapshotError(f"snapshot {digest} of {model} is absent ({path}): restore it from a backup")
    if sha256_of(path) != digest:
        raise SnapshotError(f"{path} does not match its name: it was changed or damaged. Restore it from a backup.")
    rows = StoredRows.open(path)
    return Snapshot(digest, Schema.from_dict(json.loads(rows.fields.metadata[b"driftd_schema"])), rows)


def snapshot_versions(places: Places, model: str, digest: str) -> dict[str, str]:
    """The version of each table that a snapshot was read from; empty where its source keeps none, or nothing says."""
    try:
        content = json.loads((places.snapshot(model, digest) / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(version) for name, version in content.get("source_version", {}).items()}


def labelled_rows(
    tables: Iterable[pa.Table], schema: Schema, *, logged: bool = False, unlabelled: bool = False
) -> pa.Table:
    """The usable rows of some tables in the one form of snapshots: fixed columns and types, each row once, in order.

    With `logged`, also what was predicted when the row was live: `driftd_prediction` and `driftd_score`. With
    `unlabelled`, also rows without a label, which have a prediction. All are in memory.
    """
    fields = _fields(schema, logged=logged)
    runs = RowRuns(fields, None)
    _collect(runs, tables, schema, "driftd_prediction" if unlabelled else schema.target, logged=logged)
    return pa.concat_tables([fields.empty_table(), *runs.merge()]).combine_chunks()


@contextmanager
def collected_rows(
    tables: Iterable[pa.Table], schema: Schema, *, logged: bool = False, run_bytes: int = RUN_BYTES
) -> Iterator[StoredRows]:
    """The same as `labelled_rows`, however many there are: those that are too many for one run are in a file."""
    fields = _fields(schema, logged=logged)
    with scratch_in(None) as scratch:
        runs = RowRuns(fields, scratch, run_bytes)
        _collect(runs, tables, schema, schema.target, logged=logged)
        if not runs.is_on_disk:
            yield StoredRows(pa.concat_tables([fields.empty_table(), *runs.merge()]).combine_chunks())
            return
        write_rows(scratch / DATA, runs.merge(), fields)
        yield StoredRows.open(scratch / DATA)


def _collect(runs: RowRuns, tables: Iterable[pa.Table], schema: Schema, needed: str, *, logged: bool) -> int:
    """Put the usable rows of some tables into runs; returns how many stay."""
    fields = _fields(schema, logged=logged)
    for table in tables:
        usable = usable_rows(_shape(table, fields), needed)
        if len(usable):
            runs.add(usable)
    return runs.finish()


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


def _snapshot_fields(schema: Schema, *, logged: bool) -> pa.Schema:
    text = json.dumps(schema.to_dict())  # in the order of the features: it is part of the schema
    return _fields(schema, logged=logged).with_metadata({"driftd_schema": text})


def _describe(folder: Path, schema: Schema, versions: Mapping[str, str]) -> str:
    """Write the manifest of a snapshot's data, force both to the disk, and return the digest."""
    path = folder / DATA
    digest = sha256_of(path)
    at = StoredRows.open(path).read(["driftd_at"])["driftd_at"]
    manifest: dict[str, Any] = {
        "format": 1,
        "sha256": digest,
        "rows": len(at),
        "first_at": at[0].as_py(),
        "last_at": at[-1].as_py(),
        "schema": schema.to_dict(),
        **({"source_version": dict(versions)} if versions else {}),
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

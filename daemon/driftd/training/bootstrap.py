"""Trains or adopts version 1 from a file of labelled rows, by the jobs of the daemon: for `driftd init`."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftd.config.model_schema import ModelConfig
from driftd.errors import DriftdError
from driftd.fsutil import sha256_of
from driftd.paths import Places
from driftd.registry import Registry
from driftd.sources.json_lines import quoted_number
from driftd.sources.whole_files import WholeFiles
from driftd.store.events.columnar import in_words_of
from driftd.training.adoption_records import AdoptionOrder
from driftd.training.fork_server import SHARED
from driftd.training.jobs import Job, JobLimits, describe_failure, job_environment, read_result, start_job
from driftd.training.snapshots import DATA, labelled_rows, name_values, take_snapshot
from driftd_detectors.batches.arrow_columns import read_column, read_ids, read_times, table_of, to_arrow
from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes
from driftd_detectors.reference import Reference, drift_within
from driftd_detectors.schema import Kind, Schema, Task, learn_schema
from driftd_detectors.values import ClassCodes, class_name, learn_names


def frame_of(files: WholeFiles) -> pd.DataFrame:
    """The rows of files, one column of plain pandas types each; missing values are NaN, NaT or None."""
    columns = {name: _series(files, name, kind) for name, kind in files.kinds.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(files.rows), copy=False)


def read_series(column: pd.Series[Any], kind: Kind) -> tuple[Column, int]:
    """A pandas column as values of a kind, and how many could not be read, as the files source reads them.

    Text is no number, also among numbers.
    """
    array, is_mixed = arrow_of(column, kind)
    return read_column(array, kind, numeric_text=is_mixed)


def arrow_of(column: pd.Series[Any], kind: Kind) -> tuple[pa.Array, bool]:
    """A pandas column of any type in Arrow, and whether it held objects of several types, which are text now.

    In such a text numbers are bare, and where numbers are wanted, texts that look like numbers are quoted.
    """
    try:
        return pa.array(column, from_pandas=True), False
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        missing = column.isna().tolist()
        name = quoted_number if kind is Kind.NUMBER else class_name
        values = zip(column.astype(object), missing, strict=True)
        return pa.array([None if absent else name(value) for value, absent in values], pa.string()), True


def _series(files: WholeFiles, name: str, kind: Kind) -> pd.Series[Any]:
    if name in files.integers:
        whole = files.integers[name]
        return pd.Series(
            whole.to_pandas(types_mapper=None if not whole.null_count else {pa.int64(): pd.Int64Dtype()}.get)
        )
    values: Column = files.columns[name]
    if kind is Kind.BOOLEAN or kind is Kind.TIMESTAMP:
        found = to_arrow(values, kind)
        return pd.Series(found.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get))
    if isinstance(values, Coded):
        texts = np.array([*values.labels, None], dtype=object)
        return pd.Series(texts[values.codes], dtype=object)
    return pd.Series(values)


POLL_SECONDS = 0.02
FIRST = 1


class FirstVersionError(DriftdError):
    """Version 1 could not be made; the message says at which step and why."""


_MOST_REMARKS = 5


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Which columns of the file are no features but the row's identity and times. None: the file has none."""

    id: str | None = None
    time: str | None = None
    label_time: str | None = None
    prediction: str | None = None  # of a log of predictions that were made elsewhere, as the two below
    score: str | None = None
    version: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given."""
        known = (self.id, self.time, self.label_time, self.prediction, self.score, self.version)
        return tuple(name for name in known if name is not None)


@dataclass(frozen=True, slots=True)
class FirstVersion:
    """What came of it."""

    version: int
    snapshot: str
    rows: int
    loss: float
    sentence: str
    remarks: tuple[str, ...] = ()  # what drifted inside the rows that later windows are compared with


def make_first_version(
    model: str,
    config: ModelConfig,
    rows: pd.DataFrame,
    columns: FileColumns,
    places: Places,
    *,
    now: float,
    on_step: Callable[[str], None] = lambda _step: None,
    limits: JobLimits | None = None,
    adopt: AdoptionOrder | None = None,
    pieces: RowPieces | None = None,
) -> FirstVersion:
    """Snapshot the rows, train (or adopt the model that `adopt` names), judge the hold-out, and serve the version.

    With `pieces` the rows are a sample of these, which are what the version is made from; `now` is then when the newest
    of them is, where they have times.
    `on_step` is called with the name of each step as it begins. Raises FirstVersionError, and SnapshotError when no
    row has a label. Running it again after an interruption takes up what is done, and does anew what failed.
    """
    limits = limits or JobLimits()
    SHARED.ensure(job_environment(limits))  # one process loads the libraries for all steps, beside the snapshot
    return _make(model, config, rows, columns, places, now, on_step, limits, adopt, pieces)


def _make(
    model: str,
    config: ModelConfig,
    rows: pd.DataFrame,
    columns: FileColumns,
    places: Places,
    now: float,
    on_step: Callable[[str], None],
    limits: JobLimits,
    adopt: AdoptionOrder | None,
    pieces: RowPieces | None,
) -> FirstVersion:
    on_step("snapshot")
    schema = schema_of(config, rows, columns)
    if adopt is not None and adopt.classes:
        schema = replace(schema, classes=tuple(sorted({*schema.classes, *adopt.classes})))
    all_rows = RowPieces(lambda: iter([rows]), len(rows)) if pieces is None else pieces
    snapshot = take_snapshot(places, model, all_rows.tables(schema, columns, now), schema, config.classes or ())
    now = now if pieces is None or pieces.newest is None else pieces.newest
    base = {"model": model, "model_config": config.model_dump(mode="json"), "state_dir": str(places.root), "until": now}
    order = {"version": FIRST, "snapshot": snapshot.digest, "change_at": None, "seed": FIRST, "parent": None}
    why = {"trigger": "manual", "reason": "the first version"}
    key = f"{model}-first-{snapshot.digest[:12]}" + (f"-{adopt.sha256[:12]}" if adopt is not None else "")

    def work(task: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        on_step(task)
        folder = places.job(f"{key}-{task}")
        if (before := read_result(folder)) is not None and not before.ok:
            shutil.rmtree(folder)  # whoever runs it again has changed something: the trainer, a library, the model
        SHARED.await_ready()
        return _finish(start_job(folder, task, {**base, **why, **arguments}, limits, SHARED), task)

    trained = work("train", order) if adopt is None else work("adopt", {**order, **adopt.to_dict()})
    judged = work("judge", {"challenger": FIRST, "champion": None})
    Registry(places).point(model, FIRST)
    found = msgspec.convert(dict(trained), _Made)
    loss = found.metrics.get("loss", float("nan"))
    remarks = (*found.remarks, *_drift_remarks(Registry(places), model, config))
    return FirstVersion(FIRST, snapshot.digest, len(snapshot.rows), loss, str(judged["sentence"]), remarks)


def _drift_remarks(registry: Registry, model: str, config: ModelConfig) -> tuple[str, ...]:
    stored = registry.file(model, FIRST, "reference.bin")
    found = drift_within(Reference.from_bytes(stored.read_bytes()), config.window.every)
    more = (f"and {len(found) - _MOST_REMARKS} more columns drift inside the reference",)
    return (*(drift.sentence for drift in found[:_MOST_REMARKS]), *(more if len(found) > _MOST_REMARKS else ()))


def schema_of(config: ModelConfig, rows: pd.DataFrame, columns: FileColumns) -> Schema:
    """The schema of the rows: what the config declares, and the rest as it looks."""
    if config.features is not None:
        left_out = [str(name) for name in rows.columns if name not in config.features]
    else:
        left_out = [*columns.names, *(str(name) for name in rows.columns if str(name).startswith("meta_"))]
    ignore = [name for name in left_out if name != config.target]
    learned = learn_schema(rows, task=config.task, target=config.target, ignore=ignore, declared=config.features)
    return learned if config.classes is None else replace(learned, classes=config.classes)


@dataclass(slots=True)
class RowPieces:
    """The rows of files too large to be held, which `read` gives some at a time, in order."""

    read: Callable[[], Iterator[pd.DataFrame]]
    rows: int
    newest: float | None = None  # the last time of a row or a label, once all were read; None where they have none

    def map(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> RowPieces:
        """The same, each piece changed."""
        return RowPieces(lambda: map(change, self.read()), self.rows)

    def tables(self, schema: Schema, columns: FileColumns, now: float) -> Iterator[pa.Table]:
        """All rows as `labelled_table` gives them."""
        before = 0
        for rows in self.read():
            yield labelled_table(rows, schema, columns, now, before, self.rows)
            before += len(rows)
            for name in (columns.time, columns.label_time) if columns.time is not None else ():
                moments = epoch_seconds(rows[name]) if name is not None else np.empty(0)
                found = float(np.fmax.reduce(moments, initial=-np.inf))
                self.newest = found if self.newest is None else max(self.newest, found)


def labelled_table(
    rows: pd.DataFrame, schema: Schema, columns: FileColumns, now: float, before: int = 0, of: int | None = None
) -> pa.Table:
    """The rows of a file as a source would give them (see `Source.labelled`), read by the same functions.

    Rows without a time are taken to be in order, a second apart, the last one at `now`; a label without a time
    has none: when it came is unknown. So many rows of the file come `before` these, and so many it is `of`.
    """
    count = len(rows)
    left = (count if of is None else of) - before
    at = epoch_seconds(rows[columns.time]) if columns.time is not None else now - np.arange(left, left - count, -1.0)
    label_at = epoch_seconds(rows[columns.label_time]) if columns.label_time is not None else np.full(count, np.nan)
    if columns.id is not None:
        ids = read_ids(pa.chunked_array([arrow_of(rows[columns.id], Kind.CATEGORY)[0]]))
    else:
        ids = pa.array([f"first-{number}" for number in range(before, before + count)], pa.string())
    missing = np.full(count, np.nan if schema.task is Task.REGRESSION else -1.0)
    label, unseen = _labels(rows[schema.target], schema) if schema.target in rows.columns else (missing, ())
    prediction = _labels(rows[columns.prediction], schema)[0] if columns.prediction is not None else missing
    score = read_series(rows[columns.score], Kind.NUMBER)[0] if columns.score is not None else np.full(count, np.nan)
    assert isinstance(score, np.ndarray)
    score = np.where((score >= 0) & (score <= 1), score, np.nan)
    version = np.full(count, -1, dtype=np.int64)
    if columns.version is not None:
        numbers, _ = read_series(rows[columns.version], Kind.NUMBER)
        version = np.nan_to_num(np.asarray(numbers, dtype=np.float64), nan=0.0).astype(np.int64)
    outcomes = Outcomes(at, prediction, score, label, label_at, version, schema.classes, unseen)
    return table_of(ids, features_of(rows, schema), outcomes, schema)


def features_of(rows: pd.DataFrame, schema: Schema) -> Columns:
    """The features of a frame, read as the files source reads them."""
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in schema.features:
        if feature.name in rows.columns:
            column, count = read_series(rows[feature.name], feature.kind)
            values[feature.name] = in_words_of(feature, column)
            if count:
                unreadable[feature.name] = count
    return Columns(len(rows), values, unreadable)


def _labels(target: pd.Series[Any], schema: Schema) -> tuple[Numbers, tuple[str, ...]]:
    kind = Kind.NUMBER if schema.task is Task.REGRESSION else Kind.CATEGORY
    column, _ = read_series(target, kind)
    if not isinstance(column, Coded):
        return column, ()
    codes = ClassCodes(schema.classes)
    places = [codes.of(label) for label in column.labels]
    return np.array([*places, -1], dtype=np.float64)[column.codes], codes.unseen


def epoch_seconds(column: pd.Series[Any]) -> Numbers:
    """Times of a file as epoch seconds: numbers are that already, everything else is read as a date (UTC)."""
    return read_times(arrow_of(column, Kind.TIMESTAMP)[0])


def make_logged_version(
    model: str,
    config: ModelConfig,
    rows: pd.DataFrame,
    columns: FileColumns,
    places: Places,
    *,
    source: str,
    now: float,
    on_step: Callable[[str], None] = lambda _step: None,
    limits: JobLimits | None = None,
) -> FirstVersion:
    """Make version 1 of a model that is served elsewhere: its reference is learned from its own logged predictions.

    `source` names the log, for the lineage. Labels may be absent, in part or altogether. Raises FirstVersionError;
    running it again takes up what is done.
    """
    on_step("log")
    table, schema = read_logged(config, rows, columns, now)
    if table.num_rows == 0:
        raise FirstVersionError(f"{source} holds no prediction with a time that can be read")
    labelled = table.filter(pc.is_valid(table[schema.target]))
    snapshot = ""
    if labelled.num_rows:
        snapshot = take_snapshot(places, model, [labelled], schema, config.classes or (), logged=True).digest
    with tempfile.TemporaryDirectory(prefix="driftd-init-") as name:
        path = Path(name) / DATA
        pq.write_table(table, path, compression="zstd")
        digest = sha256_of(path)
        on_step("reference")
        folder = places.job(f"{model}-logged-{digest[:12]}")
        if (before := read_result(folder)) is not None and not before.ok:
            shutil.rmtree(folder)
        arguments = {
            "model": model,
            "model_config": config.model_dump(mode="json"),
            "state_dir": str(places.root),
            "version": FIRST,
            "until": now,
            "rows": str(path),
            "source": source,
            "snapshot": snapshot,
        }
        made = _finish(start_job(folder, "logged", arguments, limits or JobLimits(), SHARED), "logged")
    Registry(places).point(model, FIRST)
    loss = msgspec.convert(dict(made), _Made).metrics.get("loss", float("nan"))
    return FirstVersion(FIRST, snapshot, table.num_rows, loss, str(made["sentence"]))


def read_logged(config: ModelConfig, rows: pd.DataFrame, columns: FileColumns, now: float) -> tuple[pa.Table, Schema]:
    """The rows of a log that have a prediction and a time, labelled or not, as the `logged` task reads them."""
    schema = logged_schema(config, rows, columns)
    table = labelled_rows([labelled_table(rows, schema, columns, now)], schema, logged=True, unlabelled=True)
    named = name_values(table, schema, config.classes or schema.classes)
    described = {"driftd_schema": json.dumps(named.schema.to_dict())}
    return named.table.replace_schema_metadata(described), named.schema


def logged_schema(config: ModelConfig, rows: pd.DataFrame, columns: FileColumns) -> Schema:
    """The schema of a log: its classes are those of the predictions and of the labels, in sorted order."""
    assert columns.prediction is not None
    known = rows if config.target in rows.columns else rows.assign(**{config.target: rows[columns.prediction]})
    schema = schema_of(config, known, columns)
    if config.classes is not None or not schema.classes:
        return schema
    said = {
        class_name(value) for name in (columns.prediction, config.target) for value in known[name].dropna().unique()
    }
    return replace(schema, classes=learn_names(said))


class _Made(msgspec.Struct):
    """What the first version's loss is read from; of the value of `train` and `adopt`."""

    metrics: dict[str, float]
    remarks: tuple[str, ...] = ()


def _finish(job: Job, task: str) -> Mapping[str, object]:
    while (result := job.poll()) is None:
        time.sleep(POLL_SECONDS)
    if not result.ok:
        said = " ".join(describe_failure(result).split())  # on one line; the end of the log follows
        raise FirstVersionError(f"the step {task!r} of version 1 failed: {said}\n{result.tail}")
    return result.value

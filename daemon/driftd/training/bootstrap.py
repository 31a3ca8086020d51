"""Trains version 1 from a file of labelled rows, by the jobs of the daemon: for `driftd init` and `driftd demo`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.training.adoption_records import AdoptionOrder
from driftd.training.jobs import Job, JobLimits, read_result, start_job
from driftd.training.snapshots import take_snapshot
from driftd_detectors.schema import Schema, Task, class_name, learn_schema

POLL_SECONDS = 0.02
FIRST = 1


class FirstVersionError(Exception):
    """Version 1 could not be made; the message says at which step and why."""


@dataclass(frozen=True, slots=True)
class FileColumns:
    """Which columns of the file are no features but the row's identity and times. None: the file has none."""

    id: str | None = None
    time: str | None = None
    label_time: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given."""
        return tuple(name for name in (self.id, self.time, self.label_time) if name is not None)


@dataclass(frozen=True, slots=True)
class FirstVersion:
    """What came of it."""

    version: int
    snapshot: str
    rows: int
    loss: float
    sentence: str


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
) -> FirstVersion:
    """Snapshot the rows, train (or adopt the model that `adopt` names), judge the hold-out, and serve the version.

    `on_step` is called with the name of each step as it begins. Raises FirstVersionError, and SnapshotError when no
    row has a label. Running it again after an interruption takes up what is done, and does anew what failed.
    """
    on_step("snapshot")
    schema = schema_of(config, rows, columns)
    if adopt is not None and adopt.classes:
        schema = replace(schema, classes=tuple(sorted({*schema.classes, *adopt.classes})))
    snapshot = take_snapshot(places, model, [labelled_table(rows, schema, columns, now)], schema)
    base = {"model": model, "model_config": config.model_dump(mode="json"), "state_dir": str(places.root), "until": now}
    order = {"version": FIRST, "snapshot": snapshot.digest, "change_at": None, "seed": FIRST, "parent": None}
    why = {"trigger": "manual", "reason": "the first version"}
    limits = limits or JobLimits()
    key = f"{model}-first-{snapshot.digest[:12]}" + (f"-{adopt.sha256[:12]}" if adopt is not None else "")

    def work(task: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        on_step(task)
        folder = places.job(f"{key}-{task}")
        if (before := read_result(folder)) is not None and not before.ok:
            shutil.rmtree(folder)  # whoever runs it again has changed something: the trainer, a library, the model
        return _finished(start_job(folder, task, {**base, **why, **arguments}, limits), task)

    trained = work("train", order) if adopt is None else work("adopt", {**order, **adopt.to_dict()})
    judged = work("judge", {"challenger": FIRST, "champion": None})
    Registry(places).point(model, FIRST)
    loss = float(trained["metrics"].get("loss", float("nan")))
    return FirstVersion(FIRST, snapshot.digest, len(snapshot.at), loss, str(judged["sentence"]))


def schema_of(config: ModelConfig, rows: pd.DataFrame, columns: FileColumns) -> Schema:
    """The schema of the rows: what the config declares, and the rest as it looks."""
    if config.features is not None:
        left_out = [str(name) for name in rows.columns if name not in config.features]
    else:
        left_out = [*columns.names, *(str(name) for name in rows.columns if str(name).startswith("meta_"))]
    ignore = [name for name in left_out if name != config.target]
    return learn_schema(rows, task=config.task, target=config.target, ignore=ignore, declared=config.features)


def labelled_table(rows: pd.DataFrame, schema: Schema, columns: FileColumns, now: float) -> pa.Table:
    """The rows of a file as a source would give them (see `Source.labelled`).

    Rows without a time are taken to be in order, a second apart, the last one at `now`; a label without a time was
    known at once.
    """
    count = len(rows)
    at = epoch_seconds(rows[columns.time]) if columns.time is not None else now - np.arange(count, 0, -1.0)
    label_at = epoch_seconds(rows[columns.label_time]) if columns.label_time is not None else at
    ids = rows[columns.id].astype(str) if columns.id is not None else [f"first-{number}" for number in range(count)]
    target = rows[schema.target]
    if schema.task is Task.CLASSIFICATION:
        labels = pa.array(
            [None if missing else class_name(one) for one, missing in zip(target, target.isna(), strict=True)]
        )
    else:
        labels = pa.array(pd.to_numeric(target, errors="coerce").to_numpy(np.float64), from_pandas=True)
    own = {"driftd_id": list(ids), "driftd_at": at, "driftd_label_at": label_at, schema.target: labels}
    features = pa.Table.from_pandas(feature_frame(rows, schema), preserve_index=False)
    for name, values in own.items():
        features = features.append_column(name, pa.array(values))
    return features


def epoch_seconds(column: pd.Series[Any]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Times of a file as epoch seconds: numbers are that already, everything else is read as a date (UTC)."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64)
    stamps = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601" if column.dtype.kind != "M" else None)
    return np.where(stamps.isna(), np.nan, stamps.astype("datetime64[us, UTC]").astype("int64") / 1e6)


def _finished(job: Job, task: str) -> Mapping[str, Any]:
    while (result := job.poll()) is None:
        time.sleep(POLL_SECONDS)
    if not result.ok:
        raise FirstVersionError(f"the step {task!r} of version 1 failed: {result.error}\n{result.tail}")
    return result.value

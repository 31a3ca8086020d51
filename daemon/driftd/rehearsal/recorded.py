"""The rows on record as a stream: those of files, or those that the config's own source holds, which is only read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from driftd.config.model_schema import ModelConfig
from driftd.errors import ExitCode
from driftd.loop.backtest import Era
from driftd.paths import Places
from driftd.records import Window
from driftd.registry import Registry
from driftd.registry.manifest import Manifest
from driftd.rehearsal.child_process import RehearsalError
from driftd.rehearsal.stream import SAID, SCORE, Stream
from driftd.sources.file_system import quote_names
from driftd.sources.open import open_source
from driftd.sources.protocol import window_index
from driftd.store.backups import copy_database
from driftd.training.bootstrap import FileColumns, epoch_seconds, logged_schema, read_series, schema_of
from driftd_detectors.batches.arrow_columns import to_arrow
from driftd_detectors.columns import Coded, Columns, Numbers, Outcomes
from driftd_detectors.schema import Kind, Schema, Task
from driftd_detectors.values import class_name

FIRST_SHARE = 0.10  # of the rows: what version 1 is trained on, unless told
FEWEST_ROWS = 20  # of both parts
FEWEST_WINDOWS = 3  # to replay; fewer are no rehearsal


class NoRecordError(RehearsalError):
    """There is nothing on record to rehearse with."""

    exit_code = ExitCode.ABSENT


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the rows are cut: `until` (epoch seconds) ends those of version 1; a label comes `delay` seconds late."""

    until: float | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A stream, its schema, and what is to be said of the reading. `version` is the one of ours that it begins with."""

    stream: Stream
    schema: Schema
    remarks: tuple[str, ...] = ()
    version: int | None = None  # None: version 1 is made from the first rows


def read_rows(model: str, config: ModelConfig, rows: pd.DataFrame, columns: FileColumns, cut: Cut) -> Record:
    """The rows of files as a stream. Raises RehearsalError where they say too little.

    A row without a time cannot be replayed and is left out; a label without a time of its own comes `cut.delay` late.
    """
    _require_columns(model, config, rows, columns)
    schema = (
        logged_schema(config, rows, columns) if columns.prediction is not None else schema_of(config, rows, columns)
    )
    frame = pd.DataFrame({name: rows[name] for name in schema.names if name in rows.columns})
    frame[config.target] = target_of(rows[config.target], schema)
    frame["at"] = epoch_seconds(rows[columns.time])
    frame["label_at"] = _label_times(rows, frame, config.target, columns, cut)
    ids = rows[columns.id].astype(str) if columns.id is not None else pd.Series(np.arange(len(rows))).astype(str)
    frame["prediction_id"] = ids.to_numpy()
    if columns.prediction is not None:
        frame[SAID] = target_of(rows[columns.prediction], schema)
        frame[SCORE] = np.nan if columns.score is None else _numbers(rows[columns.score])
    record = _record(model, config, schema, frame, cut, untimed_labels=columns.label_time is None)
    if config.features is not None:
        return record
    named = f"the features are all other columns, since the config names none: {', '.join(schema.names)}"
    return replace(record, remarks=(named, *record.remarks))


def _require_columns(model: str, config: ModelConfig, rows: pd.DataFrame, columns: FileColumns) -> None:
    """Raises RehearsalError where the data lack what the config names, with all that lacks and all that is foreign."""
    there = [str(name) for name in rows.columns]
    features = [name for name in config.features or () if name not in there]
    lacking = []
    if columns.time is None:
        lacking.append("no column of the data holds times: name it with --time, rows are replayed in their order")
    if config.target not in there:
        lacking.append(f"the data have no column {config.target!r}, the target of {model} in the config")
    if features:
        lacking.append(f"the data lack {quote_names(features)} of the features of {model} in the config")
    if not lacking:
        return
    known = {*columns.names, config.target, *(config.features or ())}
    foreign = [name for name in there if name not in known]
    others = f" (the config says nothing of {quote_names(foreign)})" if foreign else ""
    raise RehearsalError("; ".join(lacking) + others)


def target_of(values: pd.Series, schema: Schema) -> pd.Series:
    """A target as streams have it: float64, or class text; missing is NaN or None."""
    if schema.task is Task.REGRESSION:
        return pd.Series(_numbers(values), index=values.index)
    names = values.map(class_name, na_action="ignore").astype(object)
    spelled = {name: schema.class_vocabulary.resolve(name) for name in names.dropna().unique()}
    return names.map(spelled).where(names.notna(), None)


def _numbers(values: pd.Series) -> Numbers:
    found, _ = read_series(values, Kind.NUMBER)
    assert isinstance(found, np.ndarray)
    return found


def _label_times(rows: pd.DataFrame, frame: pd.DataFrame, target: str, columns: FileColumns, cut: Cut) -> Numbers:
    """When each label was known: its own time, else so long after its prediction; never before it. NaN: no label."""
    given = epoch_seconds(rows[columns.label_time]) if columns.label_time is not None else np.full(len(rows), np.nan)
    at = frame["at"].to_numpy()
    known = np.where(np.isfinite(given), given, at + (cut.delay or 0.0))
    return np.where(frame[target].isna(), np.nan, np.maximum(known, at))


def _record(
    model: str, config: ModelConfig, schema: Schema, frame: pd.DataFrame, cut: Cut, *, untimed_labels: bool
) -> Record:
    remarks = []
    whole = len(frame)
    needed = np.isfinite(frame["at"]) & (frame[SAID].notna() if SAID in frame else True)
    frame = frame[needed].sort_values("at", kind="stable").drop_duplicates("prediction_id").reset_index(drop=True)
    if len(frame) < whole:
        remarks.append(f"{whole - len(frame):,} of {whole:,} rows are left out: no time or prediction, or an id again")
    if frame.empty or frame["label_at"].isna().all():
        raise NoRecordError(f"there is no labelled row of {model} to rehearse with")
    if len(frame) < FEWEST_ROWS:
        raise RehearsalError(f"{len(frame)} rows are too few to rehearse with: at least {FEWEST_ROWS} are needed")
    if untimed_labels:
        late = "as soon as their window ends" if not cut.delay else f"{cut.delay / 86_400:.3g} days late, each"
        remarks.append(f"the data do not say when labels came: they come {late} (--label-delay)")
    window = window_seconds(config, frame["at"].to_numpy())
    if config.window.every is None:
        remarks.append(f"windows of {config.window.rows} rows are told in spans of {window:,.0f} s, their mean")
    until = cut.until if cut.until is not None else float(frame["at"].iloc[int(FIRST_SHARE * len(frame))])
    until = math.ceil(until / window) * window
    task = "regression" if schema.task is Task.REGRESSION else "classification"
    stream = Stream(model, task, config.target, schema.names, frame, until, window)  # type: ignore[arg-type] # as above
    stream = stream if stream.is_logged else stream.without_late_labels()
    _require_both(stream)
    return Record(stream, schema, tuple(remarks))


def _require_both(stream: Stream) -> None:
    """Raises RehearsalError where one of the two parts is empty or hardly anything."""
    first, rest = stream.first, stream.rest
    if first.empty or first["label_at"].isna().all():
        raise RehearsalError("no labelled row lies before the first one to replay: name a later --train-until")
    if rest.empty or len(stream.starts) < FEWEST_WINDOWS:
        raise RehearsalError(
            f"fewer than {FEWEST_WINDOWS} windows are left to replay: name an earlier --train-until or a shorter window"
        )


def window_seconds(config: ModelConfig, at: Numbers) -> float:
    """The length of a window; of windows of rows their mean length over these times."""
    if config.window.every is not None:
        return config.window.every
    return max(1.0, float(at[-1] - at[0]) / max(1, len(at) - 1) * float(config.window.rows or 1))


def read_source(
    model: str, config: ModelConfig, live: Places, eras: list[Era], scratch: Path, now: float, cut: Cut
) -> Record:
    """The rows that the config's own source holds, from the first version on that is still there.

    The live state is only read: databases are copied into `scratch` first. Raises RehearsalError, NoRecordError.
    """
    if config.source.kind == "profiles":
        raise RehearsalError(f"the source of {model} gives counts, and no rows to rehearse with: name files by --data")
    era, manifest = first_kept(live, model, eras)
    source = open_source(model, config, manifest.schema, _copy_source(live, model, config, scratch))
    try:
        extent = source.refresh(now)
        if extent.first_at is None or extent.newest_at is None:
            raise NoRecordError(
                f"the source of {model} holds no row" + "".join(f": {fault}" for fault in extent.faults)
            )
        whole = Window(0, extent.first_at, math.nextafter(extent.newest_at, math.inf))
        if config.window.every is None:
            whole = Window(0, 0.0, float(extent.rows), by="rows")
        parts = [_frame_of(columns, outcomes, manifest.schema) for columns, outcomes in source.chunks(whole)]
    finally:
        source.close()
    frame = pd.concat(parts, ignore_index=True)
    frame["prediction_id"] = [f"{model}-{number}" for number in range(len(frame))]
    return _from_version(model, config, manifest, era, frame, cut)


def first_kept(live: Places, model: str, eras: list[Era]) -> tuple[Era, Manifest]:
    """The first era whose version is still there. Raises NoRecordError."""
    registry = Registry(live)
    there = set(registry.versions(model))
    era = next((era for era in eras if era.version in there), None)
    if era is None:
        raise NoRecordError(f"{model} has no version yet: `driftd init` makes the first, or name files by --data")
    return era, registry.readable(model, era.version)


def _from_version(
    model: str, config: ModelConfig, manifest: Manifest, era: Era, frame: pd.DataFrame, cut: Cut
) -> Record:
    """The stream of a source: from the first window on that is later than what the version was made from."""
    window = window_seconds(config, np.sort(frame["at"].to_numpy()))
    last = float(manifest.data.get("last_at") or era.since)
    until = max((window_index(last, window) + 1) * window, math.floor(float(frame["at"].min()) / window) * window)
    until = until if cut.until is None else max(until, math.ceil(cut.until / window) * window)
    if not manifest.is_logged:
        frame = frame.drop(columns=[SAID, SCORE])
    target, task = manifest.schema.target, "classification" if manifest.schema.classes else "regression"
    frame = frame.sort_values("at", kind="stable").reset_index(drop=True)
    stream = Stream(model, task, target, manifest.schema.names, frame, until, window, era.version)  # type: ignore[arg-type] # as above
    if stream.rest.empty or stream.rest["label_at"].isna().all():
        raise NoRecordError(f"the source of {model} holds no labelled row after those of version {era.version}")
    if len(stream.starts) < FEWEST_WINDOWS:
        raise NoRecordError(f"the source of {model} holds fewer than {FEWEST_WINDOWS} windows to replay")
    return Record(replace(stream, frame=stream.rest.reset_index(drop=True)), manifest.schema, (), era.version)


def copy_untouched(source: Path, target: Path) -> None:
    """Copy a database that is only read: opening it would leave files beside it where nobody else has it open.

    Without a log of writes beside it, before and after, the file itself is whole.
    """
    log = source.with_name(f"{source.name}-wal")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not log.exists():
        shutil.copyfile(source, target)
        if not log.exists():
            return
        target.unlink()
    copy_database(source, target)


def _copy_source(live: Places, model: str, config: ModelConfig, scratch: Path) -> Places:
    """A state folder of which the source may write what it likes."""
    places = Places(scratch)
    folder = places.events_db(model).parent
    folder.mkdir(parents=True)
    for name in ("files.json", "feedback.json"):
        known = live.events_db(model).parent / name
        if config.source.kind != "store" and known.exists():
            shutil.copyfile(known, folder / name)
    if live.events_db(model).exists():
        copy_untouched(live.events_db(model), places.events_db(model))
    if live.segments(model).exists():
        places.segments(model).symlink_to(live.segments(model).resolve())
    return places


def _frame_of(columns: Columns, outcomes: Outcomes, schema: Schema) -> pd.DataFrame:
    """Rows of a source as a frame."""
    found = {}
    for feature in schema.features:
        column = columns.values.get(feature.name)
        if column is None:
            continue
        types = {"types_mapper": lambda kind: pd.BooleanDtype() if str(kind) == "bool" else None}
        found[feature.name] = to_arrow(column, feature.kind).to_pandas(**types)
    frame = pd.DataFrame(found, index=pd.RangeIndex(outcomes.rows))
    spoken = _texts(outcomes) if schema.classes else np.asarray
    frame[schema.target] = spoken(outcomes.label)
    frame["at"] = outcomes.at
    frame["label_at"] = np.where(np.isneginf(outcomes.label_at), outcomes.at, outcomes.label_at)
    frame[SAID], frame[SCORE] = spoken(outcomes.prediction), outcomes.score
    return frame


def _texts(outcomes: Outcomes) -> Callable[[Numbers], np.ndarray[Any, Any]]:
    def spoken(values: Numbers) -> np.ndarray[Any, Any]:
        coded: Coded = outcomes.texts(values)
        return np.array([*coded.labels, None], dtype=object)[coded.codes]

    return spoken


def copy_version(live: Places, scratch: Places, model: str, version: int) -> None:
    """Put a copy of a version, and of the snapshot that it was made from, into a state folder where it serves."""
    manifest = Registry(live).readable(model, version)
    target = scratch.version(model, version)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(live.version(model, version), target)
    if manifest.snapshot and live.snapshot(model, manifest.snapshot).exists():
        shutil.copytree(live.snapshot(model, manifest.snapshot), scratch.snapshot(model, manifest.snapshot))
    Registry(scratch).point(model, version)

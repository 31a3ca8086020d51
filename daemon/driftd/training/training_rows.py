"""The rows of a snapshot as trainers take them: which are held out, which are trained on, and with what weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.registry.features import feature_frame
from driftd.training.snapshots import HELD_OUT
from driftd.training.stored_rows import StoredRows
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.schema import Schema, Task

HELD_VALUES = 5_000_000  # features of fewer values are in memory, those of more are read when they are asked for


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """The features of some rows of a file, under its schema, read when they are asked for."""

    rows: StoredRows
    schema: Schema
    places: NDArray[np.int64]  # ascending

    def take(self, which: slice | NDArray[Any]) -> StoredFeatures:
        """Those of some of the rows."""
        return StoredFeatures(self.rows, self.schema, self.places[which])

    def frames(self) -> Iterator[pd.DataFrame]:
        """The features, piece by piece."""
        names = [name for name in self.schema.names if name in self.rows.fields.names]
        for table in self.rows.pieces(self.places, names):
            yield feature_frame(table.to_pandas(), self.schema)

    def column(self, name: str) -> pd.Series[Any]:
        """One feature of all rows."""
        only = replace(self.schema, features=tuple(known for known in self.schema.features if known.name == name))
        frames = [frame[name] for frame in StoredFeatures(self.rows, only, self.places).frames()]
        return pd.concat(frames, ignore_index=True) if frames else pd.Series(dtype=np.float64)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Labelled rows, oldest first; every array has one entry a row. The features of many rows stay on the disk."""

    schema: Schema
    features: pd.DataFrame | StoredFeatures  # as `feature_frame` makes them
    target: NDArray[Any]  # class text (object) or float64
    at: Numbers
    label_at: Numbers  # when the label became known; NaN where nobody has said so
    version: NDArray[np.int64]  # that predicted the row when it was live; below 1 where nobody says

    def __len__(self) -> int:
        return len(self.at)

    def predicted_by(self, version: int) -> NDArray[np.bool_]:
        """Which rows a version predicted that serves alone: those that name it, and those that name none."""
        named: NDArray[np.bool_] = self.version == version
        return named | (self.version < 1)

    @property
    def frame(self) -> pd.DataFrame:
        """The features of all rows at once: see that there are not too many."""
        if isinstance(self.features, pd.DataFrame):
            return self.features
        return _joined_frames(self._frames(self.features), self.schema)

    def own_frame(self) -> pd.DataFrame:
        """A frame as `frame` gives it, that the caller may change."""
        return self.frame.copy() if isinstance(self.features, pd.DataFrame) else self.frame

    def _frames(self, features: StoredFeatures) -> Iterator[pd.DataFrame]:
        for frame in features.frames():
            yield frame if features.schema == self.schema else feature_frame(frame, self.schema)

    def column(self, name: str) -> pd.Series[Any]:
        """One feature of all rows."""
        if isinstance(self.features, pd.DataFrame) or self.features.schema != self.schema:
            return self.frame[name]
        return self.features.column(name)

    def pieces(self) -> Iterator[TrainingRows]:
        """The same rows, piece by piece, each with its features in memory."""
        if isinstance(self.features, pd.DataFrame):
            yield self
            return
        start = 0
        for frame in self._frames(self.features):
            part = slice(start, start + len(frame))
            yield replace(self.take(part), features=frame)
            start += len(frame)

    @property
    def label_delay_values(self) -> Numbers:
        """What `LabelDelay` groups rows by: codes of the schema's classes (-1: none of them), or the target itself."""
        if not self.schema.classes:
            return self.target.astype(np.float64)
        codes = {name: float(code) for code, name in enumerate(self.schema.classes)}
        return np.array([codes.get(str(name), -1.0) for name in self.target], dtype=np.float64)

    def take(self, which: slice | NDArray[Any]) -> TrainingRows:
        """Some of the rows, in their order."""
        if isinstance(self.features, pd.DataFrame):
            features: pd.DataFrame | StoredFeatures = self.features.iloc[which].reset_index(drop=True)
        else:
            features = self.features.take(which)
        return TrainingRows(
            self.schema, features, self.target[which], self.at[which], self.label_at[which], self.version[which]
        )

    def under(self, schema: Schema) -> TrainingRows:
        """The same rows as a version with another schema sees them: what it does not know is left out."""
        if isinstance(self.features, pd.DataFrame):
            return replace(self, schema=schema, features=feature_frame(self.features, schema))
        return replace(self, schema=schema)


def _joined_frames(frames: Iterator[pd.DataFrame], schema: Schema) -> pd.DataFrame:
    """Frames one after the other, with one column twice in memory at most."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in schema.names}
    for frame in frames:
        for name, parts in columns.items():
            parts.append(frame[name].to_numpy())
    if not any(columns.values()):
        return feature_frame({}, schema)
    whole = {}
    for name in schema.names:
        values = np.concatenate(columns.pop(name))
        whole[name] = pd.Series(
            values, dtype=values.dtype, copy=False
        )  # texts stay objects, as `feature_frame` has them
    return pd.DataFrame(whole, copy=False)


def join_rows(parts: Sequence[TrainingRows]) -> TrainingRows:
    """Rows under one schema and of one source, put together in the order given."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].features
    if isinstance(first, pd.DataFrame):
        features: pd.DataFrame | StoredFeatures = pd.concat([part.frame for part in parts], ignore_index=True)
    else:
        stored = [part.features for part in parts if isinstance(part.features, StoredFeatures)]
        features = replace(first, places=np.concatenate([part.places for part in stored]))
    return TrainingRows(
        parts[0].schema,
        features,
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.label_at for part in parts]),
        np.concatenate([part.version for part in parts]),
    )


def rows_of(rows: StoredRows, schema: Schema) -> TrainingRows:
    """The rows of a snapshot, or those that `labelled_rows` or `collected_rows` gave."""
    narrow = rows.read([schema.target, "driftd_at", "driftd_label_at", "driftd_version"])
    features: pd.DataFrame | StoredFeatures = StoredFeatures(rows, schema, np.arange(len(rows), dtype=np.int64))
    if len(rows) * len(schema.names) <= HELD_VALUES:
        names = [name for name in schema.names if name in rows.fields.names]
        features = feature_frame(rows.read(names).to_pandas(), schema) if names else feature_frame({}, schema)
    target = narrow[schema.target]
    if schema.task is Task.REGRESSION:
        values: NDArray[Any] = target.to_numpy().astype(np.float64)
    else:
        coded = target.combine_chunks().dictionary_encode()  # one object a class, not one a row
        names_of = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
        values = names_of[coded.indices.fill_null(-1).to_numpy()]
    return TrainingRows(
        schema,
        features,
        values,
        narrow["driftd_at"].to_numpy().astype(np.float64),
        narrow["driftd_label_at"].to_numpy().astype(np.float64),
        narrow["driftd_version"].fill_null(0).to_numpy().astype(np.int64),
    )


FEWEST_ROWS = 20
_FEWEST_SINCE = 30  # rows since the change, to train on them alone
_RECENT = 1 / 3  # of the rows: what counts as recent where no change is known


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """One way to use rows that are in time order: from `start` on, weighted or all alike."""

    name: str  # all | recent | since_change | weighted
    start: int = 0
    pivot: int | None = None  # `weighted`: rows from here on have half of the mass

    def weight(self, rows: int) -> Numbers | None:
        """The weights of the rows from `start` on, with mean 1; None where all weigh alike."""
        if self.pivot is None or not 0 < self.pivot < rows:
            return None
        old, new = self.pivot, rows - self.pivot
        return np.concatenate([np.full(old, rows / (2 * old)), np.full(new, rows / (2 * new))])


def holdout_start(at: Numbers, change_at: float | None, min_rows: int) -> int:
    """The position of the first hold-out row: the newest quarter of the rows, or of those since the change.

    At least `min_rows` are held out where that leaves as many to train on (half at most). After a change only rows
    since it are held out in part, because the model of the new world must be trained on the others. Rows of the same
    moment are not separated where that can be.
    """
    rows = len(at)
    since = rows if change_at is None else rows - int(np.searchsorted(at, change_at, side="left"))
    base = since if 0 < since < rows else rows
    held = max(int(HELD_OUT * base), min(min_rows, base // 2), 1)
    cut = rows - held
    together = int(np.searchsorted(at, at[cut], side="left"))
    return together if together >= max(1, rows - 2 * held) else cut


def portions(at: Numbers, change_at: float | None) -> list[TrainingWindow]:
    """The ways of training that evidence shall choose from; `all` comes first and wins ties."""
    rows = len(at)
    pivot = 0 if change_at is None else int(np.searchsorted(at, change_at, side="left"))
    name = "since_change"
    if not 0 < pivot < rows:
        pivot, name = int(np.searchsorted(at, at[int(rows * (1 - _RECENT))], side="left")), "recent"
    if not 0 < pivot < rows:
        return [TrainingWindow("all")]
    ways = [TrainingWindow("all"), TrainingWindow("weighted", 0, pivot)]
    return [*ways, TrainingWindow(name, pivot)] if rows - pivot >= _FEWEST_SINCE else ways


def fixed_portion(
    how: str, at: Numbers, change_at: float | None, *, rows: int | None = None, span: float | None = None
) -> TrainingWindow:
    """The portion that the config fixes: `all`, `recent` (the newest `rows`, or those of the newest `span` seconds),
    or `since_change` (all rows where no change is known).
    """  # noqa: D205 - one sentence, longer than a line
    count = len(at)
    start = 0
    if how == "since_change" and change_at is not None:
        start = int(np.searchsorted(at, change_at, side="left"))
    if how == "recent":
        if rows is not None:
            start = max(start, count - rows)
        if span is not None:
            start = max(start, int(np.searchsorted(at, at[-1] - span, side="left")))
        if rows is None and span is None:
            start = int(count * (1 - _RECENT))
    return TrainingWindow(how, min(start, max(0, count - FEWEST_ROWS)))


def validation_start(rows: int, ways: Sequence[TrainingWindow]) -> int:
    """Where the newest part begins on which the ways are compared: a quarter of the rows that the narrowest has."""
    since = min(rows - max(way.start, way.pivot or 0) for way in ways)
    return rows - max(int(HELD_OUT * since), min(50, since // 2), 1)


def choose(
    rows: int, ways: Sequence[TrainingWindow], loss_of: Callable[[TrainingWindow, int], float]
) -> tuple[TrainingWindow, dict[str, float | None]]:
    """The way with the smallest loss on the newest part, and every way's loss (None: it could not be trained).

    `loss_of(way, until)` trains that way on the rows before `until` and returns the mean loss on those from there
    on, NaN where that cannot be done.
    """
    if len(ways) == 1:
        return ways[0], {}
    until = validation_start(rows, ways)
    losses = {way.name: loss_of(way, until) for way in ways}
    best = min(ways, key=lambda way: losses[way.name] if np.isfinite(losses[way.name]) else np.inf)
    return best, {name: (loss if np.isfinite(loss) else None) for name, loss in losses.items()}


def learn_label_delay(rows: TrainingRows, until: float) -> LabelDelay:
    """How late the labels of some rows come, as they are known at `until`; unknown where nobody said when they came.

    Snapshots of earlier versions have the time of the prediction where a file gave no time of the label: where that is
    so of every row that no version of ours predicted, these rows teach nothing.
    """
    label_at, own = rows.label_at, rows.version == 0
    if not np.any(label_at[own] > rows.at[own]):
        label_at = np.where(own, np.nan, label_at)
    classes = len(rows.schema.classes)
    return LabelDelay.learn(rows.at, label_at, rows.label_delay_values, classes, until=_as_stored(until))


def label_weights(rows: TrainingRows, delay: LabelDelay, until: float) -> Numbers:
    """What each row counts at `until`, (rows,): 0 for those that are too young for their labels to be alike."""
    return delay.weights(rows.at, rows.label_delay_values, _as_stored(until))


def _as_stored(until: float) -> float:
    """A time as a manifest holds it, in microseconds: `reproduce` must find the very same weights."""
    return round(until, 6)

"""From rows to answers: one version predicts, and names what it does not know; the store gets its inputs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pandas as pd
from threadpoolctl import ThreadpoolController

from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion, PredictionError, Predictions
from driftd.serving.differences import MOST_NAMES, Differences, differences_of, merge_differences
from driftd.serving.event_log import ClosedWindows, is_dated
from driftd.store.events.validation import Batch, Receipt, Refusal, Window, event_text, read_events
from driftd_detectors.schema import Kind, Schema, Task


def new_ids(count: int) -> list[str]:
    """UUIDs of version 7 (RFC 9562): they begin with the time, so that the store's index grows at its end.

    Random ones would be written all over the index, and each commit would write as many pages as it has events.
    """
    begins = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | 0b10 << 62
    drawn = os.urandom(10 * count)
    texts = (f"{begins | _random_bits(drawn[at : at + 10]):032x}" for at in range(0, 10 * count, 10))
    return [f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}" for text in texts]


def _random_bits(drawn: bytes) -> int:
    """Twelve random bits before the variant and 62 behind it."""
    bits = int.from_bytes(drawn)
    return (bits >> 68) << 64 | bits & (1 << 62) - 1


MOST_PATTERNS = 200  # of missing features are tried in one batch
SMALL_ROWS = 20_000  # below it, waking OpenMP's threads for each tree costs more than they save

Value = str | float


@dataclass(frozen=True, slots=True)
class Answered:
    """What one version answered to some rows, in their order; `batch` is to be logged."""

    version: int
    ids: list[str]
    predictions: list[Value | None]  # None: refused and not predicted
    scores: list[float | None]
    batch: Batch
    refused: dict[int, Refusal]  # by the row's place
    differences: dict[int, Differences]  # of the rows that do not bring exactly the features of the model
    probabilities: list[dict[str, float] | None]  # of every class; None: refused, or the version gives none
    windows: Mapping[int, Window] = field(default_factory=dict)  # of the kept rows that brought their time, by place

    def repeated_rows(self, receipt: Receipt) -> frozenset[int]:
        """The places of the rows that a commit did not keep because their `prediction_id` has a row already."""
        kept = [place for place in range(len(self.ids)) if place not in self.refused]
        return frozenset(kept[row] for row in receipt.repeated)


def answer(
    version: LoadedVersion,
    requested: Sequence[object],
    now: float,
    *,
    refused_too: bool,
    probabilities: bool = False,
    oldest: float = 0.0,
    windows: ClosedWindows | None = None,
) -> Answered:
    """Predict events that have `features`, and perhaps `prediction_id` and `at`, as JSON has them.

    Each event is validated as the store does it. Those that it refuses are predicted only with `refused_too`, what
    cannot be read counting as missing; they are not part of what is kept. A row that the version cannot predict because
    a feature is missing is refused, too; with `refused_too` it raises PredictionError, as everything else does that
    keeps the version from predicting. `oldest` as in `read_events`.
    """
    schema = version.schema
    names = iter(new_ids(len(requested)))
    events = [_event(row, next(names), schema) for row in requested]
    batch, refusals = read_events(events, schema, now, oldest=oldest)
    refused = {refusal.index: refusal for refusal in refusals}
    rows = [place for place in range(len(events)) if refused_too or place not in refused]
    if len(rows) == len(batch.predictions):
        columns = dict(zip(schema.names, batch.columns, strict=True))
    else:
        given = [_features(events[place]) for place in rows]
        columns = {name: [features.get(name) for features in given] for name in schema.names}
    differences = differences_of(events, schema)
    try:
        found = _predict_columns(version, columns, len(rows))
    except PredictionError as error:
        frame = feature_frame(columns, schema)
        lacking = find_lacking(version, frame)
        if not lacking or refused_too:
            raise PredictionError(_explain(error, lacking, differences)) from error
        for row, features in lacking.items():
            refusal = _refuse_lacking(rows[row], events[rows[row]], features, error)
            refused[refusal.index] = refusal
        batch = _without_rows(batch, [refused[rows[row]] for row in lacking], list(lacking), events, rows)
        rows = [place for place in rows if place not in refused]
        found = _predict(version, frame.drop(index=list(lacking)).reset_index(drop=True))
    predictions: list[Value | None] = [None] * len(events)
    scores: list[float | None] = [None] * len(events)
    values: list[Value] = [*found.values()]
    for place, value, score in zip(rows, values, found.score.tolist(), strict=True):
        predictions[place] = value
        scores[place] = None if math.isnan(score) else score
    kept = [place for place in range(len(events)) if place not in refused]
    batch.predictions = [
        (row[0], row[1], version.version, _there(predictions[place]), scores[place])
        for row, place in zip(batch.predictions, kept, strict=True)
    ]
    return Answered(
        version=version.version,
        ids=[_id_of(event) for event in events],
        predictions=predictions,
        scores=scores,
        batch=batch,
        refused=refused,
        differences=differences,
        probabilities=_by_class(found, rows, len(events)) if probabilities else [],
        windows=_windows(events, kept, batch, windows) if windows is not None else {},
    )


def _windows(events: Sequence[object], kept: Sequence[int], batch: Batch, windows: ClosedWindows) -> dict[int, Window]:
    times = zip(kept, batch.predictions, strict=True)
    found = {place: windows.of(row[1]) for place, row in times if is_dated(events[place])}
    return {place: window for place, window in found.items() if window is not None}


def records_of(frame: pd.DataFrame, names: Iterable[str]) -> list[dict[str, object]]:
    """The rows of a frame as plain Python values, those columns alone that it has of `names`; missing is None."""
    columns = {name: _plain_values(frame[name]) for name in names if name in frame.columns}
    if not columns:
        return [{} for _ in range(len(frame))]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain_values(column: pd.Series[Any]) -> list[Any]:
    values = column.tolist()
    if not column.isna().any():
        return values
    return [None if missing else value for value, missing in zip(values, column.isna().tolist(), strict=True)]


def _by_class(found: Predictions, rows: Sequence[int], events: int) -> list[dict[str, float] | None]:
    """The probability of each class by its name, for each event."""
    by_class: list[dict[str, float] | None] = [None] * events
    if found.probability is not None:
        for place, shares in zip(rows, found.probability.tolist(), strict=True):
            by_class[place] = dict(zip(found.classes, shares, strict=True))
    return by_class


def _event(row: object, new_id: str, schema: Schema) -> object:
    """What the store would be given, with a stand-in for the prediction that is yet to be made."""
    if type(row) is not dict and not isinstance(row, Mapping):  # asking for the type alone is much quicker
        return row
    name = row.get("prediction_id")
    stand_in = schema.classes[0] if schema.task is Task.CLASSIFICATION else 0.0
    return {
        "prediction_id": new_id if name is None else name,
        "at": row.get("at"),
        "features": row.get("features"),
        "prediction": stand_in,
    }


def _predict_columns(version: LoadedVersion, columns: Mapping[str, list[Any]], rows: int) -> Predictions:
    """Without a frame where the version can, unless so many rows are worth OpenMP's threads."""
    found = version.predict_columns(columns) if 0 < rows < SMALL_ROWS else None
    return _predict(version, feature_frame(columns, version.schema)) if found is None else found


def _predict(version: LoadedVersion, frame: pd.DataFrame) -> Predictions:
    # The number of OpenMP's threads is each thread's own; that of BLAS is the whole process's, and so left alone.
    with _numerical_libraries().limit(limits=1 if len(frame) < SMALL_ROWS else None, user_api="openmp"):
        return version.predict(frame)


def find_lacking(version: LoadedVersion, frame: pd.DataFrame) -> dict[int, tuple[str, ...]]:
    """The rows that a version cannot predict because features are missing, with these features.

    Empty where that is not the cause: with something in each missing place the rows cannot be predicted either.
    """
    missing = frame.isna().to_numpy()
    if not missing.any() or not _can_predict(version, _fill(frame, version.schema)):
        return {}
    groups: dict[tuple[bool, ...], list[int]] = {}
    for row, places in enumerate(missing.tolist()):
        if any(places):
            groups.setdefault(tuple(places), []).append(row)
    lacking: dict[int, tuple[str, ...]] = {}
    for number, (pattern, rows) in enumerate(groups.items()):
        if number >= MOST_PATTERNS or not _can_predict(version, frame.iloc[rows[:1]].reset_index(drop=True)):
            names = tuple(name for name, is_missing in zip(frame.columns, pattern, strict=True) if is_missing)
            lacking |= dict.fromkeys(rows, names)
    return dict(sorted(lacking.items()))


def _can_predict(version: LoadedVersion, frame: pd.DataFrame) -> bool:
    try:
        _predict(version, frame)
    except PredictionError:
        return False
    return True


def _fill(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The rows with some value of its kind in each missing place."""
    texts = {feature.name: (*feature.categories, "")[0] for feature in schema.features if feature.kind is Kind.CATEGORY}
    return frame.fillna({name: texts.get(name, 0.0) for name in frame.columns})


def _explain(
    error: PredictionError, lacking: Mapping[int, tuple[str, ...]], differences: Mapping[int, Differences]
) -> str:
    names = tuple(dict.fromkeys(name for features in lacking.values() for name in features))
    if names:
        return f"the version cannot predict {_rows(lacking)} without {', '.join(names)}: {_first_line(error)}"
    absent = merge_differences(differences.values()).missing
    return f"{error} (the request lacks the features {', '.join(absent)})" if absent else str(error)


def _rows(places: Iterable[int]) -> str:
    listed = sorted(places)
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return f"row{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed[:MOST_NAMES]))}{more}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refuse_lacking(place: int, event: object, features: tuple[str, ...], error: PredictionError) -> Refusal:
    others = f", and so {'are' if len(features) > 2 else 'is'} {', '.join(features[1:])}" if features[1:] else ""  # noqa: PLR2004 - more than one other
    reason = f"is missing{others}: the version cannot predict without ({_first_line(error)})"
    return Refusal(place, _id_of(event), f"features.{features[0]}", reason)


def _without_rows(
    batch: Batch, refusals: Sequence[Refusal], places: Sequence[int], events: Sequence[object], rows: Sequence[int]
) -> Batch:
    """A batch without some of its predictions, by their place in it, which are refused."""
    gone = frozenset(places)

    def keep(values: list[Any]) -> list[Any]:
        return [value for place, value in enumerate(values) if place not in gone]

    texts = [event_text(events[rows[place]]) for place in places]
    return replace(
        batch,
        predictions=keep(batch.predictions),
        columns=[keep(column) for column in batch.columns],
        refused=[*batch.refused, *zip(refusals, texts, strict=True)],
    )


@cache
def _numerical_libraries() -> ThreadpoolController:
    """Found once, when scikit-learn is loaded: looking for them takes milliseconds."""
    return ThreadpoolController()


def _features(event: object) -> Mapping[str, object]:
    features = event.get("features") if isinstance(event, Mapping) else None
    return features if isinstance(features, Mapping) else {}


def _id_of(event: object) -> str:
    return str(event.get("prediction_id")) if isinstance(event, Mapping) else ""


def _there(value: Value | None) -> Value:
    assert value is not None
    return value

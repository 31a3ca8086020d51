"""Compares two versions on the same rows: losses in one set of classes, and guards on segments, latency and size."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.registry.loaded import LoadedVersion, Predictions, predict_with
from driftd.training.job_context import JobContext
from driftd.training.training_rows import TrainingRows
from driftd.training.user_functions import with_own_loss
from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.comparison.gate import judge
from driftd_detectors.performance.losses import automatic_metric, losses, metric_value, rarer_share, weighted_mean
from driftd_detectors.schema import MEAN_METRICS, Kind, Schema, Task, display_name, is_cost, is_own


def gate_metric(metric: str | None, task: Task, *, scored: bool, rarer: float = float("nan")) -> str:
    """The metric whose losses are compared row by row: the config's where it is a mean over rows, else a fitting one.

    AUC, F1, R2 and their like are no means over rows; the Brier score and the absolute error stand for them, log loss
    where the rarer of two classes has a share `rarer` below 5 %. Without scores (an estimator without probabilities)
    only the plain error can be compared, or what the user's own metric makes of the predictions.
    """
    if metric is not None and (is_cost(metric) or is_own(metric)):
        return metric
    chosen = metric if metric is not None and metric in MEAN_METRICS else automatic_metric(task, rarer)
    return "error" if task is Task.CLASSIFICATION and not scored else chosen


def outcomes_of(predictions: Predictions, rows: TrainingRows, classes: tuple[str, ...], version: int) -> Outcomes:
    """What a version says of some rows, with their labels, in the codes of the given classes.

    The classes may be more than the version knows; a score becomes what `Schema` says of it among these.
    """
    label_at = np.where(np.isnan(rows.label_at), -np.inf, rows.label_at)  # every row here has its label
    if not classes:
        return Outcomes(rows.at, predictions.prediction, predictions.score, rows.target, label_at, _all(version, rows))
    own = np.array([classes.index(name) for name in predictions.classes], dtype=np.float64)
    prediction = own[predictions.prediction.astype(np.intp)] if len(rows) else np.empty(0)
    score = score_among(predictions, len(classes))
    codes = {name: float(code) for code, name in enumerate(classes)}
    # A label that is no class of either version has the code -1.
    label = np.array([codes.get(str(label), -1.0) for label in rows.target], dtype=np.float64)
    return Outcomes(rows.at, prediction, score, label, label_at, _all(version, rows), classes)


class Comparable(Protocol):
    """Whatever can be compared on rows: a version, or a sibling, which has no number."""

    @property
    def version(self) -> int:
        """Its number; 0 for none."""
        ...

    @property
    def estimator(self) -> Any:
        """What predicts."""
        ...

    @property
    def schema(self) -> Schema:
        """What it was trained under."""
        ...


@dataclass(frozen=True, slots=True)
class ComparedVersion:
    """One version in a comparison: what it said of the rows, and the loss of each."""

    outcomes: Outcomes
    loss: Numbers


def compare(
    metric: str | None, rows: TrainingRows, sides: Sequence[tuple[Comparable, Predictions]]
) -> tuple[str, list[ComparedVersion]]:
    """The metric by which versions are compared row by row, and each version's side.

    The versions may have learned from different schemas: a class that one of them never saw is an error of it, not a
    gap in the comparison. A label that is a class of neither costs both the most.
    """
    classes = _common_classes([version for version, _ in sides], rows)
    outcomes = [outcomes_of(found, rows, classes, version.version) for version, found in sides]
    scored = all(bool(np.isfinite(side.score).all()) for side in outcomes)
    used = gate_metric(metric, rows.schema.task, scored=scored, rarer=rarer_class(rows))
    outcomes = [with_own_loss(used, side) for side in outcomes]
    return used, [ComparedVersion(side, losses(used, rows.schema.task, side)) for side in outcomes]


def _common_classes(versions: Iterable[Comparable], rows: TrainingRows) -> tuple[str, ...]:
    if rows.schema.task is Task.REGRESSION:
        return ()
    return tuple(dict.fromkeys(name for version in versions for name in version.schema.classes))


def predict_rows(version: Comparable, rows: TrainingRows) -> Predictions:
    """The predictions of a version for rows of any schema of the same model."""
    return predict_pieces(version.estimator, rows.under(version.schema))


def predict_pieces(estimator: Any, rows: TrainingRows) -> Predictions:
    """The predictions of an estimator for rows under its schema; of many rows, a piece at a time is in memory."""
    found = [predict_with(estimator, rows.schema, piece.frame) for piece in rows.pieces()]
    if len(found) == 1:
        return found[0]
    prediction = np.concatenate([np.empty(0), *(some.prediction for some in found)])
    return Predictions(prediction, np.concatenate([np.empty(0), *(some.score for some in found)]), rows.schema.classes)


def logged_predictions(table: pa.Table, schema: Schema, *, scored: bool = True) -> Predictions | None:
    """What was predicted when the rows were live; None unless every row has a prediction on record.

    With `scored`, as where another version has scores too, also None unless every row of a classification has one.
    """
    said, score = table["driftd_prediction"], table["driftd_score"]
    if said.null_count or (scored and schema.classes and score.null_count):
        return None
    if not schema.classes:
        return Predictions(said.to_numpy().astype(np.float64), np.full(len(said), np.nan))
    names = said.to_pylist()
    if not set(names) <= set(schema.classes):
        return None
    codes = np.array([schema.classes.index(name) for name in names], dtype=np.float64)
    return Predictions(codes, score.to_numpy().astype(np.float64), schema.classes)


def predicted_by_logged(table: pa.Table, schema: Schema, others: Collection[int]) -> NDArray[np.bool_]:
    """Which rows of a table were predicted elsewhere, by a version of which there is only its log.

    Whatever number its system gives it, it is none of `others`, the numbers of versions of ours.
    """
    version = table["driftd_version"].fill_null(0).to_numpy()
    said = table["driftd_prediction"]
    known = pc.is_in(said, value_set=pa.array(schema.classes, pa.string())) if schema.classes else pc.is_finite(said)
    return np.asarray(pc.fill_null(known, fill_value=False).to_numpy()) & ~np.isin(version, list(others))


def mean_loss(predictions: Predictions, rows: TrainingRows, metric: str | None) -> float:
    """The mean loss of predictions under the metric that the gate would use; NaN without rows."""
    if len(rows) == 0:
        return float("nan")
    return float(np.nanmean(row_losses(outcomes_of(predictions, rows, rows.schema.classes, 0), rows, metric)))


def row_losses(outcomes: Outcomes, rows: TrainingRows, metric: str | None) -> Numbers:
    """The loss of each row under the metric that the gate would use."""
    scored = bool(np.isfinite(outcomes.score).all())
    used = gate_metric(metric, rows.schema.task, scored=scored, rarer=rarer_class(rows))
    return losses(used, rows.schema.task, with_own_loss(used, outcomes))


def rarer_class(rows: TrainingRows) -> float:
    """The share of the rarer of two classes; NaN for other tasks."""
    return rarer_share(rows.target, rows.schema.classes)


def score_among(predictions: Predictions, classes: int) -> Numbers:
    """A binary version's score is of its second class; among more classes it must be of the predicted one."""
    if len(predictions.classes) == 2 and classes > 2:  # noqa: PLR2004 - binary means two
        return np.where(predictions.prediction == 1, predictions.score, 1 - predictions.score)
    return predictions.score


def _all(version: int, rows: TrainingRows) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.full(len(rows), version, dtype=np.int64)


SEGMENT_ROWS = 200
_LARGEST = 10  # categories of a column that are segments
_BINS = 5
_TIMED_ROWS = 1000
_SLOWER, _SLOW_SECONDS = 10.0, 0.5  # refused above both: ten times the champion, half a second for 1,000 rows
_LARGER, _LARGE_BYTES = 20.0, 512 << 20


@dataclass(frozen=True, slots=True)
class GateGuard:
    """One bound, whether it holds, and why in one sentence."""

    name: str
    holds: bool
    sentence: str

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {"name": self.name, "holds": self.holds, "sentence": self.sentence}


def segment_guards(
    rows: TrainingRows,
    weight: Numbers,
    lost: Sequence[Numbers],
    columns: Sequence[str],
    confidence: float,
    day: float,
) -> list[GateGuard]:
    """No segment of at least 200 rows significantly worse; the error probability is shared among the segments.

    `day` is the seconds within which rows share their luck.
    """
    segments = [segment for column in columns if column in rows.schema.names for segment in segments_of(rows, column)]
    guards = []
    for name, inside in segments:
        share = 1 - (1 - confidence) / len(segments)
        judged = judge(
            lost[0][inside], lost[1][inside], rows.at[inside], weight=weight[inside], confidence=share, day=day
        )
        guards.append(GateGuard(f"segment {name}", judged.decision != "reject", f"segment {name}: {judged.sentence}"))
    return guards


def cost_guards(
    challenger: LoadedVersion, champion: LoadedVersion, rows: TrainingRows, sizes: tuple[int, int]
) -> list[GateGuard]:
    """Latency and size within bounds of the champion's; `sizes` are the bytes of the two artefacts."""
    some = rows.take(slice(-_TIMED_ROWS, None))
    new, old = (_seconds(version, some) for version in (challenger, champion))
    sentence = f"{1000 * new:.0f} ms for {len(some)} rows, the champion {1000 * old:.0f} ms"
    size = f"{sizes[0] / 1e6:.1f} MB, the champion {sizes[1] / 1e6:.1f} MB"
    return [
        GateGuard("latency", new <= max(_SLOWER * old, _SLOW_SECONDS), f"the challenger takes {sentence}"),
        GateGuard("size", sizes[0] <= max(_LARGER * sizes[1], _LARGE_BYTES), f"the challenger's artefact has {size}"),
    ]


def artefact_bytes(folder: Path, version: LoadedVersion) -> int:
    """How large a version's artefact is on disk."""
    return (folder / version.manifest.artefact).stat().st_size


def _seconds(version: LoadedVersion, rows: TrainingRows) -> float:
    frame = rows.under(version.schema).frame
    times = []
    for _ in range(3):
        began = time.perf_counter()
        version.predict(frame)
        times.append(time.perf_counter() - began)
    return min(times)


def segments_of(rows: TrainingRows, column: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The segments of at least 200 rows that a column has: its largest categories, or fifths of its numbers."""
    values = rows.column(column)
    if rows.schema.kind_of(column) in {Kind.CATEGORY, Kind.BOOLEAN}:
        counts = values.value_counts()
        for value in counts.index[:_LARGEST]:
            if counts[value] >= SEGMENT_ROWS:
                yield f"{column} = {value}", (values == value).to_numpy()
        return
    codes, edges = pd.qcut(values, _BINS, labels=False, retbins=True, duplicates="drop")
    for code in range(len(edges) - 1):
        inside = (codes == code).to_numpy()
        if inside.sum() >= SEGMENT_ROWS:
            yield f"{column} {edges[code]:.4g} to {edges[code + 1]:.4g}", inside


def measure(order: JobContext, outcomes: Outcomes, loss: Numbers, weight: Numbers, used: str) -> dict[str, float]:
    """What a manifest says of a version's quality on some rows: the loss, their number, and what people ask for."""
    known = {"loss": weighted_mean(loss, weight), "rows": float(outcomes.rows)}
    if order.metric is not None:
        known[display_name(order.metric)] = metric_value(order.metric, outcomes, weight)
    elif used == "log_loss":  # chosen because positives are rare: what people ask for then is told beside it
        known["roc_auc"] = metric_value("roc_auc", outcomes, weight)
    if outcomes.classes:
        known["accuracy"] = metric_value("accuracy", outcomes, weight)
    return {name: value for name, value in known.items() if np.isfinite(value)}

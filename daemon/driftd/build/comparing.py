"""Two versions on the same rows: predictions under each one's own schema, losses in one common language of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from driftd.build.dataset import Rows
from driftd.registry.loaded import LoadedVersion, Predictions, predict_with
from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.losses import MEAN_METRICS, losses
from driftd_detectors.schema import Schema, Task

_FITTING = {Task.CLASSIFICATION: "brier", Task.REGRESSION: "mae"}


def gate_metric(metric: str | None, task: Task, *, scored: bool) -> str:
    """The metric whose losses are compared row by row: the config's where it is a mean over rows, else a fitting one.

    AUC, F1, R2 and their like are no means over rows; the Brier score and the absolute error stand for them.
    Without scores (an estimator without probabilities) only the plain error can be compared.
    """
    chosen = metric if metric is not None and metric in MEAN_METRICS else _FITTING[task]
    return "error" if task is Task.CLASSIFICATION and not scored else chosen


def outcomes_of(predictions: Predictions, rows: Rows, classes: tuple[str, ...], version: int) -> Outcomes:
    """What a version says of some rows, with their labels, in the codes of the given classes.

    The classes may be more than the version knows; a score becomes what `Schema` says of it among these.
    """
    if not classes:
        return Outcomes(
            rows.at, predictions.prediction, predictions.score, rows.target, rows.label_at, _all(version, rows)
        )
    own = np.array([classes.index(name) for name in predictions.classes], dtype=np.float64)
    prediction = own[predictions.prediction.astype(np.intp)] if len(rows) else np.empty(0)
    score = _score_among(predictions, len(classes))
    codes = {name: float(code) for code, name in enumerate(classes)}
    label = np.array([codes.get(str(one), -1.0) for one in rows.target], dtype=np.float64)
    return Outcomes(rows.at, prediction, score, label, rows.label_at, _all(version, rows), classes)


@dataclass(frozen=True, slots=True)
class Side:
    """One version in a comparison: what it said of the rows, and the loss of each."""

    outcomes: Outcomes
    loss: Numbers


def compare(
    metric: str | None, rows: Rows, sides: Sequence[tuple[LoadedVersion, Predictions]]
) -> tuple[str, list[Side]]:
    """The metric by which versions are compared row by row, and each version's side.

    The versions may have learned from different schemas: a class that one of them never saw is an error of it, not a
    gap in the comparison.
    """
    classes = _common_classes([version for version, _ in sides], rows)
    outcomes = [outcomes_of(found, rows, classes, version.version) for version, found in sides]
    scored = all(bool(np.isfinite(one.score).all()) for one in outcomes)
    used = gate_metric(metric, rows.schema.task, scored=scored)
    return used, [Side(one, losses(used, rows.schema.task, one)) for one in outcomes]


def _common_classes(versions: Iterable[LoadedVersion], rows: Rows) -> tuple[str, ...]:
    if rows.schema.task is Task.REGRESSION:
        return ()
    known = {name for version in versions for name in version.schema.classes}
    return tuple(sorted(known | {str(one) for one in set(rows.target)}))


def predicted(version: LoadedVersion, rows: Rows) -> Predictions:
    """The predictions of a version for rows of any schema of the same model."""
    return predict_with(version.estimator, version.schema, rows.under(version.schema).frame)


def logged_predictions(table: pa.Table, schema: Schema) -> Predictions | None:
    """What was predicted when the rows were live; None unless every row has a prediction (and its score) on record."""
    said, score = table["driftd_prediction"], table["driftd_score"]
    if said.null_count or (schema.classes and score.null_count):
        return None
    if not schema.classes:
        return Predictions(said.to_numpy().astype(np.float64), np.full(len(said), np.nan))
    names = said.to_pylist()
    if not set(names) <= set(schema.classes):
        return None
    codes = np.array([schema.classes.index(name) for name in names], dtype=np.float64)
    return Predictions(codes, score.to_numpy().astype(np.float64), schema.classes)


def mean_loss(predictions: Predictions, rows: Rows, metric: str | None) -> float:
    """The mean loss of predictions under the metric that the gate would use; NaN without rows."""
    if len(rows) == 0:
        return float("nan")
    return float(np.nanmean(row_losses(outcomes_of(predictions, rows, rows.schema.classes, 0), rows, metric)))


def row_losses(outcomes: Outcomes, rows: Rows, metric: str | None) -> Numbers:
    """The loss of each row under the metric that the gate would use."""
    scored = bool(np.isfinite(outcomes.score).all())
    return losses(gate_metric(metric, rows.schema.task, scored=scored), rows.schema.task, outcomes)


def _score_among(predictions: Predictions, classes: int) -> Numbers:
    """A binary version's score is of its second class; among more classes it must be of the predicted one."""
    if len(predictions.classes) == 2 and classes > 2:  # noqa: PLR2004 - binary means two
        return np.where(predictions.prediction == 1, predictions.score, 1 - predictions.score)
    return predictions.score


def _all(version: int, rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.full(len(rows), version, dtype=np.int64)

"""How good predictions were, as charts tell it: confusion, ROC, precision and recall, calibration, residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.performance.losses import BINARY, weighted_mean

MOST_POINTS = 101  # of a curve: more are not seen
MOST_CLASSES = 30  # of a confusion matrix
CALIBRATION_BINS = 10
RESIDUAL_BINS = 41
_TAIL = 0.005  # of the residuals on each side, which the first and the last bin hold


@dataclass(frozen=True, slots=True)
class Confusion:
    """Weighted counts by true class (rows) and predicted class (columns); the last of each is all other texts."""

    classes: tuple[str, ...]
    counts: list[list[float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve of thresholds, from the highest to the lowest score."""

    x: list[float]
    y: list[float]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows of like scores: what they promised, and what share of them was of the second class."""

    score: float
    share: float
    weight: float


@dataclass(frozen=True, slots=True)
class Residuals:
    """Label minus prediction: weights by bin, and the mean by tenths of the prediction."""

    edges: list[float]
    weights: list[float]
    mean: float
    sd: float
    by_prediction: list[tuple[float, float]]  # the mean prediction and the mean residual of each tenth


@dataclass(frozen=True, slots=True)
class QualityCharts:
    """What can be drawn of labelled rows; None where their task has no such chart."""

    confusion: Confusion | None = None
    roc: Curve | None = None
    precision_recall: Curve | None = None
    calibration: list[CalibrationBin] | None = None
    residuals: Residuals | None = None


def quality_charts(outcomes: Outcomes, weights: Numbers) -> QualityCharts:
    """The charts of labelled rows, each counted by its weight, (rows,); rows of weight 0 are no part of them."""
    known = outcomes.labelled & (weights > 0)
    label, prediction, score = outcomes.label[known], outcomes.prediction[known], outcomes.score[known]
    weight = weights[known]
    if len(label) == 0:
        return QualityCharts()
    if not outcomes.classes:
        return QualityCharts(residuals=_residuals(label - prediction, prediction, weight))
    confusion = _confusion(label, prediction, weight, outcomes.classes)
    scored = np.isfinite(score) & (label >= 0)
    if len(outcomes.classes) != BINARY or not scored.any():
        return QualityCharts(confusion=confusion)
    positive, score, weight = label[scored] == 1, score[scored], weight[scored]
    roc, precision_recall = _curves(positive.astype(np.float64), score, weight)
    bins = _calibration(positive.astype(np.float64), score, weight)
    return QualityCharts(confusion, roc, precision_recall, bins)


def _confusion(label: Numbers, prediction: Numbers, weight: Numbers, classes: tuple[str, ...]) -> Confusion:
    """The largest classes by themselves; a text outside them, or a class beyond the most, is another."""
    kept = min(len(classes), MOST_CLASSES)
    true, said = (np.where((codes >= 0) & (codes < kept), codes, kept).astype(np.intp) for codes in (label, prediction))
    table = np.zeros((kept + 1, kept + 1))
    np.add.at(table, (true, said), weight)
    return Confusion((*classes[:kept], "other"), [[float(value) for value in row] for row in table])


def _curves(positive: Numbers, score: Numbers, weight: Numbers) -> tuple[Curve | None, Curve | None]:
    """ROC (x: false positive rate) and precision over recall; None where one of the classes does not occur."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # rows of one score pass together
    hits = np.cumsum((positive * weight)[order])[ends]
    false = np.cumsum(((1 - positive) * weight)[order])[ends]
    if hits[-1] <= 0 or false[-1] <= 0:
        return None, None
    kept = _thin(len(ends))
    recall, fallout = hits / hits[-1], false / false[-1]
    precision = hits / np.maximum(hits + false, 1e-300)
    roc = Curve([0.0, *fallout[kept].tolist()], [0.0, *recall[kept].tolist()])
    return roc, Curve(recall[kept].tolist(), precision[kept].tolist())


def _thin(points: int) -> Numbers:
    """Places of at most `MOST_POINTS` points, the first and the last among them."""
    return np.unique(np.linspace(0, points - 1, min(points, MOST_POINTS)).round().astype(np.intp))


def _calibration(positive: Numbers, score: Numbers, weight: Numbers) -> list[CalibrationBin]:
    """Bins of as many rows as each other, by the score."""
    bins = []
    for rows in np.array_split(np.argsort(score, kind="stable"), CALIBRATION_BINS):
        if len(rows) and (total := float(weight[rows].sum())) > 0:
            share = weighted_mean(positive[rows], weight[rows])
            bins.append(CalibrationBin(weighted_mean(score[rows], weight[rows]), share, total))
    return bins


def _residuals(off: Numbers, prediction: Numbers, weight: Numbers) -> Residuals | None:
    usable = np.isfinite(off)
    off, prediction, weight = off[usable], prediction[usable], weight[usable]
    if len(off) == 0:
        return None
    low, high = np.quantile(off, [_TAIL, 1 - _TAIL])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, RESIDUAL_BINS + 1)
    counts, _ = np.histogram(np.clip(off, low, high), bins=edges, weights=weight)
    mean = weighted_mean(off, weight)
    tenths = [rows for rows in np.array_split(np.argsort(prediction, kind="stable"), CALIBRATION_BINS) if len(rows)]
    by = [(weighted_mean(prediction[rows], weight[rows]), weighted_mean(off[rows], weight[rows])) for rows in tenths]
    sd = float(np.sqrt(weighted_mean((off - mean) ** 2, weight)))
    return Residuals(edges.tolist(), counts.tolist(), mean, sd, by)

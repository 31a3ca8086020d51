"""Losses of rows and metrics of windows. A *loss* is better when lower; a metric keeps its usual direction."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.metrics import (
    CLASSIFICATION_MEANS,
    HIGHER_IS_BETTER,
    MEAN_METRICS,
    METRICS,
    REGRESSION_MEANS,
    class_costs,
    is_cost,
    is_mean,
    is_own,
    unit_costs,
)
from driftd_detectors.schema import Task

BINARY = 2
RARE = 0.05  # share of the rarer of two classes below which Brier and error hardly tell a useless model from a good one
_SMALLEST_PROBABILITY = 1e-7


def rarer_share(labels: NDArray[Any], classes: Collection[Any]) -> float:
    """The share of the rarer of two classes; NaN for more classes, for numbers, or without labels."""
    if len(classes) != BINARY or len(labels) == 0:
        return float("nan")
    first = next(iter(classes))
    share = float(np.mean(labels == first))
    return min(share, 1 - share)


def automatic_metric(task: Task, rarer: float) -> str:
    """What is watched and gated unless the config says otherwise: the absolute error of numbers, Brier of classes.

    Log loss where the rarer of two classes is below 5 % (`rarer_share`; NaN: unknown). At 1 % the Brier score of a
    model that has become noise rises by 12 to 19 %, and a gate on 3,000 rows finds the better of two models in 22 % of
    the cases by Brier, in 85 % by log loss.
    """
    if task is Task.REGRESSION:
        return "mae"
    return "log_loss" if rarer < RARE else "brier"


def losses(metric: str, task: Task, outcomes: Outcomes) -> Numbers:
    """The loss of each row, (rows,): NaN where the label is not there, or the score that the metric needs.

    `accuracy` has the loss of `error`, `rmse` that of `mse`. A label outside the version's classes (a code below 0
    with a label time) is an error, and the worst of its kind. With more than two classes the score tells the
    probability of the predicted class alone; the rest counts as spread evenly over the others. The losses of a user's
    function are those that the outcomes bring along. Raises ValueError for a metric that is no mean over rows, or of
    the other task.
    """
    if is_cost(metric):
        return np.where(outcomes.labelled, _costs(metric, outcomes), np.nan)
    if is_own(metric):
        if outcomes.own_loss is None:
            raise DetectorError(f"nobody has computed the losses of {metric}")
        return np.where(outcomes.labelled, outcomes.own_loss, np.nan)
    if metric not in (CLASSIFICATION_MEANS if task is Task.CLASSIFICATION else REGRESSION_MEANS):
        raise DetectorError(
            f"{metric!r} has no loss per row for {task}; those that have: {', '.join(sorted(MEAN_METRICS))}"
        )
    raw = _classification(metric, outcomes) if task is Task.CLASSIFICATION else _regression(metric, outcomes)
    return np.where(outcomes.labelled, raw, np.nan)


def metric_value(metric: str, outcomes: Outcomes, weights: Numbers | None = None) -> float:
    """The metric of the labelled rows, each counted by its weight; NaN when it is not defined for them.

    Not defined: no label, no score where one is needed, one class alone for `roc_auc`, more than two classes for it.
    """
    task = Task.CLASSIFICATION if outcomes.classes else Task.REGRESSION
    if metric not in METRICS[task] and not is_mean(metric):
        raise DetectorError(f"no metric {metric!r} for {task}; choose one of {', '.join(METRICS[task])}")
    known = outcomes.labelled
    weight = (np.ones(outcomes.rows) if weights is None else weights)[known]
    if is_mean(metric):
        return value_of(metric, weighted_mean(losses(metric, task, outcomes)[known], weight))
    label, prediction, score = outcomes.label[known], outcomes.prediction[known], outcomes.score[known]
    if metric == "roc_auc":
        return _roc_auc(label, score, weight) if len(outcomes.classes) == BINARY else float("nan")
    if metric == "r2":
        return _r2(label, prediction, weight)
    return _by_class(metric, label, prediction, weight, len(outcomes.classes))


def value_of(metric: str, loss: float) -> float:
    """The metric that belongs to a loss (a mean over rows, or the metric turned round)."""
    if metric == "rmse":
        return float(np.sqrt(loss))
    return 1 - loss if metric in HIGHER_IS_BETTER else loss


def loss_of(metric: str, value: float) -> float:
    """The loss that belongs to a metric: lower is better, and `value_of` turns it back."""
    if metric == "rmse":
        return value**2
    return 1 - value if metric in HIGHER_IS_BETTER else value


def weighted_mean(values: Numbers, weights: Numbers) -> float:
    """The mean of what is known; NaN when nothing is."""
    known = np.isfinite(values) & np.isfinite(weights)
    total = float(weights[known].sum())
    return float(values[known] @ weights[known]) / total if total > 0 else float("nan")


def _classification(metric: str, outcomes: Outcomes) -> Numbers:
    wrong = ((outcomes.prediction != outcomes.label) | (outcomes.label < 0)).astype(np.float64)
    if metric in {"error", "accuracy"}:
        return np.asarray(wrong)
    classes, unknown = len(outcomes.classes), outcomes.label < 0
    if classes == BINARY:
        chance = np.where(outcomes.label == 1, outcomes.score, 1 - outcomes.score)
        brier = (1 - chance) ** 2
    else:
        rest = (1 - outcomes.score) / max(1, classes - 1)
        chance = np.where(wrong > 0, rest, outcomes.score)
        squares = outcomes.score**2 + (classes - 1) * rest**2
        brier = (squares - 2 * chance + 1) / 2  # half of sum (p - y)^2, so that two classes give the usual score
    scored = np.isfinite(outcomes.score)
    chance, brier = np.where(unknown & scored, 0.0, chance), np.where(unknown & scored, 1.0, brier)
    loss = brier if metric == "brier" else -np.log(np.clip(chance, _SMALLEST_PROBABILITY, 1.0))
    return np.asarray(loss)


def _costs(metric: str, outcomes: Outcomes) -> Numbers:
    """Of classes: 0 for what is right; a wrong pair that has no cost, and a label of no class, cost the most."""
    if not outcomes.classes:
        over, under = unit_costs(metric)
        off = outcomes.prediction - outcomes.label
        return np.asarray(np.where(off > 0, over * off, -under * off))
    costs = class_costs(metric)
    classes, most = outcomes.classes, max(cost for row in costs.values() for cost in row.values())
    table = np.full((len(classes) + 1, len(classes) + 1), most)
    for place, label in enumerate(classes):
        table[place, place] = 0.0
        for other, prediction in enumerate(classes):
            table[place, other] = costs.get(label, {}).get(prediction, table[place, other])
    codes = (np.where(values < 0, -1, np.nan_to_num(values)) for values in (outcomes.label, outcomes.prediction))
    label_code, prediction_code = (values.astype(np.intp) for values in codes)
    return np.asarray(table[label_code, prediction_code])


def _regression(metric: str, outcomes: Outcomes) -> Numbers:
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(outcomes.prediction - outcomes.label)
        raw = off if metric == "mae" else off**2
    return np.where(np.isfinite(raw), raw, np.nan)


def _roc_auc(label: Numbers, score: Numbers, weight: Numbers) -> float:
    """P(score of a positive > score of a negative), ties counted half (Mann and Whitney 1947), weighted."""
    known = np.isfinite(score) & (label >= 0)
    label, score, weight = label[known], score[known], weight[known]
    _, place = np.unique(score, return_inverse=True)
    positive = np.bincount(place, weights=weight * (label == 1))
    negative = np.bincount(place, weights=weight * (label == 0))
    pairs = float(positive.sum() * negative.sum())
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below) / pairs if pairs > 0 else float("nan")


def _r2(label: Numbers, prediction: Numbers, weight: Numbers) -> float:
    known = np.isfinite(label) & np.isfinite(prediction)
    label, prediction, weight = label[known], prediction[known], weight[known]
    around = label - weighted_mean(label, weight)
    total = float(weight @ around**2)
    return 1 - float(weight @ (label - prediction) ** 2) / total if total > 0 else float("nan")


def _by_class(metric: str, label: Numbers, prediction: Numbers, weight: Numbers, classes: int) -> float:
    """Of the second class for two classes, else the mean over the classes that occur."""
    if len(label) == 0:
        return float("nan")
    every = np.arange(classes)
    hit = np.array([weight[(label == code) & (prediction == code)].sum() for code in every])
    said = np.array([weight[prediction == code].sum() for code in every])
    true = np.array([weight[label == code].sum() for code in every])
    rate: dict[str, Callable[[], NDArray[np.float64]]] = {
        "f1": lambda: _share(2 * hit, said + true),
        "precision": lambda: _share(hit, said),
        "recall": lambda: _share(hit, true),
        "balanced_accuracy": lambda: _share(hit, true),
    }
    rates = rate[metric]()
    if classes == BINARY and metric != "balanced_accuracy":
        return float(rates[1])
    return float(np.nanmean(rates)) if np.isfinite(rates).any() else float("nan")


def _share(part: Numbers, whole: Numbers) -> Numbers:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))

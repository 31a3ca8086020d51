"""The names of metrics, and what follows from a name alone. Free of NumPy, so that a config is read without it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from driftd_detectors.schema import Task

CLASSIFICATION_MEANS = frozenset({"error", "accuracy", "brier", "log_loss"})
REGRESSION_MEANS = frozenset({"mae", "mse", "rmse"})
MEAN_METRICS = CLASSIFICATION_MEANS | REGRESSION_MEANS  # those that follow from a mean of per-row losses
BOUNDED = frozenset({"error", "accuracy", "brier"})  # losses in [0, 1]
HIGHER_IS_BETTER = frozenset({"accuracy", "roc_auc", "f1", "precision", "recall", "balanced_accuracy", "r2"})
METRICS = {
    Task.CLASSIFICATION: tuple(
        sorted({*CLASSIFICATION_MEANS, "balanced_accuracy", "f1", "precision", "recall", "roc_auc"})
    ),
    Task.REGRESSION: tuple(sorted({*REGRESSION_MEANS, "r2"})),
}
_COST = "cost"  # begins the name of a metric that says what wrong predictions cost


def cost_metric(costs: Mapping[str, float | Mapping[str, float]]) -> str:
    """The name of the metric with these costs: the name holds them, so other costs are another metric.

    Of classes: what a prediction costs, by label and then by prediction. Of numbers: what a unit `over` and a unit
    `under` the label costs.
    """
    return _COST + json.dumps(costs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def is_cost(metric: str) -> bool:
    """Whether a metric is one of `cost_metric`."""
    return metric.startswith(_COST + "{")


def class_costs(metric: str) -> dict[str, dict[str, float]]:
    """The costs of classes that the name of a metric holds, by label and then by prediction."""
    return {label: dict(row) for label, row in json.loads(metric.removeprefix(_COST)).items()}


def unit_costs(metric: str) -> tuple[float, float]:
    """What a unit over and a unit under the label costs by the name of a metric."""
    costs = json.loads(metric.removeprefix(_COST))
    return float(costs["over"]), float(costs["under"])


def is_own(metric: str) -> bool:
    """Whether a metric is a function of the user, `package.module:function`, whose losses `Outcomes.own_loss` holds."""
    return ":" in metric and not is_cost(metric)


def is_mean(metric: str) -> bool:
    """Whether a metric follows from a mean of losses of rows."""
    return metric in MEAN_METRICS or is_cost(metric) or is_own(metric)


def display_name(metric: str) -> str:
    """What people know a metric by."""
    return _COST if is_cost(metric) else metric

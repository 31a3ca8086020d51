"""The loss of each replayed row, in the unit that the config watches and gates by, for every way of keeping a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from driftd.config.model_schema import ModelConfig
from driftd.rehearsal.curves import Numbers
from driftd.training.compare import gate_metric
from driftd.training.user_functions import with_own_loss
from driftd_detectors.columns import Outcomes
from driftd_detectors.performance.losses import losses, rarer_share
from driftd_detectors.schema import Schema, Task

Answers = Sequence[Any] | np.ndarray[Any, Any]
Loss = Callable[[Answers, Answers, pd.Series], Numbers]  # of predictions and scores, beside the truth


def row_errors(predicted: Any, truth: pd.Series) -> Numbers:
    """The absolute error of each row; for classes 1 where the predicted one is wrong and 0 where it is right."""
    if truth.dtype == np.float64:
        return np.asarray(np.abs(np.asarray(predicted, dtype=np.float64) - truth.to_numpy()))
    return np.asarray(np.asarray(predicted, dtype=str) != truth.to_numpy().astype(str), dtype=np.float64)


def plain_loss(predicted: Answers, _scores: Answers, truth: pd.Series) -> Numbers:
    """`row_errors`, whatever the scores are."""
    return row_errors(predicted, truth)


@dataclass(frozen=True, slots=True)
class MetricLoss:
    """The loss of a metric, as the gate computes it. `classes` are those of the first version, in its order."""

    metric: str
    classes: tuple[str, ...] = ()

    def __call__(self, predicted: Answers, scores: Answers, truth: pd.Series) -> Numbers:
        """The loss of each row; NaN where the label, or the score that it needs, is not there."""
        label_at = np.where(truth.isna(), np.nan, 0.0)
        score = np.array([np.nan if value is None else value for value in scores], dtype=np.float64)
        prediction, label = self._codes(predicted, np.nan), self._codes(truth.to_numpy(), -1.0)
        version = np.zeros(len(truth), dtype=np.int64)
        outcomes = Outcomes(np.zeros(len(truth)), prediction, score, label, label_at, version, self.classes)
        task = Task.CLASSIFICATION if self.classes else Task.REGRESSION
        return losses(self.metric, task, with_own_loss(self.metric, outcomes))

    def _codes(self, values: Any, absent: float) -> Numbers:
        if not self.classes:
            return np.asarray(values, dtype=np.float64)
        codes = {name: float(code) for code, name in enumerate(self.classes)}
        return np.array([codes.get(str(value), absent) for value in values], dtype=np.float64)


def loss_of(config: ModelConfig, schema: Schema, truth: pd.Series, *, scored: bool) -> MetricLoss:
    """The loss by which all ways are compared: that of the config's metric, as the gate has it.

    Where labels are of more classes than the first version knows, whose scores say nothing of these, the plain error.
    """
    if schema.task is Task.REGRESSION:
        return MetricLoss(gate_metric(_metric_name(config), schema.task, scored=scored))
    known = truth.dropna().astype(str)
    classes = (*schema.classes, *sorted(set(known) - set(schema.classes)))
    rarer = rarer_share(known.to_numpy(), classes)
    metric = gate_metric(_metric_name(config), schema.task, scored=scored, rarer=rarer)
    return MetricLoss(metric if len(classes) == len(schema.classes) else "error", classes)


def _metric_name(config: ModelConfig) -> str | None:
    name = config.detect.performance.metric_name
    return None if name == "auto" else name

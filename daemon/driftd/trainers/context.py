"""What a trainer is told besides the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftd_detectors.columns import Numbers


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """The second argument of a trainer `train(data, context)`.

    `data` holds the features and the target, oldest row first. Numbers, timestamps (epoch seconds) and booleans
    (0, 1) are float64 with NaN for missing; categories are strings with NaN for missing; the target is class text or
    float64. The estimator must answer `predict` (and `predict_proba`) for frames with exactly the columns `features`.
    """

    task: str  # classification or regression
    target: str
    features: tuple[str, ...]
    categorical: tuple[str, ...]  # of the features, those that hold text
    classes: tuple[str, ...]  # in the schema's order; empty for regression
    seed: int
    at: Numbers  # event time of each row, epoch seconds, rising
    metric: str | None = None  # what the config watches
    weight: Numbers | None = None  # of each row; None: all alike
    parameters: Mapping[str, Any] = field(default_factory=dict)  # from the config

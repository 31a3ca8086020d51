"""Training a model of the demonstration with driftd's own trainer, for the rival that it is compared with."""

from __future__ import annotations

from typing import Any

import pandas as pd

from driftd.demonstration.stream import FEATURES, TARGET
from driftd.registry.features import feature_frame
from driftd.trainers import TrainingContext, gradient_boosting
from driftd_detectors.schema import Feature, Kind, Schema, Task

CATEGORIES = ("carrier", "origin", "dest")

SCHEMA = Schema(
    Task.REGRESSION,
    TARGET,
    tuple(Feature(name, Kind.CATEGORY if name in CATEGORIES else Kind.NUMBER) for name in FEATURES),
)


def train(rows: pd.DataFrame, seed: int, trees: int) -> Any:
    """An estimator of so many trees, fitted by driftd's default trainer to rows of the stream, oldest first."""
    context = TrainingContext(
        task=str(SCHEMA.task),
        target=TARGET,
        features=SCHEMA.names,
        categorical=CATEGORIES,
        classes=(),
        seed=seed,
        at=rows["at"].to_numpy(),
        parameters={"max_iter": trees},
    )
    data = feature_frame(rows, SCHEMA).assign(**{TARGET: rows[TARGET].to_numpy()})
    return gradient_boosting(data, context)

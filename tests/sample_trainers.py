"""A trainer that counts the rows that it gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from driftd.trainers.context import TrainingContext


class Counter:
    """An estimator that knows how many rows made it."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def predict(self, frame: pd.DataFrame) -> Any:
        """Zero for every row."""
        return np.zeros(len(frame))


def counts(data: pd.DataFrame, context: TrainingContext) -> Counter:
    """Count the rows; their times must be as many."""
    assert len(context.at) == len(data)
    return Counter(len(data))

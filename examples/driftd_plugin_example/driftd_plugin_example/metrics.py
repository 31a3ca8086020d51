"""A metric: what it costs to promise a time and to be late, or early."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LATE, EARLY = 3.0, 1.0  # a unit late costs three times what one early does


def late_cost(label: ArrayLike, prediction: ArrayLike, score: ArrayLike) -> NDArray[np.float64]:
    """The cost of each row: `label` is how long it took, `prediction` what was promised."""
    del score  # a promise has none
    over = np.asarray(label, dtype=np.float64) - np.asarray(prediction, dtype=np.float64)
    return np.asarray(np.where(over > 0, LATE * over, -EARLY * over))

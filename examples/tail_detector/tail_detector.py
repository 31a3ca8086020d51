"""A detector for driftd: how many values lie in the far tails of the reference, over all columns of numbers."""

from __future__ import annotations

import pandas as pd


def tail_share(current: pd.DataFrame, reference: pd.DataFrame, tail: float = 0.01) -> float:
    """The largest share of a column's values beyond the reference's `tail` quantiles, over what it would be.

    1 is as usual, larger is farther; 0 where there is no column of numbers.
    """
    numbers = reference.select_dtypes("number").columns
    shares = [0.0]
    for name in numbers:
        low, high = reference[name].quantile(tail), reference[name].quantile(1 - tail)
        values = current[name].dropna()
        if len(values):
            shares.append(float(((values < low) | (values > high)).mean()) / (2 * tail))
    return max(shares)

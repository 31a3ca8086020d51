"""A detector: values go missing together, as when one of several feeds is away."""

from __future__ import annotations

import pandas as pd


def missing_share(current: pd.DataFrame, reference: pd.DataFrame) -> float:
    """How much larger the share of rows with any missing value is than in the reference; never below zero."""
    gaps = [float(frame.isna().any(axis=1).mean()) if len(frame) else 0.0 for frame in (current, reference)]
    return max(0.0, gaps[0] - gaps[1])

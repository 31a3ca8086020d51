"""The population stability index, as people know it, with what chance alone gives it taken away."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.scores.comparison import Comparison


def psi(comparison: Comparison) -> Numbers:
    """The population stability index of every column, with its expectation without drift removed.

    Parameters
    ----------
    comparison
        Window and reference on one layout.

    Returns
    -------
    Numbers
        Shape (columns,); about 0 without drift whatever the number of rows, NaN in columns without rows or with one
        bin only.

    Notes
    -----
    PSI = sum (p - q) log(p / q) over bins pooled until each expects five rows, each count with 1/2 added. Without
    drift its expectation is about (B - 1) (1/n + 1/m), which is subtracted: 20 bins and 100 rows alone give .19, so
    that the customary limits of .1 and .25 say nothing about small windows, and too little about large ones.

    Examples
    --------
    >>> shares = smoothed(np.array([30.0, 70.0]), np.array([0, 0]), np.array([2.0]))
    >>> shares.round(3).tolist()
    [0.302, 0.698]

    References
    ----------
    Siddiqi, *Credit Risk Scorecards*, Wiley, 2006.
    Yurdakul, *Statistical properties of population stability index*, Western Michigan University, 2018.
    """
    window, reference = pooled_shares(comparison)
    groups = comparison.pooling.groups
    terms = groups.sums((window - reference) * np.log(window / reference))
    return without_chance(terms, 1.0, comparison)


def pooled_shares(comparison: Comparison) -> tuple[Numbers, Numbers]:
    """The smoothed shares of window and reference in the pooled bins."""
    pooling = comparison.pooling
    owner, count = pooling.groups.owner, pooling.count.astype(np.float64)
    return (
        smooth(pooling.pooled(comparison.window), owner, count),
        smooth(pooling.pooled(comparison.reference), owner, count),
    )


def smooth(counts: Numbers, owner: np.typing.NDArray[np.intp], bins: Numbers) -> Numbers:
    """Shares with 1/2 added to each count (Jeffreys' prior), so that none is zero."""
    total = np.bincount(owner, weights=counts, minlength=len(bins)) + bins / 2
    return (counts + 0.5) / total[owner]


def without_chance(values: Numbers, factor: float, comparison: Comparison) -> Numbers:
    """Subtract `factor` (bins - 1) (1/n + 1/m), what a divergence has without drift; NaN where nothing can be said."""
    window, reference = comparison.rows
    bins = comparison.pooling.count
    usable = (window > 0) & (reference > 0) & (bins > 1)
    chance = factor * (bins - 1) * (1 / np.maximum(window, 1) + 1 / np.maximum(reference, 1))
    return np.where(usable, values - chance, np.nan)

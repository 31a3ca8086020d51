"""The Jensen-Shannon divergence, with what chance alone gives it taken away."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.scores.comparison import Comparison
from driftd_detectors.scores.psi import pooled_shares, without_chance


def jensen_shannon(comparison: Comparison) -> Numbers:
    """The Jensen-Shannon divergence of every column, with its expectation without drift removed.

    Parameters
    ----------
    comparison
        Window and reference on one layout.

    Returns
    -------
    Numbers
        Shape (columns,), in nats (0 to log 2; the distance of SciPy and Evidently is its square root); about 0
        without drift, NaN in columns without rows or with one bin only.

    Notes
    -----
    JS = (KL(p, mid) + KL(q, mid)) / 2 with mid = (p + q) / 2, over the pooled, smoothed bins of `psi`. To second
    order it is an eighth of sum (p - q)^2 / q, so its expectation without drift is (B - 1) (1/n + 1/m) / 8.

    Examples
    --------
    >>> round(float(divergence(np.array([0.5, 0.5]), np.array([0.9, 0.1])).sum()), 3)
    0.102

    References
    ----------
    Lin, *Divergence measures based on the Shannon entropy*, IEEE Transactions on Information Theory, 1991.
    """
    window, reference = pooled_shares(comparison)
    terms = comparison.pooling.groups.sums(divergence(window, reference))
    return without_chance(terms, 1 / 8, comparison)


def divergence(window: Numbers, reference: Numbers) -> Numbers:
    """The contribution of each bin, in nats."""
    middle = (window + reference) / 2
    return np.asarray((window * np.log(window / middle) + reference * np.log(reference / middle)) / 2, dtype=np.float64)

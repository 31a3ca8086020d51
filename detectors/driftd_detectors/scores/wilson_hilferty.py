"""Chi-square made normal."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers


def wilson_hilferty(statistic: Numbers, freedom: Numbers) -> Numbers:
    """A chi-square statistic as a standard normal deviate.

    Parameters
    ----------
    statistic, freedom
        Arrays of one shape: the statistics and their degrees of freedom.

    Returns
    -------
    Numbers
        z of the same shape, NaN where there is no degree of freedom.

    Notes
    -----
    z = ((X2 / nu)^(1/3) - (1 - 2 / (9 nu))) / sqrt(2 / (9 nu)).

    Examples
    --------
    >>> float(wilson_hilferty(np.array([17.0]), np.array([17.0]))[0].round(2))
    0.11

    References
    ----------
    Wilson, Hilferty, *The distribution of chi-square*, Proceedings of the National Academy of Sciences, 1931.
    """
    enough = freedom >= 1
    nu = np.where(enough, freedom, 1.0)
    part = 2.0 / (9.0 * nu)
    z = (np.cbrt(np.maximum(statistic, 0.0) / nu) - (1.0 - part)) / np.sqrt(part)
    return np.where(enough, z, np.nan)

"""The global score: small changes in many features at once."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.scores.wilson_hilferty import wilson_hilferty


def global_score(location: Numbers, spread: Numbers, sampling_sd: Numbers) -> float:
    """One number for the location and spread of all features together.

    Parameters
    ----------
    location, spread, sampling_sd
        Of the features, as `location_spread` gives them; NaN where there is nothing to say.

    Returns
    -------
    float
        z, about standard normal without drift when features are independent (the evidence learns how much wider it
        is when they are not); NaN when no feature has a score.

    Notes
    -----
    The sum over features of (L1^2 + L2^2) / sd^2 has as many degrees of freedom as it has terms; it is made normal by
    Wilson and Hilferty. Ten features that each move by an amount no single stream can see move this one.

    Examples
    --------
    >>> round(global_score(np.full(50, 0.08), np.full(50, 0.0), np.full(50, 0.05)), 1)
    1.9

    References
    ----------
    Fisher, *Statistical Methods for Research Workers*, 1925 (sums of independent chi-squares).
    """
    with np.errstate(invalid="ignore"):
        terms = np.concatenate([location / sampling_sd, spread / sampling_sd])
    terms = terms[np.isfinite(terms)]
    return float(wilson_hilferty(np.array([terms @ terms]), np.array([float(len(terms))]))[0])

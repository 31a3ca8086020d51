"""The joint score: pairs of features that no longer move together as they did."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from driftd_detectors.columns import Numbers
from driftd_detectors.joint import Joint
from driftd_detectors.scores.comparison import Comparison
from driftd_detectors.scores.wilson_hilferty import wilson_hilferty

FEWEST_ROWS = 30
_LARGEST = 0.999
_FURTHEST = 8.0  # beyond, the normal tail says no more


def correlation_scores(comparison: Comparison, counted: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The largest change of a pair's correlation, and the changes of all pairs together.

    Parameters
    ----------
    comparison
        Window and reference on one layout.
    counted
        Which of the watched features count, (features,); all unless given.

    Returns
    -------
    largest, together
        About standard normal without drift; NaN when there is no pair or fewer than 30 rows.

    Notes
    -----
    Values are replaced by normal scores of their bins, so r is the correlation of normal scores (van der Waerden).
    For each of K pairs d = (atanh r_window - atanh r_reference) / sqrt(1 / (n - 3) + 1 / (m - 3)). The largest |d|
    is made normal by the distribution of the largest of K: P = (2 Phi(|d|) - 1)^K; the sum of d^2 by Wilson and
    Hilferty with K degrees of freedom. Pairs are dependent, so both are calibrated by the evidence, not exact.

    Examples
    --------
    >>> changes = np.array([0.1, -4.0, 0.3])
    >>> round(largest_of(changes), 2)
    3.55

    References
    ----------
    Fisher, *On the "probable error" of a coefficient of correlation*, Metron, 1921.
    Sidak, *Rectangular confidence regions for the means of multivariate normal distributions*, JASA, 1967.
    """
    changes = pair_changes(comparison)
    if counted is not None:
        left, right = np.triu_indices(len(counted), 1)
        changes = changes[counted[left] & counted[right]]
    changes = changes[np.isfinite(changes)]
    if len(changes) == 0:
        return math.nan, math.nan
    together = wilson_hilferty(np.array([changes @ changes]), np.array([float(len(changes))]))
    return largest_of(changes), float(together[0])


def pair_changes(comparison: Comparison) -> Numbers:
    """The standardised change of each pair's correlation, in the order of `numpy.triu_indices`; NaN below 30 rows."""
    window, reference = comparison.window_joint, comparison.reference_joint
    pairs = np.triu_indices(len(window.sums), 1)
    if min(window.rows, reference.rows) < FEWEST_ROWS:
        return np.full(len(pairs[0]), np.nan)
    change = np.arctanh(correlations(window)[pairs]) - np.arctanh(correlations(reference)[pairs])
    return np.asarray(change / math.sqrt(1 / (window.rows - 3) + 1 / (reference.rows - 3)), dtype=np.float64)


def correlations(joint: Joint) -> NDArray[np.float64]:
    """The correlation matrix of the normal scores, within +-.999; NaN for a feature that does not vary."""
    mean = joint.sums / joint.rows
    covariance = joint.products / joint.rows - np.outer(mean, mean)
    variance = np.diag(covariance)
    sd = np.sqrt(np.where(variance > 1e-9, variance, np.nan))  # noqa: PLR2004 - rounding leaves this much of zero
    clipped: Numbers = np.clip(covariance / np.outer(sd, sd), -_LARGEST, _LARGEST)
    return clipped


def largest_of(changes: Numbers) -> float:
    """The largest absolute value of standard normals, as a standard normal deviate itself."""
    furthest = min(float(np.abs(changes).max()), _FURTHEST)
    exceeding = -math.expm1(len(changes) * math.log1p(-2 * float(ndtr(-furthest)))) if furthest > 0 else 1.0
    return float(-ndtri(min(max(exceeding, 1e-300), 1 - 1e-16)))

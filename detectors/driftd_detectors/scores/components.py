"""The scores of one column in one window: shares, location and spread, correlation, all features together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from driftd_detectors.columns import Numbers
from driftd_detectors.profile.profile import Joint
from driftd_detectors.scores.comparison import Bins, Comparison, odd_bins


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


def chi_square_rest(comparison: Comparison) -> Numbers:
    """The change of shape in ordered columns, and the whole change in columns without an order.

    Parameters
    ----------
    comparison
        Window and reference on one layout.

    Returns
    -------
    Numbers
        z of shape (columns,), about standard normal without drift and larger the more the shares differ; NaN where
        too few bins are left after pooling.

    Notes
    -----
    Bins are pooled until each expects five rows; missing is one of them. With r the shares of both samples together
    and n_e = 1 / (1/n + 1/m), X2 = n_e (sum (p - q)^2 / r - L1^2 - L2^2), where L1 and L2 are the location and
    spread scores of the pooled bins, orthonormal under r; they are 0 in nominal columns. X2 has
    nu = bins - 1 - (components taken out) degrees of freedom, and is made normal by Wilson and Hilferty. Dividing by
    r, not by q, keeps the level when the window is as large as the reference.

    Examples
    --------
    >>> import numpy as np
    >>> from driftd_detectors.scores.components import wilson_hilferty
    >>> float(wilson_hilferty(np.array([40.0]), np.array([19.0]))[0].round(1))
    2.7

    References
    ----------
    Pearson, *On the criterion that a given system of deviations ...*, Philosophical Magazine, 1900.
    Cochran, *Some methods for strengthening the common chi-square tests*, Biometrics, 1954.
    """
    pooling, groups = comparison.pooling, comparison.pooling.groups
    window, reference = pooling.pool(comparison.window), pooling.pool(comparison.reference)
    window_rows, reference_rows = comparison.rows
    both = window + reference
    with np.errstate(invalid="ignore", divide="ignore"):
        change = window / window_rows[groups.owner] - reference / reference_rows[groups.owner]
        share = both / (window_rows + reference_rows)[groups.owner]
        effective = 1.0 / (1.0 / window_rows + 1.0 / reference_rows)
        total = groups.sums(np.where(share > 0, change**2 / share, 0.0))
        location, spread = bin_scores(both, groups)
        ranked = groups.sums(np.where(groups.ranked, share, 0.0))
        taken = (groups.sums(change * location) ** 2 + groups.sums(change * spread) ** 2) / np.where(
            ranked > 0, ranked, 1
        )
    used = (groups.sums(location**2) > 0).astype(np.float64) + (groups.sums(spread**2) > 0)
    return wilson_hilferty(effective * (total - taken), pooling.count - 1.0 - used)


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


_TINY = 1e-9


def location_spread(comparison: Comparison) -> tuple[Numbers, Numbers, Numbers]:
    """How far the window's values lie from the reference's, and how much wider, in every ordered column.

    Parameters
    ----------
    comparison
        Window and reference on one layout.

    Returns
    -------
    location, spread, sampling_sd
        Arrays of shape (columns,). The first two are in standard deviations of the reference's ranks, and their
        common standard deviation without drift is the third. NaN where a column has no order or no rows; spread is
        NaN in columns of two values, where location is the standardised change of the proportion.

    Notes
    -----
    With reference shares q and window shares p of the bins that have a rank (missing has none),
    a_b is the centred, scaled mid-rank of bin b, and spread scores b_b = a_b^2 - 1 made orthogonal to 1 and a under
    q and scaled. L1 = sum (p - q) a and L2 = sum (p - q) b; without drift both have mean 0 and variance
    1/n + 1/m. They are the smooth-test components of Neyman (1937) on ranks: a shift of .25 standard deviations
    is found at n = 300 with power .95 and more, where a chi-square of 20 bins has .70.

    Examples
    --------
    >>> bins = Bins(np.array([0]), np.zeros(4, dtype=int), np.ones(4, dtype=bool))
    >>> location, spread = bin_scores(np.array([25.0, 25.0, 25.0, 25.0]), bins)
    >>> location.round(2).tolist(), spread.round(2).tolist()
    ([-1.34, -0.45, 0.45, 1.34], [1.0, -1.0, -1.0, 1.0])

    References
    ----------
    Neyman, *Smooth test for goodness of fit*, Scandinavian Actuarial Journal, 1937.
    Rayner, Thas, Best, *Smooth Tests of Goodness of Fit*, 2nd edition, Wiley, 2009.
    """
    bins = comparison.bins
    location, spread = bin_scores(comparison.whole, bins)
    window_rows, reference_rows = comparison.ranked_rows
    with np.errstate(invalid="ignore", divide="ignore"):
        change = comparison.window / window_rows[bins.owner] - comparison.reference / reference_rows[bins.owner]
        sampling_sd = np.sqrt(1.0 / window_rows + 1.0 / reference_rows)
        first, second = bins.sums(change * location), bins.sums(change * spread)
    ordered = bins.sums(location**2) > 0
    wide = bins.sums(spread**2) > 0
    return np.where(ordered, first, np.nan), np.where(wide, second, np.nan), np.where(ordered, sampling_sd, np.nan)


def bin_scores(counts: Numbers, bins: Bins) -> tuple[Numbers, Numbers]:
    """Location and spread scores of every bin, orthonormal under the shares of the ranked bins; 0 elsewhere."""
    weights = np.where(bins.ranked, counts, 0.0)
    total = bins.sums(weights)
    share = weights / np.maximum(total, _TINY)[bins.owner]
    below = np.cumsum(share) - share
    below -= below[bins.starts][bins.owner] if len(bins.starts) else 0.0
    centred = np.where(bins.ranked, below + share / 2 - 0.5, 0.0)
    location = _scale(centred, share, bins)
    skew = bins.sums(share * location**3)[bins.owner]
    square = np.where(bins.ranked & (location != 0).any(), location**2 - 1.0 - skew * location, 0.0)
    return location, _scale(np.where(bins.sums(location**2)[bins.owner] > 0, square, 0.0), share, bins)


def _scale(values: Numbers, share: Numbers, bins: Bins) -> Numbers:
    """Divide by the root mean square of each column; 0 where that is 0, as with a single level."""
    size = np.sqrt(bins.sums(share * values**2))
    usable = size > 1e-6  # noqa: PLR2004 - rounding leaves this much of what is zero
    return np.where(usable, 1.0 / np.where(usable, size, 1.0), 0.0)[bins.owner] * values


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


_CONTINUITY, _ROWS_MORE = 3 / 8, 3 / 4  # Anscombe's


def missing_change(comparison: Comparison) -> tuple[Numbers, Numbers]:
    """How far the share of missing values of every column moved.

    Parameters
    ----------
    comparison
        Window and reference on one layout.

    Returns
    -------
    change, sampling_sd
        Arrays of shape (columns,): 2 asin sqrt(share) of the window less that of the reference, and its standard
        deviation without drift, sqrt(1/n + 1/m). Rows that came without the column count as missing.

    Notes
    -----
    2 asin sqrt((k + 3/8) / (n + 3/4)) has a variance of about 1/n whatever the share (Anscombe 1948), also where hardly
    any row is hit. Of the reference its expected count n q is taken, so that rows of windows do not move the level.

    Examples
    --------
    >>> x = share_change(np.array([25.0]), np.array([500.0]), np.array([0.0]))
    >>> float(x[0].round(2)), float(share_of(x, np.array([500.0]), np.array([0.0]))[0].round(3))
    (0.4, 0.05)

    References
    ----------
    Anscombe, *The transformation of Poisson, binomial and negative-binomial data*, Biometrika, 1948.
    """
    odd, (window_rows, reference_rows) = odd_bins(comparison.layout), comparison.delivered
    rows = [np.maximum(comparison.rows[0], window_rows), np.maximum(comparison.rows[1], reference_rows)]
    present = [
        whole - counts[odd.missing]
        for whole, counts in zip(comparison.rows, (comparison.window, comparison.reference), strict=True)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = 1.0 - present[1] / rows[1]
        sampling_sd = np.sqrt(1.0 / rows[0] + 1.0 / rows[1])
        return share_change(rows[0] - present[0], rows[0], usual), sampling_sd


def outside_change(comparison: Comparison, *, leave_out: bool = False) -> tuple[Numbers, Numbers]:
    """How far the share of values that the reference never held moved, in every column.

    Parameters
    ----------
    comparison
        Window and reference on one layout.
    leave_out
        The window is part of the reference. What of it the rest never held is not known, so it is as expected: 0.

    Returns
    -------
    change, sampling_sd
        As of `missing_change`, of present values; NaN where there is none.

    Notes
    -----
    Never held are new labels, numbers outside the range or in a gap of the reference, infinite ones (see `odd_bins`).

    Examples
    --------
    >>> share_change(np.array([0.0]), np.array([500.0]), np.array([0.0])).tolist()
    [0.0]

    References
    ----------
    Good, *The population frequencies of species and the estimation of population parameters*, Biometrika, 1953.
    """
    odd, bins = odd_bins(comparison.layout), comparison.bins
    rows = comparison.rows[0] - comparison.window[odd.missing]
    reference_rows = comparison.rows[1] - comparison.reference[odd.missing]
    with np.errstate(invalid="ignore", divide="ignore"):
        sampling_sd = np.sqrt(1.0 / rows + 1.0 / reference_rows)
        hits = bins.sums(comparison.window * odd.outside)
        change = np.zeros(len(hits)) if leave_out else share_change(hits, rows, odd.usual)
    return np.where((rows > 0) & (reference_rows > 0), change, np.nan), sampling_sd


def share_change(hits: Numbers, rows: Numbers, usual: Numbers) -> Numbers:
    """2 asin sqrt of the share of `hits` in `rows`, less that of the share `usual`; arrays of one shape."""
    seen, expected = (
        2 * np.arcsin(np.sqrt(np.clip((count + _CONTINUITY) / (rows + _ROWS_MORE), 0.0, 1.0)))
        for count in (hits, usual * rows)
    )
    return np.asarray(seen - expected)


def share_of(change: Numbers, rows: Numbers, usual: Numbers) -> Numbers:
    """The share that a change of `share_change` stands for; arrays of one shape."""
    expected = 2 * np.arcsin(np.sqrt(np.clip((usual * rows + _CONTINUITY) / (rows + _ROWS_MORE), 0.0, 1.0)))
    seen = np.sin(np.clip(expected + change, 0.0, np.pi) / 2) ** 2
    return np.asarray(np.clip((seen * (rows + _ROWS_MORE) - _CONTINUITY) / np.maximum(rows, 1.0), 0.0, 1.0))

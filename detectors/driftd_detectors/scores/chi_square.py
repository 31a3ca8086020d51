"""The chi-square rest: every change of a column's shares that is neither location nor spread."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.scores.comparison import Comparison
from driftd_detectors.scores.location_spread import bin_scores
from driftd_detectors.scores.wilson_hilferty import wilson_hilferty


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
    >>> from driftd_detectors.scores.wilson_hilferty import wilson_hilferty
    >>> float(wilson_hilferty(np.array([40.0]), np.array([19.0]))[0].round(1))
    2.7

    References
    ----------
    Pearson, *On the criterion that a given system of deviations ...*, Philosophical Magazine, 1900.
    Cochran, *Some methods for strengthening the common chi-square tests*, Biometrics, 1954.
    """
    pooling, groups = comparison.pooling, comparison.pooling.groups
    window, reference = pooling.pooled(comparison.window), pooling.pooled(comparison.reference)
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

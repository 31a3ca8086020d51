"""A column that got stuck."""

from __future__ import annotations

import math

import numpy as np

from driftd_detectors.faults.suspicion import FEWEST_ROWS, MOST_EVIDENCE, ColumnWindow, QualitySettings, Suspicion

_USUAL = 0.5  # a value with a larger share of the reference is the normal state
_SMALLEST = 1e-3  # persistence is not believed to be less


def constant(one: ColumnWindow, settings: QualitySettings) -> Suspicion | None:
    """A column that used to vary has one value in every row.

    Parameters
    ----------
    one, settings
        The column in the window and in the reference; what is tolerated.

    Notes
    -----
    With s the share of neighbouring reference rows that hold the same value, n rows in time order all hold one
    value with a probability of about s^(n - 1) in a chain of that persistence (Feller, 1950). So a month or a
    weekday, which stay for long, may be constant in a window, and a sensor may not. The evidence is 1 / that
    probability, with n divided by the over-dispersion. A value that most reference rows hold, such as no rain, is no
    fault, however long it stays, and columns of two values are left to the proportion score.

    Examples
    --------
    >>> round(0.5 ** -((100 - 1) / 3.0))
    8589934592

    References
    ----------
    Feller, *An Introduction to Probability Theory and Its Applications*, volume 1, chapter XIII, 1950.
    """
    levels = int(np.count_nonzero(one.reference[:-1]))
    if levels < 3 or one.present < FEWEST_ROWS or not _stuck(one):  # noqa: PLR2004 - more than two values
        return None
    if one.reference[int(np.argmax(one.counts[:-1]))] > _USUAL * one.reference[:-1].sum():
        return None
    value = f"{one.low:g}" if one.column.numeric else one.column.labels[int(np.argmax(one.counts[:-3]))]
    rows = (one.present - 1) / settings.overdispersion
    evidence = math.exp(min(math.log(MOST_EVIDENCE), -rows * math.log(max(one.column.stay, _SMALLEST))))
    return Suspicion(1.0, evidence, f"holds the one value {value} in all {one.present} rows")


def _stuck(one: ColumnWindow) -> bool:
    if one.column.numeric:
        return one.low == one.high and one.finite == one.present
    return int(np.count_nonzero(one.counts[:-3])) == 1 and int(one.counts[-3:-1].sum()) == 0

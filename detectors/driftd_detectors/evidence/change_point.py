"""When a change began: the split of the last windows that a likelihood ratio likes best (STATISTICS 9)."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Numbers

MOST_WINDOWS = 200


def change_point(residuals: Numbers, *, latest: int = 0) -> int:
    """The position of the first window after the most likely change of level.

    Parameters
    ----------
    residuals
        Windows by streams, in time order: values minus their seasonal prediction, NaN where there is none. Only the
        last 200 windows count. The streams are those that alarm.
    latest
        How many of the last windows are surely after the change (those that were already suspected); the change is
        not looked for among them, save for the first.

    Returns
    -------
    int
        A position in `residuals`; 0 when there are fewer than two windows.

    Notes
    -----
    With both means unknown the generalised log likelihood ratio of a split into k windows before and n after is
    k n / (k + n) (mean after - mean before)^2 / (2 sigma^2), summed over streams (Siegmund and Venkatraman 1995).
    sigma^2 of a stream is taken from the differences of neighbouring windows (von Neumann 1941), which a single
    change of level hardly touches.

    Examples
    --------
    >>> change_point(np.array([[0.1], [-0.1], [0.0], [0.1], [1.1], [0.9], [1.0]]))
    4
    """
    offset = max(0, len(residuals) - MOST_WINDOWS)
    recent = residuals[offset:]
    windows = len(recent)
    if windows < 2 or recent.shape[1] == 0:  # noqa: PLR2004 - a split needs two
        return max(0, len(residuals) - 1)
    known = np.isfinite(recent)
    values = np.where(known, recent, 0.0)
    before_count = np.cumsum(known, axis=0)[:-1]
    before_sum = np.cumsum(values, axis=0)[:-1]
    after_count = known.sum(axis=0) - before_count
    after_sum = values.sum(axis=0) - before_sum
    usable = (before_count > 0) & (after_count > 0)
    gap = after_sum / np.maximum(after_count, 1) - before_sum / np.maximum(before_count, 1)
    weight = before_count * after_count / np.maximum(before_count + after_count, 1)
    ratio = np.where(usable, weight * gap**2, 0.0) / _noise(recent)
    total = ratio.sum(axis=1)
    last = max(1, windows - max(1, latest) + 1)
    return offset + int(np.argmax(total[:last])) + 1 if total[:last].size else offset


def _noise(values: Numbers) -> Numbers:
    steps = np.diff(values, axis=0)
    known = np.isfinite(steps)
    squares = np.where(known, steps, 0.0) ** 2
    return np.asarray(np.maximum(squares.sum(axis=0) / np.maximum(known.sum(axis=0), 1) / 2, 1e-12))

"""Counting the values of one column into its bins, in a few passes over rows that are still in the cache.

A chunk of numbers is sorted (NumPy sorts float64 with vector instructions) and the few edges are searched in it,
which is several times faster than searching every value among the edges. NaN sorts last and the infinities lie at the
ends, so they land in their own bins without masks, and the finite values are one slice, from which the moments come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.column_layout import ColumnLayout
from driftd_detectors.columns import Coded, Numbers
from driftd_detectors.moments import NO_MOMENTS, ColumnMoments, merge_moments, moments_of

Counts = NDArray[np.int64]
CHUNK = 32_768  # rows; 256 KiB of numbers stay in the second-level cache


def count_numbers(values: Numbers, column: ColumnLayout) -> tuple[Counts, ColumnMoments]:
    """Counts of the bins (-inf, far below, below, intervals, above, far above, +inf, missing) and the moments."""
    edges = column.all_edges
    counts = np.zeros(column.bins, dtype=np.int64)
    moments = NO_MOMENTS
    for first in range(0, len(values), CHUNK):
        ordered = np.sort(values[first : first + CHUNK])
        below = np.searchsorted(ordered, edges, side="left")
        counts += np.diff(below, prepend=0, append=len(ordered))
        moments = merge_moments(moments, moments_of(ordered[below[0] : below[-2]]))
    return counts, moments


def count_labels(values: Coded, column: ColumnLayout) -> Counts:
    """Counts of the bins (each label, other, new, missing); one Python step a *distinct* label only."""
    seen = np.bincount(values.codes + np.int32(1), minlength=len(values.labels) + 1)
    counts = np.zeros(column.bins, dtype=np.int64)
    counts[-1] = seen[0]
    new = column.bins - 2
    places = column.places
    used = np.flatnonzero(seen[1:])
    bins = [places.get(values.labels[code], new) for code in used]
    np.add.at(counts, np.array(bins, dtype=np.intp), seen[1:][used])
    return counts


def bins_of(values: Numbers | Coded, column: ColumnLayout) -> NDArray[np.intp]:
    """The bin of every row, for sums over rows by bin."""
    if isinstance(values, Coded):
        new = column.bins - 2
        table = np.array([*(column.places.get(label, new) for label in values.labels), column.bins - 1], dtype=np.intp)
        return table[values.codes]
    return np.searchsorted(column.all_edges, values, side="right")

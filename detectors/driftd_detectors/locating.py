"""The bin of every row, by a look-up in a uniform grid: one pass instead of a search among the edges.

The range of the edges is cut into equal cells; a cell knows the bin in which it starts, and the few values whose cell
holds an edge are moved up one bin at a time. Columns with so long a tail that many edges share a cell are searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.column_layout import ColumnLayout
from driftd_detectors.columns import Coded, Column, Numbers
from driftd_detectors.counting import bins_of

_CELLS = 4096
_MOST_STEPS = 5  # more than this, and a binary search is as fast


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Cell i holds the numbers with floor((x - low) * scale) = i, cut off at both ends."""

    low: float
    scale: float
    bins: NDArray[np.int32]  # the lowest bin that a value of the cell can have
    edges: Numbers
    steps: int


def locate(values: Column, column: ColumnLayout, first: int, last: int) -> NDArray[np.integer]:
    """The bins of the rows `first` to `last` of a column."""
    if isinstance(values, Coded):
        return bins_of(Coded(values.codes[first:last], values.labels), column)
    rows = values[first:last]
    grid = _grid(column)
    if grid is None:
        return bins_of(rows, column)
    with np.errstate(over="ignore", invalid="ignore"):
        cells = np.clip((rows - grid.low) * grid.scale, 0, _CELLS - 1).astype(np.int32)
        bins = grid.bins.take(cells, mode="clip")
        for _ in range(grid.steps):
            bins += rows >= grid.edges.take(bins)
    missing = np.isnan(rows)
    if missing.any():
        bins[missing] = column.bins - 1
    return bins


@lru_cache(maxsize=4096)
def _grid(column: ColumnLayout) -> _Grid | None:
    """The grid over the reference's range, or None where it would not pay."""
    edges = column.all_edges[:-1]  # NaN is put right afterwards
    if len(column.edges) < 2 or not column.edges[-1] - column.edges[0] < 1e300:  # noqa: PLR2004
        return None
    low, high = column.edges[0], column.edges[-1]
    scale = (_CELLS - 2) / (high - low)
    if not np.isfinite(scale):
        return None
    low -= 1 / scale
    # The cell of an edge is found by the very arithmetic that rows go through, so rounding cannot part them: it is
    # monotone, so a value in a later cell than an edge is above it, and one in an earlier cell is below it.
    with np.errstate(over="ignore"):
        cell_of_edge = np.clip((edges - low) * scale, 0, _CELLS - 1).astype(np.int32)
    within = np.bincount(cell_of_edge, minlength=_CELLS)
    steps = int(within.max())
    if steps > _MOST_STEPS:
        return None
    before = np.cumsum(within) - within
    return _Grid(low, scale, before.astype(np.int32), column.all_edges, steps)

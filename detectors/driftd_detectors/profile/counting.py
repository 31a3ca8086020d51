"""Counts the values of a column into its bins, and its moments: in a few passes over cached rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Column, Numbers
from driftd_detectors.profile.column_layout import ColumnLayout

_BIGGEST = 1e150  # values beyond are taken as this, so that no square overflows


class ColumnMoments(NamedTuple):
    """The moments of the finite values of one column."""

    finite: int  # how many
    mean: float
    squares: float  # sum of squared deviations from the mean
    low: float
    high: float


NO_MOMENTS = ColumnMoments(0, 0.0, 0.0, math.inf, -math.inf)


def moments_of(ordered: Numbers) -> ColumnMoments:
    """The moments of sorted, finite values."""
    if len(ordered) == 0:
        return NO_MOMENTS
    low, high = float(ordered[0]) + 0.0, float(ordered[-1]) + 0.0  # one zero, whatever came first
    if low == high:
        return ColumnMoments(len(ordered), min(max(low, -_BIGGEST), _BIGGEST), 0.0, low, high)
    if low < -_BIGGEST or high > _BIGGEST:
        ordered = np.clip(ordered, -_BIGGEST, _BIGGEST)
    mean = float(ordered.mean())
    centred = ordered - mean
    squares = float(np.einsum("i,i", centred, centred))  # not `@`: BLAS would wake its threads for every column
    return ColumnMoments(len(ordered), mean, squares, low, high)


def merge_moments(first: ColumnMoments, second: ColumnMoments) -> ColumnMoments:
    """The moments of both together."""
    if first.finite == 0:
        return second
    if second.finite == 0:
        return first
    count = first.finite + second.finite
    step = second.mean - first.mean
    return ColumnMoments(
        count,
        (first.finite * first.mean + second.finite * second.mean) / count,
        first.squares + second.squares + step * step * (first.finite * second.finite / count),
        min(first.low, second.low),
        max(first.high, second.high),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """The moments of all columns; arrays of shape (columns,)."""

    finite: NDArray[np.int64]  # how many
    mean: Numbers
    squares: Numbers
    low: Numbers
    high: Numbers

    @classmethod
    def of(cls, columns: list[ColumnMoments]) -> Moments:
        """Put the moments of single columns together."""
        table = np.array([tuple(column) for column in columns], dtype=np.float64).reshape(-1, 5).T
        return cls(table[0].astype(np.int64), table[1], table[2], table[3], table[4])

    def merge(self, other: Moments) -> Moments:
        """The moments of both, column by column."""
        count = self.finite + other.finite
        whole = np.maximum(count, 1)
        step = other.mean - self.mean
        weight = self.finite / whole * other.finite
        mean = (self.finite * self.mean + other.finite * other.mean) / whole
        mean = np.where(self.finite == 0, other.mean, np.where(other.finite == 0, self.mean, mean))
        return Moments(
            count,
            mean,
            self.squares + other.squares + step * step * weight,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def sd(self) -> Numbers:
        """The standard deviation of each column; NaN below second values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.finite > 1, np.sqrt(self.squares / (self.finite - 1.0)), np.nan)


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

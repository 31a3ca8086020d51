"""Count, mean, sum of squares, lowest and highest of a column: stable to compute, and mergeable.

Merging is Chan, Golub, LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances*, 1979.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers

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
    low, high = float(ordered[0]), float(ordered[-1])
    if low == high:
        return ColumnMoments(len(ordered), low, 0.0, low, high)
    if low < -_BIGGEST or high > _BIGGEST:
        ordered = np.clip(ordered, -_BIGGEST, _BIGGEST)
    mean = float(ordered.mean())
    centred = ordered - mean
    squares = float(np.einsum("i,i", centred, centred))  # not `@`: BLAS would wake its threads for every column
    return ColumnMoments(len(ordered), mean, squares, low, high)


def merge_moments(one: ColumnMoments, two: ColumnMoments) -> ColumnMoments:
    """The moments of both together."""
    if one.finite == 0:
        return two
    if two.finite == 0:
        return one
    count = one.finite + two.finite
    step = two.mean - one.mean
    return ColumnMoments(
        count,
        (one.finite * one.mean + two.finite * two.mean) / count,
        one.squares + two.squares + step * step * (one.finite * two.finite / count),
        min(one.low, two.low),
        max(one.high, two.high),
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
        table = np.array([tuple(one) for one in columns], dtype=np.float64).reshape(-1, 5).T
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
        """The standard deviation of each column; NaN below two values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.finite > 1, np.sqrt(self.squares / (self.finite - 1.0)), np.nan)

"""The errors of one way of keeping a model, row by row, and how two ways compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.comparison.gate import whole_days

Numbers = NDArray[np.float64]

RESAMPLES = 2_000
SEED = 49
FEWEST_BLOCKS = 5  # fewer days, or runs of them, say nothing of how much they differ


@dataclass(frozen=True, slots=True)
class Curve:
    """The errors of one way of keeping a model on the replayed predictions.

    `at` (epoch seconds, ascending) and `error` (in units of the loss; NaN: the label never came) have one entry a
    prediction; `builds` counts the models that it had to train, the first one included; `seconds` is the processor time
    of training them, if known.
    """

    name: str
    at: Numbers
    error: Numbers
    builds: int
    seconds: float | None = None

    @property
    def mean(self) -> float:
        """The mean error over all predictions with a label."""
        known = self.error[np.isfinite(self.error)]
        return float(known.mean()) if len(known) else float("nan")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the bounds that hold it in 95 of 100 cases; bounds are NaN where too little is known."""

    mean: float
    lower: float
    upper: float

    @property
    def is_apart(self) -> bool:
        """Whether zero lies outside."""
        return self.lower > 0 or self.upper < 0


def window_means(curve: Curve, starts: Numbers) -> tuple[Numbers, NDArray[np.intp]]:
    """The mean error of the rows of each window, and how many rows with a label it has; `starts` ascend.

    The last window has no end. A window without labels gives NaN, a gap in the line.
    """
    known = np.isfinite(curve.error) & (curve.at >= starts[0])
    place = np.searchsorted(starts, curve.at[known], side="right") - 1
    counts = np.bincount(place, minlength=len(starts))
    sums = np.bincount(place, weights=curve.error[known], minlength=len(starts))
    means = np.full(len(starts), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means, counts


def difference(first: Numbers, second: Numbers, at: Numbers, day: float) -> Interval:
    """How much larger the errors of one way are than those of another on the same rows, which count equally.

    The interval is that of a paired block bootstrap: rows within `day` seconds share their luck, and neighbouring days
    are alike, so that whole runs of days are drawn, with replacement, from a circle of them (Politis and Romano 1992).
    It is a percentile interval of 95 %; the same rows always give the same one.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    differs, moment = (first - second)[known], at[known]
    mean = float(differs.mean())
    days = whole_days(moment, day)
    count = int(days.max()) + 1
    if count < FEWEST_BLOCKS:
        return Interval(mean, float("nan"), float("nan"))
    sums = np.asarray(np.bincount(days, weights=differs, minlength=count), dtype=np.float64)
    sizes = np.bincount(days, minlength=count).astype(np.float64)
    return Interval(mean, *_percentiles(sums, sizes))


def _percentiles(sums: Numbers, sizes: Numbers) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles of the means of drawn circles of days."""
    count = len(sums)
    length = _block_length(count)
    draws = -(-count // length)
    rng = np.random.default_rng(SEED)
    begins = rng.integers(0, count, (RESAMPLES, draws))
    drawn_sums, drawn_sizes = (_run_totals(values, length)[begins].sum(axis=1) for values in (sums, sizes))
    low, high = np.quantile(drawn_sums / drawn_sizes, [0.025, 0.975])
    return float(low), float(high)


def _block_length(days: int) -> int:
    """How many days are drawn together: twice the cubic root, and no more than leaves five such runs."""
    return max(1, min(round(2 * float(np.cbrt(days))), days // FEWEST_BLOCKS))


def _run_totals(values: Numbers, length: int) -> Numbers:
    """The sum of each run of so many neighbours on a circle, by its first."""
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:length]]))])
    return np.asarray(sums[length : length + len(values)] - sums[: len(values)])


def monthly_means(curve: Curve) -> Iterator[tuple[str, float]]:
    """The mean error of each calendar month (`2013-03`), in order."""
    months = (curve.at * 1e6).astype("datetime64[us]").astype("datetime64[M]")
    for month in np.unique(months):
        yield str(month), float(curve.error[months == month].mean())

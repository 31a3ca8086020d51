"""The figures of the demonstration: error over time of each way of keeping a model, and what happened when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from driftd.demonstration.stream import DAY

Numbers = NDArray[np.float64]

ROLLING_DAYS = 7


class Keeper(StrEnum):
    """The three ways of keeping a model that the demonstration compares, as they are called in its report."""

    DRIFTD = "driftd"
    STATIC = "static first model"
    REBUILT = "rebuilt at every window"


class MarkKind(StrEnum):
    """What the report marks on the time axis."""

    ALARM = "alarm"
    BUILD = "build"
    SWAP = "swap"
    KEPT = "champion kept"  # the gate refused the challenger or could not tell
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that happened, at `at` (epoch seconds), with its one-sentence reason."""

    at: float
    kind: MarkKind
    sentence: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The errors of one way of keeping a model on the replayed predictions.

    `at` (epoch seconds, ascending) and `error` (absolute error, minutes) have one entry a prediction; `builds` counts
    the models that it had to train, the first one included; `seconds` is the processor time of training them, if known.
    """

    name: str
    at: Numbers
    error: Numbers
    builds: int
    seconds: float | None = None

    @property
    def mean(self) -> float:
        """The mean absolute error over all predictions."""
        return float(self.error.mean()) if len(self.error) else float("nan")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the final table."""

    name: str
    builds: int
    mean: float
    worst_month: float
    gain: float  # share of the static model's error that is gone, counted over all predictions


def rolling_mean(curve: Curve, days: int = ROLLING_DAYS) -> tuple[Numbers, Numbers]:
    """The mean error of the predictions of the last `days` days, at each midnight from the first full span on.

    Returns the midnights (epoch seconds) and the means; a span without predictions gives NaN, a gap in the line.
    """
    if not len(curve.at):
        return np.empty(0), np.empty(0)
    first_midnight = np.floor(curve.at[0] / DAY) * DAY
    ends = np.arange(first_midnight + days * DAY, curve.at[-1] + DAY, DAY)
    sums = np.concatenate([[0.0], np.cumsum(curve.error)])
    last = np.searchsorted(curve.at, ends, side="left")
    first = np.searchsorted(curve.at, ends - days * DAY, side="left")
    counts = last - first
    means = np.full(len(ends), np.nan)
    np.divide(sums[last] - sums[first], counts, out=means, where=counts > 0)
    return ends, means


def monthly_means(curve: Curve) -> Iterator[tuple[str, float]]:
    """The mean error of each calendar month (`2013-03`), in order."""
    months = (curve.at * 1e6).astype("datetime64[us]").astype("datetime64[M]")
    for month in np.unique(months):
        yield str(month), float(curve.error[months == month].mean())


def table(curves: Sequence[Curve]) -> list[Row]:
    """The final comparison, one row a curve in the order given; gains are against the curve named `Keeper.STATIC`."""
    static = next((curve.mean for curve in curves if curve.name == Keeper.STATIC), float("nan"))
    return [
        Row(
            name=curve.name,
            builds=curve.builds,
            mean=curve.mean,
            worst_month=max((mean for _, mean in monthly_means(curve)), default=float("nan")),
            gain=1.0 - curve.mean / static,
        )
        for curve in curves
    ]

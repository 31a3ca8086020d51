"""Worlds of losses, one a window: what clean days do, and how they look when a model becomes worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohort_loss import CohortEstimate
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.performance import Performance, begin_performance

DAY, YEAR = 86_400.0, 365.25
BETWEEN_ALARMS = YEAR / 0.4  # one false alarm a year, of which performance has .4
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class LossWorld:
    """How the loss of a window moves about its mean of 1: all sds are shares of the loss."""

    sd: float = 0.0
    rho: float = 0.0
    week: float = 0.0  # sd of the seven weekdays
    year: float = 0.0  # half of the swing from summer to winter
    row_sd: float = 1.0
    skewed: bool = False  # a lognormal factor instead of a normal one
    rows: Callable[[np.random.Generator, int], Numbers] | None = None  # labels of each window; None: 200 each

    def draw(self, rng: np.random.Generator, windows: int) -> tuple[Numbers, Numbers]:
        """Losses of so many windows, and their labels."""
        counts = np.full(windows, 200.0) if self.rows is None else self.rows(rng, windows)
        shape = counts / self.row_sd**2
        return rng.gamma(shape, self._levels(rng, windows) / shape), counts

    def _levels(self, rng: np.random.Generator, windows: int) -> Numbers:
        wander, steps = np.empty(windows), rng.standard_normal(windows)
        at = self.sd * rng.standard_normal()
        for day in range(windows):
            at = self.rho * at + self.sd * np.sqrt(1 - self.rho**2) * steps[day]
            wander[day] = at
        days = np.arange(windows)
        pattern = rng.normal(0, self.week, 7)
        season = self.year * np.sin(2 * np.pi * (days / YEAR + rng.random()))
        if self.skewed:
            skewed: Numbers = np.exp(wander - self.sd**2 / 2)
            return skewed
        losses: Numbers = np.maximum(0.05, np.exp(wander + pattern[days % 7] - pattern.mean()) + season)
        return losses


def uneven(rng: np.random.Generator, windows: int) -> Numbers:
    """Labels of windows that differ fiftyfold, with a quiet weekend."""
    busy = rng.lognormal(np.log(150), 0.8, windows)
    return np.clip(np.round(np.where(np.arange(windows) % 7 < 5, busy, busy / 8)), 10, 5000)


WORLDS = {
    "independent": LossWorld(),
    "day effects .10": LossWorld(sd=0.10),
    "AR(.5) .20": LossWorld(sd=0.20, rho=0.5),
    "AR(.8) .20": LossWorld(sd=0.20, rho=0.8),
    "AR(.8) .10": LossWorld(sd=0.10, rho=0.8),
    "AR(.9) .20": LossWorld(sd=0.20, rho=0.9),
    "weekdays .15": LossWorld(sd=0.05, week=0.15),
    "yearly +-10 %": LossWorld(sd=0.05, year=0.10),
    "lognormal": LossWorld(sd=0.30, skewed=True),
    "error .10": LossWorld(sd=0.05, row_sd=3.0),
    "error .01": LossWorld(row_sd=9.95),
    "uneven counts": LossWorld(sd=0.10, rows=uneven),
    "uneven, AR(.8) .10": LossWorld(sd=0.10, rho=0.8, rows=uneven),
}


def begin_detector(
    losses: Numbers, counts: Numbers, row_sd: float, *, window_seconds: float = DAY, a: float = BETWEEN_ALARMS
) -> Performance | CertifiedPerformance:
    """The product's detector, begun from these reference windows."""
    mean = float(losses @ counts / counts.sum())
    nothing, sd = np.empty(0), row_sd * mean
    starts: Numbers = np.arange(len(losses), dtype=np.float64) * window_seconds
    rows = int(counts.sum())
    reference = LossReference("mae", mean, rows, sd, 0.0, sd, 10.0, nothing, nothing, starts, losses, counts)
    return begin_performance(reference, a, tolerated=None, window_seconds=window_seconds, waits_for=14)


def cohort(loss: float, count: float, row_sd: float) -> CohortEstimate:
    """A cohort all of whose labels are there."""
    sd = row_sd / np.sqrt(count)
    return CohortEstimate(loss, sd, sd, count, int(count), int(count), 1.0, 1.0)


def first_alarm(
    rng: np.random.Generator,
    world: LossWorld,
    reference: int,
    days: int,
    *,
    rise: float = 1.0,
    after: int = 0,
    window_seconds: float = DAY,
    a: float = BETWEEN_ALARMS,
) -> int | None:
    """The live day, from 1 on, of the first alarm; the loss is `rise` times as high from day `after` on."""
    losses, counts = world.draw(rng, reference + days)
    losses[reference + after :] *= rise
    watched = begin_detector(losses[:reference], counts[:reference], world.row_sd, window_seconds=window_seconds, a=a)
    assert isinstance(watched, Performance)
    row_sd = watched.reference.row_sd
    for day in range(days):
        at = reference + day
        watched = watched.update(cohort(losses[at], counts[at], row_sd), at * window_seconds)
        if watched.crossed:
            return day + 1
    return None

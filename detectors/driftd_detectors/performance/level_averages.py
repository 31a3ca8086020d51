"""How windows differ (spread, correlation, rhythm), and averages of the last windows against the promised level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from driftd_detectors.columns import Numbers

_CUT_SDS = 3.0  # robust sds beyond which a difference counts as that many
_CUT_LOSS = 0.995  # E min(Z^2, 9) of a normal Z
_SD_OF_MAD = 1.4826
_MEDIAN_VARIANCE = 1.57  # of a median over that of a mean
FEWEST_CYCLES, _MOST_CYCLES = 3, 8
_STEPS = 40  # of the fixed point for rho; it is found to 1e-6 long before
_LEAST_RATIO = 1e-3

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pace:
    """At which distances windows are compared, how many live windows teach, and what completes a short reference.

    `near` and `far` are lags in windows; `kept` live windows are learned from; a reference of fewer than `completed`
    windows is completed by the first live ones. The prior of rho is worth `rho_pairs` pairs of windows. An average over
    b windows may exceed its bound by chance once in `tests` A / b windows.
    """

    near: int = 1
    far: tuple[int, ...] = (9, 12, 15)
    most_rho: float = 0.95
    kept: int = 128
    completed: int = 28
    rho_pairs: float = 200.0
    tests: float = 36.0  # an average over b windows may exceed its bound by chance once in tests A / b windows

    @property
    def middle(self) -> int:
        """The middle one of the far lags."""
        return self.far[len(self.far) // 2]


DAYS = Pace()  # windows of six hours and longer, and windows of rows
HOURS = Pace(near=6, far=(36, 48, 60), most_rho=0.99, kept=336, completed=336, rho_pairs=0.0, tests=48.0)


@dataclass(frozen=True, slots=True)
class SpreadPrior:
    """How windows differ until it is learned.

    `sd` is the spread of the windows' own levels as a share of the loss, `rho` the correlation of neighbours; both are
    worth `windows` windows of evidence.
    """

    sd: float = 0.10
    rho: float = 0.72
    windows: float = 16.0


HOURLY_PRIOR = SpreadPrior(rho=0.5, windows=6.0)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Windows in time order: their places on the calendar, losses, and the variance of each loss by sampling alone."""

    places: Places
    values: Numbers
    sampling: Numbers

    @classmethod
    def empty(cls) -> Stretch:
        """No windows."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.values)

    def newest(self, count: int) -> Stretch:
        """The last so many windows."""
        kept = slice(max(0, len(self) - count), None)
        return Stretch(self.places[kept], self.values[kept], self.sampling[kept])

    def subtract(self, by: Numbers) -> Stretch:
        """With `by`, (windows,), taken off the losses."""
        return Stretch(self.places, self.values - by, self.sampling)


def places_of(starts: Numbers, window_seconds: float | None) -> Places:
    """The number of each window on the calendar; a plain count where windows have no length, or share a place."""
    if window_seconds is not None:
        places = np.floor(starts / window_seconds).astype(np.int64)
        if (np.diff(places) > 0).all():
            return np.asarray(places)
    return np.arange(len(starts))


def variance_factor(windows: Numbers | float, rho: Numbers | float) -> Numbers:
    """Variance of a mean of so many windows over that of one, when neighbours correlate by rho, rho^2, ..."""
    rest = 2 * rho * (1 - rho**windows) / (windows * (1 - rho) ** 2)
    return np.asarray(((1 + rho) / (1 - rho) - rest) / windows)


def learn_spread(
    stretches: Sequence[Stretch], *, scale: float, inflation: float, pace: Pace, prior: SpreadPrior
) -> tuple[float, float]:
    """The variance of the windows' own levels beyond sampling, and its correlation from one window to the next.

    Parameters
    ----------
    stretches
        The reference's windows and the live ones; no pair straddles two stretches.
    scale
        The loss that was promised, for the prior.
    inflation
        What fitting the rhythm hides of the squared differences, at least 1.
    pace, prior
        The lags, and what is assumed until windows teach more.

    Notes
    -----
    G(k) = mean((x_{t+k} - x_t)^2) / 2 minus the sampling variance of the pair, cut at three robust sds. Under an
    autoregressive wander G(near) / G(far) = (1 - rho^near) / (1 - rho^far), and sigma^2 = G(far) / (1 - rho^far).
    The ratio is drawn towards that of the prior's rho (a geometric mean): an estimate of rho from a few dozen windows
    is mostly noise, which raises false alarms where it is too low and hides a rise of half where it is too high.
    Sampling is taken off first: it dilutes a correlation at lag 1. Windows of uneven counts have sampling variances of
    their own, so a pair counts by the inverse square of the variance that its difference should have.
    """
    own = (prior.sd * scale) ** 2
    lag, weight = pace.middle, prior.windows
    near, pairs = _excess(stretches, pace.near, own, inflation)
    fars = [_excess(stretches, far, own, inflation) for far in pace.far]
    count = sum(pairs_of for _, pairs_of in fars) / len(fars)
    far = sum(value * pairs_of for value, pairs_of in fars) / max(1.0, sum(pairs_of for _, pairs_of in fars))
    near = (pairs * near + weight * own * (1 - prior.rho**pace.near)) / (pairs + weight)
    far = (count * far + weight * own * (1 - prior.rho**lag)) / (count + weight)
    near = max(near, 1e-12 * scale**2)
    far = max(far, near)
    usual = (1 - prior.rho**pace.near) / (1 - prior.rho**lag)
    trust = pairs / (pairs + pace.rho_pairs) if pairs else 0.0
    ratio, rho = max(near / far, _LEAST_RATIO) ** trust * usual ** (1 - trust), 0.5
    for _ in range(_STEPS):
        rho = max(0.0, 1 - ratio * (1 - rho**lag)) ** (1 / pace.near)
    rho = min(max(rho, 0.0), pace.most_rho)
    return far / (1 - rho**lag), rho


def _excess(stretches: Sequence[Stretch], lag: int, own: float, inflation: float) -> tuple[float, float]:
    """Half the mean squared difference of windows `lag` apart beyond sampling, and how many pairs it is worth."""
    pairs = [_pairs(stretch, lag) for stretch in stretches]
    differences = np.concatenate([difference for difference, _ in pairs])
    if len(differences) == 0:
        return 0.0, 0.0
    sampling = np.concatenate([variance for _, variance in pairs])
    usual = own + sampling
    standard = np.abs(differences) / np.sqrt(2 * usual)
    cut = _CUT_SDS * _SD_OF_MAD * float(np.median(standard)) or math.inf
    squares = np.minimum(standard, cut) ** 2 * usual / _CUT_LOSS
    weight = (usual.max() / usual) ** 2
    total = float(weight.sum())
    return float(weight @ (squares * inflation - sampling)) / total, total**2 / float(weight @ weight)


def _pairs(stretch: Stretch, lag: int) -> tuple[Numbers, Numbers]:
    """Differences of windows `lag` apart on the calendar, and the sampling variance of half their square."""
    places, values, sampling = stretch.places, stretch.values, stretch.sampling
    if len(places) > lag and places[-1] - places[0] == len(places) - 1:  # no gap: the usual case, and the quick one
        return values[lag:] - values[:-lag], (sampling[lag:] + sampling[:-lag]) / 2
    later = np.searchsorted(places, places + lag)
    there = later < len(places)
    there[there] = places[later[there]] == places[there] + lag
    first, second = np.flatnonzero(there), later[there]
    return values[second] - values[first], (sampling[second] + sampling[first]) / 2


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The shape of a week or a day, by phase, with mean zero; `inflation` is what fitting it hides of differences."""

    shape: Numbers
    inflation: float = 1.0

    def at(self, places: Places) -> Numbers:
        """What the rhythm adds to windows at these places, (windows,)."""
        return np.asarray(self.shape[places % len(self.shape)])


def learn_rhythm(places: Places, values: Numbers, period: int) -> Rhythm:
    """The shape of the last 3 to 8 whole cycles of `period` windows, shrunk to what exceeds chance.

    The median over cycles of the loss minus the cycle's mean, so a level that moves from cycle to cycle does not enter.
    A cycle counts when at least half of its windows are there; phases of fewer than two windows have no shape.
    """
    none = Rhythm(np.zeros(max(1, period)))
    if period <= 1 or len(places) < FEWEST_CYCLES * period / 2:
        return none
    grid = _cycles(places, values, period)
    k = len(grid)
    if k < FEWEST_CYCLES:
        return none
    known = np.isfinite(grid)
    phases = known.sum(axis=0) > 1
    shape = np.zeros(period)
    if known.all():  # the usual case: NumPy's functions that pass over NaN are slow
        z = grid - grid.mean(axis=1, keepdims=True)
        shape = np.median(z, axis=0)
    else:
        z = grid - np.nanmean(grid, axis=1, keepdims=True)
        shape[phases] = np.nanmedian(z[:, phases], axis=0)
    shape[phases] -= shape[phases].mean()
    freedom = max(1, int(phases.sum()) - 1)
    rest = np.where(known, z - shape, 0.0)
    chance = float((rest**2).sum()) / ((k - 1) * freedom) * _MEDIAN_VARIANCE / k
    seen = float((shape**2).sum()) / freedom
    share = min(max(1 - chance / max(seen, 1e-30), 0.0), 1.0)
    # Column j of the grid is the phase of the window that ends a cycle, counted on from there.
    return Rhythm(np.roll(shape * share, (int(places[-1]) + 1) % period), 1 + share * 2 / k)


def _cycles(places: Places, values: Numbers, period: int) -> Numbers:
    """The newest cycles, oldest first, that end with the last window: (cycles, period), NaN where none is."""
    back = int(places[-1]) - places
    cycle, column = back // period, period - 1 - back % period
    if back[0] == len(back) - 1:
        k = min(_MOST_CYCLES, len(values) // period)
        return values[len(values) - k * period :].reshape(k, period)
    numbers, counts = np.unique(cycle, return_counts=True)
    chosen = numbers[2 * counts >= period][:_MOST_CYCLES]
    grid = np.full((len(chosen), period), np.nan)
    row = np.searchsorted(chosen, cycle)
    inside = row < len(chosen)
    inside[inside] = chosen[row[inside]] == cycle[inside]
    grid[row[inside], column[inside]] = values[inside]
    return grid[::-1]


LONGEST = 64  # windows in the longest average
FEWEST_AVERAGED = 2  # windows in the shortest average
_GLITCH = 1.5  # bounds of the average of two, at which the excess of one window is cut
ROUGHEST = 0.30  # an average whose sampling sd exceeds this share of the loss is not judged yet
_HEAVIEST = 2 / 3  # an average of which one window has more of the weight is not judged: it is that window
_LEAST_P = 1e-30


@dataclass(frozen=True, slots=True)
class Recent:
    """The last windows, newest first: losses without rhythm, weights, sampling variances, and what was known then.

    `variance`, `rho` and `known` are the spread as it was known before each window, and from how many windows.
    """

    values: Numbers
    weights: Numbers
    sampling: Numbers
    variance: Numbers
    rho: Numbers
    known: Numbers


@dataclass(frozen=True, slots=True)
class Level:
    """A promised level: the weighted mean of `windows` windows with a sampling variance, plus what is tolerated.

    `share` of its own variance counts: its error is drawn once, not at every window.
    """

    mean: float
    windows: float
    sampling: float
    tolerance: float
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Judged:
    """The average that stands out most: its evidence, over how many windows, and the loss; a span of 0: none judged."""

    evidence: float = 0.0
    span: int = 0
    average: float = float("nan")


NOT_JUDGED = Judged()


def judge_averages(
    recent: Recent, level: Level, *, threshold: float, scale: float, prior_windows: float, tests: float
) -> Judged:
    """Hold the averages of the last 2 to 64 windows against the level.

    Parameters
    ----------
    recent
        The windows that count, newest first.
    level
        What was promised.
    threshold
        A, at which the evidence alarms.
    scale
        The loss that an average's sampling error is compared with.
    prior_windows
        What the prior of the spread is worth, in windows.
    tests
        An average over b windows may exceed its bound by chance once in tests A / b windows.

    Notes
    -----
    T_b = (mean of the last b - level - tolerance) / sqrt(V_b + share V_level), judged by the spread that was known
    before its first window: a loss that rises cannot widen its own bound. V_b = sigma^2 g(n_b) + the sampling variance
    of the weighted mean, n_b the effective number of windows (sum w)^2 / sum w^2, g the variance factor of a wander.
    p_b is the upper tail of a t with prior + N (1 - rho^2) / (1 + rho^2) degrees; the evidence is the maximum over b of
    b / (tests p_b).
    The excess of one window is cut at 1.5 bounds of an average of two, less where the window weighs more than others.
    """
    windows = min(len(recent.values), LONGEST)
    if windows < FEWEST_AVERAGED:
        return NOT_JUDGED
    weights, sampling = recent.weights[:windows], recent.sampling[:windows]
    b = np.arange(1, windows + 1, dtype=np.float64)
    total = np.cumsum(weights)
    effective = total**2 / np.cumsum(weights**2)
    of_sampling = np.cumsum(weights**2 * sampling) / total**2
    variance, rho = recent.variance[:windows], recent.rho[:windows]
    of_level = variance * variance_factor(level.windows, rho) + level.sampling
    sd = np.sqrt(variance * variance_factor(effective, rho) + of_sampling + level.share * of_level)
    freedom = prior_windows + recent.known[:windows] * (1 - rho**2) / (1 + rho**2)
    bound = -float(stdtrit(freedom[1], FEWEST_AVERAGED / (tests * threshold))) * float(sd[1])
    cut = _GLITCH * bound * np.minimum(1.0, weights.mean() / weights)
    above = np.minimum(recent.values[:windows] - level.mean - level.tolerance, cut)
    fine = (b >= FEWEST_AVERAGED) & (np.sqrt(of_sampling) <= ROUGHEST * scale)
    fine &= np.maximum.accumulate(weights) <= _HEAVIEST * total
    if not fine.any():
        return NOT_JUDGED
    p = np.maximum(stdtr(freedom, -np.cumsum(weights * above) / total / sd), _LEAST_P)
    evidence = np.where(fine, b / (tests * p), 0.0)
    best = int(np.argmax(evidence))
    average = float(weights[: best + 1] @ recent.values[: best + 1] / total[best])
    return Judged(float(evidence[best]), best + 1, average)

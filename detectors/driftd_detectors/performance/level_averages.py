"""Averages of the last windows, held against a level that was promised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from driftd_detectors.columns import Numbers
from driftd_detectors.performance.level_spread import variance_factor

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

"""Probation: a new version serves, the old one scores in shadow, and a bet runs against the new one.

The bet is an e-process (Waudby-Smith, Ramdas, *Estimating means of bounded random variables by betting*, 2024): if
the new version is not worse than the old by more than the tolerated harm, the wealth exceeds 20 at *any* time with
probability at most 1/20 (Ville, 1939), however often one looks. A daily t test, looked at daily, rolls back 27 % of
equal versions.

A bet that rolls nothing back says little until it could have: so a watch also says whether harm of a tenth would have
been seen by now, in these very rows.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import DAY

BETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
ROLL_BACK_AT = 20.0
NOTABLE_HARM = 0.10  # of the old version's loss: what a watch must have been able to see
_DAYS_TO_LEARN_FROM = 5
_FEWEST_A_DAY = 5


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watch says: whether to roll back, and the wealth (the largest reached so far) behind it."""

    roll_back: bool
    wealth: float
    labels: int
    sentence: str
    harm: float = math.nan  # mean loss of the new version minus that of the old, in units of the loss
    overdispersion: float = 1.0
    is_telling: bool = False  # whether harm of `NOTABLE_HARM` would have been seen by now, over days enough


def watch(
    new_loss: Numbers,
    old_loss: Numbers,
    at: Numbers,
    *,
    bound: float = 1.0,
    tolerated: float = 0.0,
    overdispersion: float = 1.0,
    threshold: float = ROLL_BACK_AT,
    day: float = DAY,
) -> Watch:
    """Bet that the new version is worse.

    Parameters
    ----------
    new_loss, old_loss, at
        One entry a labelled row, *in the order in which the labels arrived*, so that a later look only adds to an
        earlier one; `at` is the event time in epoch seconds. Rows with a loss that is not finite are left out.
    bound
        The differences are divided by this and clipped to [-1, 1]: 1 for 0/1 error and Brier, for errors of a
        regression a high quantile of the reference's.
    tolerated
        Harm that is no reason to roll back, in units of the loss.
    overdispersion
        How much more the means of days vary than independent rows would, as the gate found it. Every row of a
        day shares the day's luck, so n rows of a day count as n / overdispersion: the log wealth is divided by it.
        To second order that is exact for normal day effects. From five days on, the larger of this and of what the
        earlier watched days show counts; only earlier ones, so that the bet never knows the future.
    day
        Seconds within which rows share their luck: a day, or a window where windows are longer.
    """
    usable = np.isfinite(new_loss) & np.isfinite(old_loss)
    # The difference is clipped, not the losses: where both are beyond the bound, the worse one is still the worse.
    difference = np.clip((new_loss[usable] - old_loss[usable]) / bound, -1.0, 1.0)
    rows = len(difference)
    if rows == 0:
        return Watch(roll_back=False, wealth=1.0, labels=0, sentence="no labels yet for the new version")
    days = np.floor(at[usable] / day)
    dispersion = _dispersions(difference, days, overdispersion)
    wealth = _wealth(difference - tolerated / bound, dispersion)
    harm = float(difference.mean()) * bound
    harmed = difference - difference.mean() + NOTABLE_HARM * float(old_loss[usable].mean()) / bound
    sees = _wealth(np.clip(harmed, -1.0, 1.0) - tolerated / bound, dispersion) >= threshold
    return Watch(
        wealth >= threshold,
        wealth,
        rows,
        _sentence(harm, wealth, rows, threshold),
        harm=harm,
        overdispersion=float(dispersion[-1]),
        is_telling=sees and len(np.unique(days)) >= _DAYS_TO_LEARN_FROM,
    )


def _wealth(excess: Numbers, dispersion: Numbers) -> float:
    """The largest wealth that the mixture of bets reaches on harm beyond the tolerated, in units of the bound."""
    bets = np.array(BETS)[:, None]
    logs = np.cumsum(np.log1p(bets * excess[None, :]) / dispersion, axis=1)
    path = np.logaddexp.reduce(logs, axis=0) - math.log(len(BETS))
    return float(np.exp(min(700.0, path.max(initial=0.0))))


def _dispersions(difference: Numbers, days: Numbers, given: float) -> Numbers:
    """The over-dispersion that holds for each row: learned from the rows before its day first appeared."""
    _, first = np.unique(days, return_index=True)
    starts = [*sorted(int(start) for start in first), len(days)]
    dispersion = np.full(len(days), max(1.0, given))
    for start, end in itertools.pairwise(starts):
        dispersion[start:end] = np.maximum(dispersion[start:end], _of_days(difference[:start], days[:start]))
    return dispersion


def _of_days(difference: Numbers, days: Numbers) -> float:
    """The over-dispersion of whole days; 1 while there are too few of them to say."""
    if len(days) == 0:
        return 1.0
    _, day_of = np.unique(days, return_inverse=True)
    sizes = np.bincount(day_of)
    kept = sizes >= _FEWEST_A_DAY
    within = float(difference.var())
    if int(kept.sum()) < _DAYS_TO_LEARN_FROM or within <= 0:
        return 1.0
    means = (np.bincount(day_of, weights=difference) / sizes)[kept]
    return float(means.var(ddof=1)) / (within * float(np.mean(1 / sizes[kept])))


def _sentence(harm: float, wealth: float, rows: int, threshold: float) -> str:
    seen = f"on {rows} labelled rows the new version's loss is {abs(harm):.4g} {'higher' if harm > 0 else 'lower'}"
    if wealth >= threshold:
        return f"{seen} than the old one's; a bet against it reached {wealth:.3g} (limit {threshold:g}): it is worse"
    return f"{seen} than the old one's; a bet against it stands at most at {wealth:.3g} of {threshold:g}"

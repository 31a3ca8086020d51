"""The gate, which says whether a challenger may replace the champion, judged on the same later rows.

Rows of one day share their luck, so whole days, never parts of one, are the unit: the mean paired loss difference of
each block of days goes into a one-sided t test over blocks. Blocks are few, so that neighbouring days that are alike
fall into one. (Days cut into parts cannot show that days differ: they promote an equal challenger in 8-10 % of cases,
McNemar's test over rows in 15-29 %, a point estimate in half of them.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers

Decision = Literal["promote", "reject", "inconclusive"]

DAY = 86_400.0
FEWEST_BLOCKS = 3
_MOST_SHORT_BLOCKS = 5  # of up to 35 days; from then on there is one block for six days
_DAYS_OF_A_LONG_BLOCK = 6
_SMALLEST_SHARE = 0.5  # of the mean day: smaller neighbours are put together


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate said. `gain` is champion loss minus challenger loss: positive means the challenger is better."""

    decision: Decision
    sentence: str
    gain: float
    lower: float  # one-sided confidence bounds of the gain
    upper: float
    rows: int
    blocks: int
    overdispersion: float = 1.0  # variance of the means of days over what independent rows would give; at least 1


def judge(
    challenger_loss: Numbers,
    champion_loss: Numbers,
    at: Numbers,
    *,
    weight: Numbers | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
    min_rows: int = 1,
    look: int = 1,
    tolerance: float | None = None,
    day: float = DAY,
) -> Judgement:
    """Compare two versions by their losses on the same rows.

    Parameters
    ----------
    challenger_loss, champion_loss, at
        One entry a row: the losses and the event time in epoch seconds, in any order. Rows on which either loss is
        not finite are left out.
    weight
        What each row counts, where labels that came early stand for others; rows of weight 0 are left out.
    margin
        How much better the challenger must be, in units of the loss.
    confidence
        Of each one-sided bound, over *all* looks together.
    min_rows
        Fewer rows than this are inconclusive.
    look
        Which judgement of this pair it is: 1, 2, ... Judging again with more rows is a further chance of a wrong
        promotion, so look k may err with (1 - confidence) / 2^k, which sums to 1 - confidence over all looks.
    tolerance
        When given, the question is non-inferiority: promote when the challenger is not worse by more than this
        (or is better by `margin`), for builds that were not started because the champion was bad.
    day
        Seconds within which rows share their luck: a day, or a window where windows are longer.

    Returns
    -------
    Judgement
        promote when the lower bound of the gain exceeds `margin` (or -`tolerance`), reject when the upper bound is
        below zero (or -`tolerance`), else inconclusive; so are rows of fewer than three whole days.
    """
    counted = np.ones(len(at)) if weight is None else weight
    usable = np.isfinite(challenger_loss) & np.isfinite(champion_loss) & np.isfinite(at) & (counted > 0)
    difference, counted = (champion_loss - challenger_loss)[usable], counted[usable]
    days = whole_days(at[usable], day)
    blocks = join_days(int(days.max(initial=-1)) + 1)[days]
    count, rows = int(blocks.max(initial=-1)) + 1, len(difference)
    if rows < min_rows or count < FEWEST_BLOCKS:
        return _too_few(rows, count, min_rows, day)
    means, _ = block_means(difference, blocks, counted)
    gain = float(means.mean())
    error = float(means.std(ddof=1)) / math.sqrt(count)
    half = _t_quantile(1 - (1 - confidence) / 2**look, count - 1) * error
    lower, upper = gain - half, gain + half
    decision = _decide(lower, upper, margin, tolerance)
    sentence = _sentence(decision, gain, lower, upper, rows, count, margin, tolerance)
    dispersion = _overdispersion(difference, *block_means(difference, days, counted))
    return Judgement(decision, sentence, gain, lower, upper, rows, count, dispersion)


def whole_days(at: Numbers, day: float = DAY) -> NDArray[np.intp]:
    """The day of each row, numbered in time order without gaps; a day is `day` seconds long, `at` in epoch seconds.

    Neighbouring days are put together until each has at least half of the rows of the mean day, so that a day with
    two rows, or the part of a day at an end, does not weigh as much as one with two thousand.
    """
    if len(at) == 0:
        return np.empty(0, dtype=np.intp)
    days, day_of = np.unique(np.floor(at / day), return_inverse=True)
    return _merge(np.bincount(day_of, minlength=len(days)))[day_of]


def join_days(days: int) -> NDArray[np.intp]:
    """The block of each of so many days: as many days in each as can be, at least two from six days on.

    Up to five days are a block each, up to 35 make at most five, more make one for six days. Few blocks give the test
    few degrees of freedom, but neighbouring days that are alike fall into one: with AR(.5) days an equal challenger
    is promoted in 8 to 10 % of cases instead of 17 %.
    """
    few = days if days <= _MOST_SHORT_BLOCKS else min(_MOST_SHORT_BLOCKS, days // 2)
    return np.arange(days) * max(few, days // _DAYS_OF_A_LONG_BLOCK) // max(days, 1)


def block_means(values: Numbers, blocks: NDArray[np.intp], weight: Numbers) -> tuple[Numbers, NDArray[np.intp]]:
    """Weighted mean and number of rows of each block."""
    return np.bincount(blocks, weights=values * weight) / np.bincount(blocks, weights=weight), np.bincount(blocks)


def _merge(sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    smallest = _SMALLEST_SHARE * sizes.mean()
    block_of = np.empty(len(sizes), dtype=np.intp)
    block, held = 0, 0
    for day, size in enumerate(sizes):
        block_of[day] = block
        held += size
        if held >= smallest:
            block, held = block + 1, 0
    if held > 0 and block > 0:  # what is left at the end joins the last full block
        block_of[block_of == block] = block - 1
    return block_of


def _overdispersion(difference: Numbers, means: Numbers, sizes: NDArray[np.intp]) -> float:
    within = float(difference.var())
    if within <= 0:
        return 1.0
    between = float(means.var(ddof=1))
    return max(1.0, between / (within * float(np.mean(1 / sizes))))


def _t_quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 - the daemon imports this package without scipy

    return float(stdtrit(freedom, share))


def _decide(lower: float, upper: float, margin: float, tolerance: float | None) -> Decision:
    if lower > margin or (tolerance is not None and lower > -tolerance):
        return "promote"
    if upper < (0.0 if tolerance is None else -tolerance):
        return "reject"
    return "inconclusive"


def _too_few(rows: int, blocks: int, needed: int, day: float) -> Judgement:
    if rows < needed:
        sentence = f"only {rows} labelled rows later than the training data; {needed} are needed to judge"
    else:
        unit = "days" if day == DAY else f"spans of {_spell(day)}"
        sentence = (
            f"the {rows} labelled rows later than the training data cover {blocks} whole {unit}; {FEWEST_BLOCKS} are "
            "needed to judge, because rows of one share their luck"
        )
    return Judgement("inconclusive", sentence, math.nan, math.nan, math.nan, rows, blocks)


def _spell(seconds: float) -> str:
    return f"{seconds / DAY:g} days" if seconds >= DAY else f"{seconds / 3600:.3g} hours"


def _sentence(
    decision: Decision,
    gain: float,
    lower: float,
    upper: float,
    rows: int,
    blocks: int,
    margin: float,
    tolerance: float | None,
) -> str:
    seen = f"gain {gain:.4g} (bounds {lower:.4g} to {upper:.4g}) on {rows} later rows in {blocks} time blocks"
    if decision == "promote" and lower > margin:
        return f"the challenger is better: {seen}, surely above the margin {margin:.4g}"
    if decision == "promote":
        return f"the challenger is not worse by more than the tolerated {tolerance:.4g}: {seen}"
    if decision == "reject":
        return f"the challenger is worse: {seen}"
    return f"neither is surely better: {seen}; the champion stays"

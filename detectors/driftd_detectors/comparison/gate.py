"""The gate, which says whether a challenger may replace the champion, judged on the same later rows.

Rows of one day share their luck, so a day, not a row, is the unit: the mean paired loss difference of each time
block goes into a one-sided t test over blocks. (McNemar's test over rows promotes an equal challenger in 15-29 % of
cases when days differ; a point estimate in half of them.)
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
FEWEST_BLOCKS = 10
_SMALLEST_SHARE = 0.5  # of the mean block: smaller neighbours are put together


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
    overdispersion: float = 1.0  # variance of block means over what independent rows would give; at least 1


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

    Returns
    -------
    Judgement
        promote when the lower bound of the gain exceeds `margin` (or -`tolerance`), reject when the upper bound is
        below zero (or -`tolerance`), else inconclusive.
    """
    counted = np.ones(len(at)) if weight is None else weight
    usable = np.isfinite(challenger_loss) & np.isfinite(champion_loss) & np.isfinite(at) & (counted > 0)
    difference = (champion_loss - challenger_loss)[usable]
    blocks = time_blocks(at[usable])
    count = int(blocks.max()) + 1 if len(blocks) else 0
    rows = len(difference)
    if rows < max(min_rows, FEWEST_BLOCKS) or count < 2:  # noqa: PLR2004 - a variance needs two
        return _too_few(rows, count, max(min_rows, FEWEST_BLOCKS))
    means, sizes = block_means(difference, blocks, counted[usable])
    gain = float(means.mean())
    error = float(means.std(ddof=1)) / math.sqrt(count) * _inflation(means)
    half = _t_quantile(1 - (1 - confidence) / 2**look, count - 1) * error
    lower, upper = gain - half, gain + half
    decision = _decide(lower, upper, margin, tolerance)
    sentence = _sentence(decision, gain, lower, upper, rows, count, margin, tolerance)
    return Judgement(decision, sentence, gain, lower, upper, rows, count, _overdispersion(difference, means, sizes))


def time_blocks(at: Numbers) -> NDArray[np.intp]:
    """The block of each row, numbered in time order: days where there are at least ten, else ten equal parts.

    Neighbouring days are put together until each block has at least half of the rows of the mean block, so that a
    day with two rows does not weigh as much as one with two thousand.
    """
    if len(at) == 0:
        return np.empty(0, dtype=np.intp)
    days, day_of = np.unique(np.floor(at / DAY), return_inverse=True)
    if len(days) >= FEWEST_BLOCKS:
        merged = _merge(np.bincount(day_of))
        if merged[-1] + 1 >= FEWEST_BLOCKS:
            return merged[day_of]
    rank = np.empty(len(at), dtype=np.intp)
    rank[np.argsort(at, kind="stable")] = np.arange(len(at))
    return rank * min(FEWEST_BLOCKS, len(at)) // len(at)


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


def _inflation(means: Numbers) -> float:
    """What the standard error of the mean grows by when neighbouring blocks are alike, as parts of one day are.

    sqrt((1 + rho) / (1 - rho)) of an AR(1) series, rho the lag-1 correlation (with 1/n added for its small-sample
    bias, Kendall 1954), where it is larger than chance alone makes it (1/sqrt(n)).
    """
    centred = means - means.mean()
    square = float(centred @ centred)
    if square <= 0:
        return 1.0
    rho = min(0.8, float(centred[1:] @ centred[:-1]) / square + 1 / len(means))
    return math.sqrt((1 + rho) / (1 - rho)) if rho > 1 / math.sqrt(len(means)) else 1.0


def _t_quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 - the daemon imports this package without scipy

    return float(stdtrit(freedom, share))


def _decide(lower: float, upper: float, margin: float, tolerance: float | None) -> Decision:
    if lower > margin or (tolerance is not None and lower > -tolerance):
        return "promote"
    if upper < (0.0 if tolerance is None else -tolerance):
        return "reject"
    return "inconclusive"


def _too_few(rows: int, blocks: int, needed: int) -> Judgement:
    sentence = f"only {rows} labelled rows later than the training data; {needed} are needed to judge"
    return Judgement("inconclusive", sentence, math.nan, math.nan, math.nan, rows, blocks)


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

"""Which unlabelled predictions to label, and what their labels count: sampling proportional to size, with weights.

Each prediction is drawn with a probability that is known, so its label stands for 1/probability predictions (Horvitz
and Thompson 1952). The variance of an estimated mean loss is least where the probability is proportional to the spread
of the row's loss (Sawade, Landwehr, Bickel and Scheffer 2010, "Active risk estimation"); a part of each probability is
uniform, so that no prediction is left out for sure and no weight is very large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.cohort import Hashes
from driftd_detectors.columns import Numbers, Outcomes

UNIFORM = 0.2  # of the draw: no weight is more than five times that of an even draw
_ROUNDS = 100


def inclusion_probabilities(size: Numbers, number: int, uniform: float = UNIFORM) -> Numbers:
    """The probability with which each row is drawn, (rows,): their sum is `number`, or all are 1 where it is too many.

    `size` is what they are proportional to, finite and not negative; a share `uniform` of them is alike for all rows.
    """
    rows = len(size)
    if number >= rows:
        return np.ones(rows)
    total = float(size.sum())
    even = np.full(rows, 1.0 / rows)
    share = even if total <= 0 else uniform * even + (1 - uniform) * size / total
    certain = np.zeros(rows, dtype=np.bool_)
    for _ in range(_ROUNDS):  # what would be drawn more than once is drawn for certain, and the others share the rest
        rest = share[~certain].sum()
        found = np.where(certain, 1.0, (number - certain.sum()) * share / rest)
        over = (found >= 1.0) & ~certain
        if not over.any():
            break
        certain |= over
    return np.minimum(found, 1.0)


def draw_rows(probability: Numbers, seed: int) -> NDArray[np.intp]:
    """The places of the rows that are drawn, ascending: a systematic draw in random order (Madow 1949).

    Each row has exactly its probability, none is drawn twice, and their number is the sum of the probabilities but for
    rounding.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(probability))
    ends = np.cumsum(probability[order])
    ticks = np.arange(rng.random(), ends[-1] if len(ends) else 0.0, 1.0)
    return np.sort(order[np.minimum(np.searchsorted(ends, ticks, side="right"), len(order) - 1)])


@dataclass(frozen=True, slots=True)
class RequestedLabels:
    """Predictions whose labels were asked for: hashes of their identities, probabilities, and when they were drawn."""

    hashes: Hashes
    probability: Numbers
    drawn_at: Numbers  # epoch seconds

    def weights(self, hashes: Hashes, outcomes: Outcomes) -> Numbers | None:
        """What the label of each row counts beside 1; None where none of the rows was asked for and has its label.

        A row that was drawn stands for the rows that had no label when it was drawn: 1/probability of them. As far as
        labels of those have come by themselves since, they stand for themselves, and it counts less.
        """
        order = np.argsort(self.hashes)
        known = self.hashes[order]
        places = np.minimum(np.searchsorted(known, hashes), max(len(known) - 1, 0))
        asked = known[places] == hashes if len(known) else np.zeros(len(hashes), dtype=np.bool_)
        if not (asked & outcomes.labelled).any():
            return None
        which = order[places]
        drawn_at = float(self.drawn_at[which[asked]].min())
        beside = ~asked & ~(outcomes.label_at <= drawn_at)  # had no label when it was drawn
        still = float(np.mean(~outcomes.labelled[beside])) if beside.any() else 0.0
        return np.where(asked, 1.0 + (1.0 / self.probability[which] - 1.0) * still, 1.0)


@dataclass(frozen=True, slots=True)
class DrawnLabels:
    """One draw by the ids of its predictions: with which probability each was drawn, and when it was predicted."""

    drawn_at: float  # epoch seconds
    since: float
    until: float
    drawn: Mapping[str, tuple[float, float]]  # probability, epoch seconds


def labelled_weights(
    draws: Sequence[DrawnLabels], ids: Sequence[str | None], at: Numbers, label_at: Numbers
) -> Numbers:
    """What the label of each row counts, (rows,), where all of these rows have one: as `RequestedLabels.weights`.

    How many predictions had no label when a draw was made is told by the draw itself, from the first of the rows on.
    """
    weight, first = np.ones(len(at)), float(at.min(initial=np.inf))
    for draw in draws:
        probability = np.array([draw.drawn.get(name or "", (np.nan, 0.0))[0] for name in ids], dtype=np.float64)
        asked = np.isfinite(probability)
        waiting = sum(1.0 / share - 1.0 for share, predicted_at in draw.drawn.values() if predicted_at >= first)
        beside = ~asked & (at >= draw.since) & (at < draw.until) & (label_at > draw.drawn_at)
        still = max(0.0, 1.0 - float(beside.sum()) / waiting) if waiting > 0 else 0.0
        weight[asked] = 1.0 + (1.0 / probability[asked] - 1.0) * still
    return weight


def disagreement(first: Numbers, second: Numbers) -> Numbers:
    """How far two models are apart on the same rows, (rows,), with mean 1: the gain of one rests on it.

    All ones where they never differ; missing scores differ nowhere.
    """
    apart = np.nan_to_num(np.abs(first - second), nan=0.0)
    mean = float(apart.mean()) if len(apart) else 0.0
    return np.ones(len(apart)) if mean <= 0 else np.asarray(apart / mean)


def loss_spread(outcomes: Outcomes, expected_loss: Numbers | None) -> Numbers:
    """How far the loss of each row may be from what is expected of it, (rows,): what its label would tell.

    By its score where it has one, else by the mean loss that the reference had for such predictions; else all alike.
    """
    spread = np.ones(outcomes.rows) if expected_loss is None else np.nan_to_num(expected_loss, nan=0.0)
    if not outcomes.classes:
        return np.maximum(spread, 0.0)
    score = outcomes.score
    by_score = np.sqrt(np.clip(score * (1 - score), 0.0, None))
    return np.maximum(np.where(np.isfinite(score), by_score, spread), 0.0)


def share_growth(live: NDArray[np.intp], reference: NDArray[np.intp], bins: int, most: float = 5.0) -> Numbers:
    """By how much the share of each live row's bin has grown since the reference, (rows,), from 1 to `most`."""
    if len(live) == 0 or len(reference) == 0:
        return np.ones(len(live))
    now, before = (np.bincount(codes, minlength=bins) + 0.5 for codes in (live, reference))
    ratio = (now / now.sum()) / (before / before.sum())
    return np.asarray(np.clip(ratio, 1.0, most)[live])

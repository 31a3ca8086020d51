"""Rows whose labels came early are not like the others: weights that undo the selection. Pure.

A cancelled booking is known at once, a kept one after months, so of last week's bookings only the cancelled ones are
labelled: trained or judged on as they are, they teach that everybody cancels. Each row therefore counts 1 / G_y(a),
G_y the share of its class's labels that arrive by its age a (Horvitz, Thompson 1952, by class), and rows so young
that some class has less than 30 % of its labels count nothing (STATISTICS 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftd.build.dataset import Rows
from driftd_detectors.columns import Numbers

FIRST_SHARE = 0.3  # of the labels of the slowest class: younger rows are not used
MATURE_SHARE = 0.9
_LONGEST = 0.99  # quantile of the delays: rows older than that have all their labels
_FEWEST = 20  # matured rows of a class, to know its delays
_WORTH_WEIGHING = 1.05


@dataclass(frozen=True, slots=True)
class Maturity:
    """How labels arrive, learned from the rows that are old enough to have all of theirs."""

    delays: tuple[Numbers, ...]  # sorted, of each group
    edges: Numbers  # of the groups of a regression's target; empty for classes
    classes: tuple[str, ...]

    @classmethod
    def learn(cls, rows: Rows, until: float) -> Maturity:
        """Learn from labelled rows as they are known at `until`; classes without enough matured rows are pooled."""
        delay = np.nan_to_num(np.maximum(0.0, rows.label_at - rows.at))  # a label without a time was always there
        older = rows.at <= np.median(rows.at)
        longest = float(np.quantile(delay[older], _LONGEST))
        matured = rows.at <= until - longest
        if matured.sum() < _FEWEST:
            matured = older
        edges = np.empty(0) if rows.schema.classes else np.quantile(rows.target[matured], (1 / 3, 2 / 3))
        group = _groups(rows, edges)
        pooled = np.sort(delay[matured])
        count = len(rows.schema.classes) or len(edges) + 1
        own = [np.sort(delay[matured & (group == one)]) for one in range(count)]
        return cls(tuple(one if len(one) >= _FEWEST else pooled for one in own), edges, rows.schema.classes)

    def weights(self, rows: Rows, until: float) -> Numbers:
        """What each row counts: 0 for those that are too young."""
        age = until - rows.at
        known = np.stack([np.searchsorted(one, age, side="right") / len(one) for one in self.delays])
        own = known[_groups(rows, self.edges), np.arange(len(rows))]
        young = known.min(axis=0) < FIRST_SHARE
        return np.where(young, 0.0, 1.0 / np.where(young, 1.0, own))

    def age_of(self, share: float) -> float:
        """The age in seconds by which every class has this share of its labels."""
        return max(float(np.quantile(one, share)) for one in self.delays)


def worth_weighing(weights: Numbers) -> Numbers | None:
    """The weights, or None where they are all alike for every practical purpose."""
    return weights if len(weights) and weights.max() > _WORTH_WEIGHING * weights.min() else None


def _groups(rows: Rows, edges: Numbers) -> NDArray[np.intp]:
    if len(edges):
        return np.searchsorted(edges, rows.target.astype(np.float64)).astype(np.intp)
    code = {name: number for number, name in enumerate(rows.schema.classes)}
    return np.array([code.get(str(one), 0) for one in rows.target], dtype=np.intp)

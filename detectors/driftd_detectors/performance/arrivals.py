"""How labels arrive: the share of labels that are there by age, by class, learned from labelled rows (STATISTICS 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers, Outcomes

FIRST_SHARE = 0.3  # of each class's labels there when a cohort is first evaluated
LEAST_SHARE = 0.2  # below, a weight of more than five would multiply too few rows
MATURE_SHARE = 0.98
_AGES = 64
_FEWEST = 30


@dataclass(frozen=True, slots=True)
class ArrivalCurve:
    """G_y(a): the share of the labels of group y that are there at age a, of those that come at all.

    Groups are classes, for regression the thirds of the prediction, `edges` between them.
    """

    ages: Numbers  # (A,) seconds, ascending
    shares: Numbers  # (groups, A)
    edges: Numbers  # (2,) for regression, else empty

    def share(self, outcomes: Outcomes, ages: Numbers) -> Numbers:
        """G of each row at its age, (rows,), by its label (classification) or prediction. NaN without label."""
        group = self._groups(outcomes)
        known = np.array([np.interp(ages, self.ages, row, left=0.0) for row in self.shares])
        picked = known[np.clip(group, 0, len(known) - 1), np.arange(outcomes.rows)]
        return np.where(group >= 0, picked, known.mean(axis=0))

    def expected(self, ages: Numbers) -> float:
        """The share of a cohort's labels that is there, when rows have these ages and the classes occur alike."""
        return float(np.mean([np.interp(ages, self.ages, row, left=0.0).mean() for row in self.shares]))

    def least(self, age: float) -> float:
        """Min over y of G_y(age)."""
        return float(min(np.interp(age, self.ages, row, left=0.0) for row in self.shares))

    def age_of(self, share: float) -> float:
        """The smallest age at which every group has `share` of its labels."""
        lowest = self.shares.min(axis=0)
        reached = np.flatnonzero(lowest >= share)
        if len(reached) == 0:
            return float(self.ages[-1])
        at = int(reached[0])
        if at == 0:
            return float(self.ages[0])
        part = (share - lowest[at - 1]) / max(1e-12, lowest[at] - lowest[at - 1])
        return float(self.ages[at - 1] + part * (self.ages[at] - self.ages[at - 1]))

    def _groups(self, outcomes: Outcomes) -> NDArray[np.intp]:
        if len(self.edges):
            return np.searchsorted(self.edges, outcomes.prediction).astype(np.intp)
        return np.where(outcomes.labelled, np.maximum(outcomes.label, -1), -1).astype(np.intp)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that `from_dict` reads back."""
        return {"ages": self.ages.tolist(), "shares": self.shares.tolist(), "edges": self.edges.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ArrivalCurve:
        """Read what `to_dict` wrote."""
        return cls(np.array(stored["ages"]), np.array(stored["shares"]), np.array(stored["edges"]))


def learn_arrivals(outcomes: Outcomes) -> ArrivalCurve | None:
    """The curve of matured rows; None when fewer than 30 labels tell when they came.

    A class with fewer than 30 labels shares the curve of all.
    """
    known = outcomes.labelled
    delay = np.maximum(0.0, (outcomes.label_at - outcomes.at)[known])
    if len(delay) < _FEWEST:
        return None
    ages = np.unique(np.quantile(delay, np.linspace(0, 1, _AGES)))
    ages = np.concatenate([[max(0.0, float(ages[0]))], ages[1:]])
    if outcomes.classes:
        edges, groups, count = np.empty(0), outcomes.label[known], len(outcomes.classes)
    else:
        edges = np.nanquantile(outcomes.prediction, [1 / 3, 2 / 3])
        groups, count = np.searchsorted(edges, outcomes.prediction[known]).astype(np.float64), 3
    shares = [_curve(delay[groups == group], delay, ages) for group in range(count)]
    return ArrivalCurve(ages, np.array(shares), edges)


def _curve(delay: Numbers, of_all: Numbers, ages: Numbers) -> Numbers:
    used = np.sort(delay if len(delay) >= _FEWEST else of_all)
    return np.asarray(np.searchsorted(used, ages, side="right") / len(used))

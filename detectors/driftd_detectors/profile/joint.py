"""Joint second moments of normal scores: which features move together, as mergeable sums over rows.

A row's value in a feature is replaced by the normal score of its bin (van der Waerden, 1952): Phi^-1 of the bin's
mid-rank in the reference, standardised; missing counts as the mean. Scores are multiples of 2^-10, so that sums of
products are exact in float64 and merging them is exactly associative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from driftd_detectors.columns import Column, Numbers
from driftd_detectors.profile.column_layout import ColumnLayout
from driftd_detectors.profile.counting import locate
from driftd_detectors.profile.layout import Layout

_STEP = 2.0**-10
_CHUNK = 16_384
_SIDES = 1e-4  # the mid-rank of a bin that was empty in the reference is at least so far from 0 and 1


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """Sums of normal scores and of their products, over the rows in which all watched features were delivered."""

    rows: int
    sums: Numbers  # (features,)
    products: Numbers  # (features, features), symmetric


def no_joint(features: int) -> Joint:
    """The sums of no rows."""
    return Joint(0, np.zeros(features), np.zeros((features, features)))


def merge_joint(a: Joint, b: Joint) -> Joint:
    """The sums over the rows of both."""
    return Joint(a.rows + b.rows, a.sums + b.sums, a.products + b.products)


def joint_of(values: Mapping[int, Column], rows: int, layout: Layout) -> Joint:
    """Sum over the rows of one chunk; nothing when one of the watched features is absent."""
    watched = layout.joint
    if rows == 0 or len(watched) < 2 or any(index not in values for index in watched):  # noqa: PLR2004
        return no_joint(len(watched))
    tables = [normal_scores(layout.features[index]) for index in watched]
    sums, products = np.zeros(len(watched)), np.zeros((len(watched), len(watched)))
    scores = np.empty((len(watched), min(rows, _CHUNK)))
    for first in range(0, rows, _CHUNK):
        last = min(rows, first + _CHUNK)
        chunk = scores[:, : last - first]
        for row, index, table in zip(chunk, watched, tables, strict=True):
            np.take(table, locate(values[index], layout.features[index], first, last), out=row, mode="clip")
        sums += chunk.sum(axis=1)
        products += chunk @ chunk.T
    return Joint(rows, sums, products)


@lru_cache(maxsize=4096)
def normal_scores(column: ColumnLayout) -> Numbers:
    """The normal score of each bin of a column; shape (column.bins,), 0 for bins without a rank."""
    counts = np.array(column.counts, dtype=np.float64)
    ranked = ranked_bins(column)
    shares = np.where(ranked, counts, 0.0)
    total = shares.sum()
    if total == 0:
        return np.zeros(len(counts))
    shares /= total
    middle = np.clip(np.cumsum(shares) - shares / 2, _SIDES, 1 - _SIDES)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(float(rank)) for rank in middle])
    scores -= shares @ scores
    spread = float(np.sqrt(shares @ scores**2))
    if spread == 0:
        return np.zeros(len(counts))
    rounded: Numbers = np.where(ranked, np.round(scores / spread / _STEP) * _STEP, 0.0)
    return rounded


def ranked_bins(column: ColumnLayout) -> np.typing.NDArray[np.bool_]:
    """Which bins have a place in the column's order: all but missing, and of labels only the known ones."""
    ranked = np.ones(column.bins, dtype=np.bool_)
    ranked[len(column.labels) if not column.numeric else -1 :] = False
    return ranked

"""A window and a reference on one layout, laid side by side for every score, vectorised over all columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Numbers
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.column_layout import ColumnLayout, Scale
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Joint, Profile, ranked_bins

EXPECTED = 5.0  # rows that a pooled bin must expect (Cochran, 1954)
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Bins:
    """Which column each bin of the flat vector belongs to, and which bins have a rank in their column."""

    starts: Places  # (columns,)
    owner: Places  # (bins,)
    ranked: NDArray[np.bool_]  # (bins,)

    def sums(self, flat: Numbers) -> Numbers:
        """The sum over the bins of each column; shape (columns,)."""
        return np.add.reduceat(flat, self.starts) if len(self.starts) else np.zeros(0)


@dataclass(frozen=True, eq=False)
class OddBins:
    """The bins of missing values, and those of values that the reference never held; and how usual the latter are."""

    missing: Places  # (columns,), places in the flat vector
    outside: NDArray[np.bool_]  # (bins,)
    usual: Numbers  # (columns,): the share of present values outside, to be expected without drift


@dataclass(frozen=True, eq=False)
class Pooling:
    """Bins put together until each group expects enough rows: the group of each bin, and the groups as bins."""

    group: Places  # (bins,)
    groups: Bins
    count: NDArray[np.intp]  # (columns,): groups of each column

    def pool(self, flat: Numbers) -> Numbers:
        """The counts of the groups."""
        sums: Numbers = np.bincount(self.group, weights=flat, minlength=len(self.groups.owner)).astype(np.float64)
        return sums


@dataclass(frozen=True, eq=False)
class Comparison:
    """Counts of a window and of a reference on the bins of one layout."""

    layout: Layout
    window: Numbers  # (bins,)
    reference: Numbers  # (bins,), without the window where that was part of it
    whole: Numbers  # (bins,): the reference with all its windows; what bins mean is taken from it
    window_joint: Joint
    reference_joint: Joint
    delivered: tuple[int, int] = (0, 0)  # rows of window and reference, also those without the column

    @property
    def bins(self) -> Bins:
        """The structure of the flat vector."""
        return bins_of_layout(self.layout)

    @cached_property
    def rows(self) -> tuple[Numbers, Numbers]:
        """The rows of window and reference in each column, missing ones included; (columns,) each."""
        return self.bins.sums(self.window), self.bins.sums(self.reference)

    @cached_property
    def ranked_rows(self) -> tuple[Numbers, Numbers]:
        """The rows of window and reference in each column that have a rank; (columns,) each."""
        ranked = self.bins.ranked
        return self.bins.sums(self.window * ranked), self.bins.sums(self.reference * ranked)

    @cached_property
    def pooling(self) -> Pooling:
        """The pooling for the smaller of window and reference."""
        window, reference = self.rows
        rows = min(window.max(initial=0.0), reference.max(initial=0.0))
        return pooling_of(self.layout, int(2 * np.log2(rows)) if rows >= 1 else 0)


def compare(window: Profile, reference: Profile, layout: Layout, *, leave_out: bool = False) -> Comparison:
    """Lay two Profiles side by side; with `leave_out` the window is part of the reference, and is taken out of it.

    Raises ValueError when one of the Profiles was made on another layout.
    """
    for name, profile in (("window", window), ("reference", reference)):
        if profile.layout != layout.fingerprint:
            raise DetectorError(
                f"the {name} was profiled on layout {profile.layout}, not on {layout.fingerprint}; profile it again"
            )
    own, whole = window.counts.astype(np.float64), reference.counts.astype(np.float64)
    theirs, joint, rows = whole, reference.joint, reference.rows
    if leave_out:
        rows = max(0, rows - window.rows)
        theirs = np.maximum(whole - own, 0.0)
        joint = Joint(
            max(0, joint.rows - window.joint.rows),
            joint.sums - window.joint.sums,
            joint.products - window.joint.products,
        )
    return Comparison(layout, own, theirs, whole, window.joint, joint, (window.rows, rows))


@lru_cache(maxsize=64)
def bins_of_layout(layout: Layout) -> Bins:
    """The structure of a layout's flat vector."""
    sizes = [column.bins for column in layout.columns]
    ranked = [
        ranked_bins(column) if column.scale in {Scale.ORDERED, Scale.BINARY} else np.zeros(column.bins, dtype=np.bool_)
        for column in layout.columns
    ]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return Bins(layout.starts[:-1], owner, np.concatenate(ranked) if ranked else np.zeros(0, dtype=np.bool_))


@lru_cache(maxsize=64)
def odd_bins(layout: Layout) -> OddBins:
    """The bins of a layout for what is missing and for what the reference never held.

    Of labels that is `new`; of numbers all that lies below, above or in a gap between the reference's values, and what
    is infinite. Of m rows of the same kind a new one is the lowest or highest with probability 2 / (m + 1); a label is
    new as often as Good (1953) says (`ColumnLayout.unseen`).
    """
    parts, usual = [], []
    for column in layout.columns:
        counts = np.array(column.counts)
        outside = np.zeros(column.bins, dtype=np.bool_)
        if column.numeric:
            outside = counts == 0
            outside[[0, -2]] = True
            outside[-1] = False
        else:
            outside[-2] = True
        present = int(counts[:-1].sum())
        expected = int(counts[outside].sum()) + 2 if column.numeric else column.unseen * (present + 1)
        parts.append(outside)
        usual.append(min(1.0, expected / (present + 1)))
    every = np.concatenate(parts) if parts else np.zeros(0, dtype=np.bool_)
    return OddBins(layout.starts[1:] - 1, every, np.array(usual))


@lru_cache(maxsize=256)
def pooling_of(layout: Layout, level: int) -> Pooling:
    """Bins put together until each expects five of 2^(level/2) rows, by the shares of the layout's own reference."""
    rows = 2.0 ** (level / 2)
    groups, counts, ranked, first = [], [], [], 0
    for column in layout.columns:
        own = _pool(column, rows)
        groups.append(own + first)
        count = int(own.max()) + 1
        counts.append(count)
        ranks = np.zeros(count, dtype=np.bool_)
        if column.scale in {Scale.ORDERED, Scale.BINARY}:
            ranks[own[ranked_bins(column)]] = True
        ranked.append(ranks)
        first += count
    count_of = np.array(counts, dtype=np.intp)
    starts = np.cumsum(count_of) - count_of
    owner = np.repeat(np.arange(len(counts)), count_of)
    joined = np.concatenate(groups) if groups else np.zeros(0, dtype=np.intp)
    every = np.concatenate(ranked) if ranked else np.zeros(0, dtype=np.bool_)
    return Pooling(joined, Bins(starts, owner, every), count_of)


def _pool(column: ColumnLayout, rows: float) -> Places:
    """The group of each bin of one column: neighbours are put together, missing stays alone where it can.

    New labels always go with the other rare ones: how many are new depends on how much of the reference was seen.
    """
    counts = np.array(column.counts, dtype=np.float64)
    expected = counts * (rows / max(1.0, counts.sum()))
    last = column.bins - 1  # missing
    groups = np.zeros(column.bins, dtype=np.intp)
    group, held = 0, 0.0
    for bin_ in range(last):
        groups[bin_] = group
        held += expected[bin_]
        before_new = not column.numeric and bin_ == last - 2
        if held >= EXPECTED and not before_new:
            group, held = group + 1, 0.0
    if held < EXPECTED and group > 0:  # what is left over joins the group before it
        groups[groups == group] = group - 1
        group -= 1
    groups[last] = group + (expected[last] >= EXPECTED and bool(expected[:last].sum() >= EXPECTED))
    return groups

"""What changed in a window, in the reader's units: shares of categories and ranges, means, missing and new values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import Assessment, Change, EvidenceKind, KindAssessment, Measure, Verdict, summary_of
from driftd_detectors.evidence.change_sentences import describe_changes, format_number
from driftd_detectors.profile.column_layout import ColumnLayout
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile
from driftd_detectors.schema import Kind
from driftd_detectors.scores.comparison import odd_bins

NOTABLE = 0.05  # the difference of a share from which the page marks a value, and a calm window is told to differ
MOST_TOLD = 3  # columns of one alarm
_RANGES = 6  # into which the numbers of a column are put together, to be told
_OF_CHANGES = frozenset({EvidenceKind.DATA, EvidenceKind.PREDICTION})


@dataclass(frozen=True, slots=True)
class ComparedColumn:
    """One column of some windows beside the reference."""

    column: ColumnLayout
    before: NDArray[np.int64]  # (column.bins,): counts of the reference
    now: NDArray[np.int64]
    means: tuple[float, float]  # of finite values, before and now
    spreads: tuple[float, float]
    new: NDArray[np.bool_]  # (column.bins,): the bins that the reference never held
    windows: int

    def change(self, measure: Measure, before: float, now: float, value: str = "") -> Change:
        """A change of this column."""
        is_time = self.column.kind is Kind.TIMESTAMP and measure in (Measure.MEAN, Measure.SPREAD)
        rows = int(self.now.sum())
        return Change(self.column.name, measure, before, now, value, is_time, self.windows, rows)

    def by_component(self, component: str) -> Change | None:
        """The change that a stream of this component has followed; None where neither side has a value."""
        makers: Mapping[str, Callable[[], Change | None]] = {
            "missing": self.missing_share,
            "outside": self.new_share,
            "location": self.mean,
            "spread": self.spread,
        }
        return makers.get(component, self.share)()

    def missing_share(self) -> Change | None:
        """Rows without a value."""
        totals = self.before.sum(), self.now.sum()
        if min(totals) == 0:
            return None
        return self.change(Measure.MISSING, self.before[-1] / totals[0], self.now[-1] / totals[1])

    def new_share(self) -> Change | None:
        """Values that the reference never held."""
        totals = self.before[:-1].sum(), self.now[:-1].sum()
        if min(totals) == 0:
            return None
        before, now = (counts[self.new].sum() / total for counts, total in zip(self._sides, totals, strict=True))
        return self.change(Measure.NEW, float(before), float(now))

    def mean(self) -> Change | None:
        """The mean of numbers; of labels the share that changed most."""
        if not self.column.numeric:
            return self.share()
        return self.change(Measure.MEAN, *self.means) if np.isfinite(self.means).all() else None

    def spread(self) -> Change | None:
        """The standard deviation of numbers."""
        if not self.column.numeric:
            return self.share()
        return self.change(Measure.SPREAD, *self.spreads) if np.isfinite(self.spreads).all() else None

    def share(self) -> Change | None:
        """The category, or the range of numbers, whose share of the rows with a value changed most."""
        totals = self.before[:-1].sum(), self.now[:-1].sum()
        if min(totals) == 0:
            return None
        groups = _told_groups(self.column)
        if not groups:
            return None
        sides = [
            [int(counts[places].sum()) / int(total) for _, places in groups]
            for counts, total in zip(self._sides, totals, strict=True)
        ]
        moved = np.array(sides[1]) - np.array(sides[0])
        most = int(np.argmax(np.round(np.abs(moved), 9) + np.where(moved > 0, 1e-9, 0.0)))  # of two, the one that grew
        return self.change(Measure.SHARE, sides[0][most], sides[1][most], groups[most][0])

    def largest(self) -> Change | None:
        """The change of any share that is largest: a category, a range, missing or new values."""
        found = [change for change in (self.share(), self.missing_share(), self.new_share()) if change is not None]
        return max(found, key=lambda change: abs(change.now - change.before), default=None)

    @property
    def _sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.before, self.now


def compare_column(
    reference: Profile, recent: Profile, layout: Layout, name: str, *, is_given: bool, windows: int = 1
) -> ComparedColumn | None:
    """A column of recent windows beside the reference, all on this layout; None for a subject that is no column.

    `is_given` says whether it is what the model gave out; a feature may have the same name.
    """
    first = len(layout.features)
    places = range(first, len(layout.columns)) if is_given else range(first)
    at = next((place for place in places if layout.columns[place].name == name), None)
    if at is None:
        return None
    bins = slice(layout.starts[at], layout.starts[at + 1])
    sides = reference, recent
    finite = [int(side.moments.finite[at]) for side in sides]
    # Nine digits: the last bits of a moment are those of the order in which parts of a window were merged.
    means = [
        float(f"{side.moments.mean[at]:.9g}") if count else np.nan for side, count in zip(sides, finite, strict=True)
    ]
    spreads = [
        float(f"{np.sqrt(side.moments.squares[at] / count):.9g}") if count else np.nan
        for side, count in zip(sides, finite, strict=True)
    ]
    return ComparedColumn(
        layout.columns[at],
        reference.counts[bins],
        recent.counts[bins],
        (means[0], means[1]),
        (spreads[0], spreads[1]),
        odd_bins(layout).outside[bins],
        windows,
    )


def with_changes(
    assessment: Assessment, reference: Profile, recent: Profile, layout: Layout, *, windows: int = 1
) -> Assessment:
    """The assessment of a window with what changed, in the reader's units, as its sentences.

    `recent` is the window, or all `windows` since a change. A kind without an alarm and without evidence of one tells
    nothing; the assessment then names the largest difference of a feature, which a chart shows too.
    """
    kinds = tuple(_with_changes(kind, reference, recent, layout, windows) for kind in assessment.kinds)
    verdict, sentence = summary_of(kinds) if kinds else (assessment.verdict, assessment.sentence)
    if verdict is Verdict.OK:
        sentence = _describe_calm(largest_change(reference, recent, layout))
    return replace(assessment, verdict=verdict, sentence=sentence, kinds=kinds)


def largest_change(reference: Profile, recent: Profile, layout: Layout) -> Change | None:
    """The largest difference of a share in any feature."""
    grouping, bins = _share_groups(layout), layout.starts[len(layout.features)]
    if not len(grouping.column):
        return None
    sides = [_shares(profile.counts[:bins], grouping) for profile in (reference, recent)]
    moved = np.abs(sides[1] - sides[0])
    if not np.isfinite(moved).any():
        return None
    name = layout.features[grouping.column[int(np.nanargmax(np.round(moved, 9)))]].name
    column = compare_column(reference, recent, layout, name, is_given=False)
    return None if column is None else column.largest()


@dataclass(frozen=True, slots=True, eq=False)
class _ShareGroups:
    """Every share of the features that can be told, as groups of bins; a bin may be in two: its own and `new`."""

    bins: NDArray[np.intp]  # (pairs,): of the flat vector
    groups: NDArray[np.intp]  # (pairs,): the group that the bin counts in
    column: NDArray[np.intp]  # (groups,)
    total: NDArray[np.intp]  # (groups,): the group whose count is the whole: present values, or all rows


@lru_cache(maxsize=64)
def _share_groups(layout: Layout) -> _ShareGroups:
    odd = odd_bins(layout).outside
    pairs: list[tuple[int, int]] = []
    columns: list[int] = []
    totals: list[int] = []
    for at, column in enumerate(layout.features):
        first, last = int(layout.starts[at]), int(layout.starts[at + 1]) - 1
        present, every = list(range(first, last)), list(range(first, last + 1))
        named = [[first + place for place in places] for _, places in _told_groups(column)]
        new = [place for place in present if odd[place]]
        whole = len(columns)
        for number, (places, total) in enumerate(
            [(present, whole), (every, whole + 1), ([last], whole + 1), (new, whole), *((own, whole) for own in named)]
        ):
            pairs += [(place, whole + number) for place in places]
            columns.append(at)
            totals.append(total)
    table = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return _ShareGroups(table[:, 0], table[:, 1], np.array(columns, dtype=np.intp), np.array(totals, dtype=np.intp))


def _shares(counts: NDArray[np.int64], grouping: _ShareGroups) -> NDArray[np.float64]:
    """The share of each group; NaN where its column has no rows."""
    sums = np.bincount(grouping.groups, weights=counts[grouping.bins], minlength=len(grouping.column))
    wholes = sums[grouping.total]
    shares: NDArray[np.float64] = np.divide(sums, wholes, out=np.full(len(sums), np.nan), where=wholes > 0)
    return shares


def _describe_calm(change: Change | None) -> str:
    if change is None or abs(change.now - change.before) < NOTABLE:
        return "No alarm: no share of any feature's values differs by more than 5 points from the reference."
    said = describe_changes((change,), None).rstrip(".")
    return f"No alarm: the evidence does not suffice for one. The largest difference in this window: {said}."


def _with_changes(
    kind: KindAssessment, reference: Profile, recent: Profile, layout: Layout, windows: int
) -> KindAssessment:
    if kind.kind not in _OF_CHANGES or kind.verdict not in (Verdict.DRIFT, Verdict.SUSPECTED):
        return kind
    is_given, found = kind.kind is EvidenceKind.PREDICTION, []
    for subject, component in kind.streams:
        column = compare_column(reference, recent, layout, subject, is_given=is_given, windows=windows)
        change = None if column is None else column.by_component(component)
        found += [] if change is None else [change]
    named = tuple(found[:MOST_TOLD])
    if not named:
        return kind
    is_joint = kind.streams[0][0] != named[0].subject  # the evidence is of several columns together
    said = describe_changes(named, kind.change_start, also=is_joint)
    parts = [kind.sentence if is_joint else "", said, kind.note]
    return replace(kind, changes=named, sentence=" ".join(part for part in parts if part))


def _told_groups(column: ColumnLayout) -> list[tuple[str, list[int]]]:
    """The categories or the ranges of a column with their bins."""
    return _ranges(column) if column.numeric else _labels(column)


def _labels(column: ColumnLayout) -> list[tuple[str, list[int]]]:
    """The categories of a column with their bins."""
    named = [(label, [at]) for at, label in enumerate(column.labels)]
    return [*named, *([("other rare values", [len(column.labels)])] if column.rare else [])]


def _ranges(column: ColumnLayout) -> list[tuple[str, list[int]]]:
    """The numbers of a column in a few ranges of about as many reference rows each, with their bins."""
    counts = np.array(column.counts[3:-4], dtype=np.float64)
    if not len(counts) or counts.sum() == 0:
        return []
    if column.has_levels and int(np.count_nonzero(counts)) <= 2 * _RANGES:
        return [(f"equal to {format_number(column.edges[at])}", [int(at) + 3]) for at in np.flatnonzero(counts)]
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    group = np.minimum((middle * _RANGES).astype(int), _RANGES - 1)
    found = []
    for number in np.unique(group):
        places = np.flatnonzero(group == number)
        low, high = column.edges[places[0]], column.edges[places[-1] + 1]
        found.append((f"between {format_number(low)} and {format_number(high)}", [int(at) + 3 for at in places]))
    return found

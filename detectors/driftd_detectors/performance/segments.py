"""Segments: groups of rows whose losses are learned on the reference, declared by column or found by a shallow tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Column, Columns, Numbers, Outcomes
from driftd_detectors.performance.loss_reference import LossReference, learn_losses, take_outcomes
from driftd_detectors.performance.losses import losses
from driftd_detectors.schema import Kind, Schema
from driftd_detectors.serialization import JsonObject

Mask = NDArray[np.bool_]

FEWEST_ROWS = 200  # labelled, of a segment on the reference
LARGEST = 10  # categories of a declared column
BINS = 5  # of a declared column of numbers
MOST = 30  # declared segments; the largest are kept
LEAVES = 5  # of the tree
_DEPTH = 3
_CUTS = 15  # that are tried of each column of numbers
_MOST_CATEGORIES = 50  # of a column that the tree looks at
_MOST_ROWS = 20_000  # that the tree grows on
_SURE = 4.0  # standard errors that the losses of two leaves differ by; about 20 columns with 15 cuts each are tried


@dataclass(frozen=True, slots=True)
class Condition:
    """What a segment says of one column: its category is one of these, or its number is in `low <= x < high`."""

    column: str
    categories: tuple[str, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    with_missing: bool = False  # rows without a value belong to it too

    def holds(self, column: Column) -> Mask:
        """For which rows it holds."""
        if isinstance(column, Coded):
            wanted = [*(label in self.categories for label in column.labels), self.with_missing]
            return np.asarray(np.array(wanted, dtype=np.bool_)[column.codes])
        if self.categories:  # the column has become one of numbers
            return np.zeros(len(column), dtype=np.bool_)
        inside = (column >= self.low) & (column < self.high)
        return inside | np.isnan(column) if self.with_missing else inside

    @property
    def name(self) -> str:
        """As people read it: `region = south`, `price from 10 to 20`."""
        if self.categories:
            some = " or ".join(self.categories[:3])
            more = f" or {len(self.categories) - 3} more" if len(self.categories) > 3 else ""  # noqa: PLR2004
            return f"{self.column} = {some}{more}"
        if np.isinf(self.low) and np.isinf(self.high):
            return f"{self.column} missing"
        if np.isinf(self.low):
            return f"{self.column} below {self.high:.4g}"
        return f"{self.column} from {self.low:.4g}" + ("" if np.isinf(self.high) else f" to {self.high:.4g}")

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        ends = {"low": None if np.isinf(self.low) else self.low, "high": None if np.isinf(self.high) else self.high}
        return {"column": self.column, "categories": list(self.categories), **ends, "with_missing": self.with_missing}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Condition:
        """Read what `to_dict` wrote."""
        low, high = stored["low"], stored["high"]
        return cls(
            stored["column"],
            tuple(stored["categories"]),
            -np.inf if low is None else low,
            np.inf if high is None else high,
            stored["with_missing"],
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows for which all conditions hold, and their losses on the reference by metric."""

    conditions: tuple[Condition, ...]
    losses: Mapping[str, LossReference]
    share: float  # of the reference's rows
    found: bool  # by the tree, not declared

    @property
    def name(self) -> str:
        """As people read it."""
        return " and ".join(condition.name for condition in self.conditions)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it asks for."""
        return tuple(dict.fromkeys(condition.column for condition in self.conditions))

    def holds(self, columns: Columns) -> Mask:
        """Which rows belong to it; none where a column is not there."""
        if not all(name in columns.values for name in self.columns):
            return np.zeros(columns.rows, dtype=np.bool_)
        return _all_hold(self.conditions, columns)

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        return {
            "conditions": [condition.to_dict() for condition in self.conditions],
            "losses": {metric: loss.to_dict() for metric, loss in self.losses.items()},
            "share": self.share,
            "found": self.found,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Segment:
        """Read what `to_dict` wrote."""
        return cls(
            tuple(Condition.from_dict(condition) for condition in stored["conditions"]),
            {metric: LossReference.from_dict(loss) for metric, loss in stored["losses"].items()},
            stored["share"],
            stored["found"],
        )


def learn_segments(
    columns: Columns,
    outcomes: Outcomes,
    schema: Schema,
    *,
    starts: Numbers,
    loss: str,
    metrics: Sequence[str],
    declared: Sequence[str],
) -> tuple[Segment, ...]:
    """The declared segments and those that a shallow tree finds, each with the losses of its labelled rows.

    Parameters
    ----------
    columns, outcomes, starts
        The reference rows, what the version said of them, and the window of each.
    loss, metrics
        The mean over rows that the tree looks at, and the metrics whose losses each segment learns.
    declared
        Columns whose largest categories, or five bins of as many rows, are segments.

    Notes
    -----
    The tree (Breiman et al. 1984) grows on every second row and its leaves' losses are those of the other rows: on the
    rows that chose it the worst leaf looks worse than it is, and the best better (Athey, Imbens 2016), which a level
    that is promised must not.
    """
    known = np.flatnonzero(outcomes.labelled)
    if len(known) < 2 * FEWEST_ROWS:
        return ()

    def learn(conditions: tuple[Condition, ...], rows: NDArray[np.intp], *, found: bool) -> Segment | None:
        inside = _all_hold(conditions, columns)
        own = rows[inside[rows]]
        if len(own) < FEWEST_ROWS or len(own) == len(rows):
            return None
        some, own_starts = take_outcomes(outcomes, own), starts[own]
        learned = {metric: learn_losses(metric, some, own_starts) for metric in dict.fromkeys((loss, *metrics))}
        usable = {metric: reference for metric, reference in learned.items() if reference is not None}
        return Segment(conditions, usable, float(inside.mean()), found) if usable else None

    named = [
        learn((condition,), known, found=False)
        for name in declared
        if name in columns.values
        for condition in _declared(name, columns.values[name], known)
    ]
    largest = sorted((segment for segment in named if segment is not None), key=lambda segment: -segment.share)[:MOST]
    row_losses = losses(loss, schema.task, outcomes)
    leaves = find_leaves(columns, row_losses, known[::2], schema)
    found = [learn(leaf, known[1::2], found=True) for leaf in leaves]
    return (*largest, *(segment for segment in found if segment is not None))


def chosen_segments(segments: Sequence[Segment], columns: Sequence[str] | None) -> tuple[Segment, ...]:
    """Those of some declared columns; without a choice (None) those that the tree found."""
    if columns is None:
        return tuple(segment for segment in segments if segment.found)
    return tuple(segment for segment in segments if not segment.found and set(segment.columns) <= set(columns))


def segment_columns(segments: Sequence[Segment]) -> tuple[str, ...]:
    """The columns that segments ask for."""
    return tuple(dict.fromkeys(name for segment in segments for name in segment.columns))


def _all_hold(conditions: Sequence[Condition], columns: Columns) -> Mask:
    masks = [condition.holds(columns.values[condition.column]) for condition in conditions]
    return np.asarray(np.logical_and.reduce(masks))


def _declared(name: str, column: Column, known: NDArray[np.intp]) -> Iterator[Condition]:
    if isinstance(column, Coded):
        codes = column.codes[known]
        counts = np.bincount(codes[codes >= 0], minlength=len(column.labels))
        for code in np.argsort(-counts, kind="stable")[:LARGEST]:
            yield Condition(name, (column.labels[code],))
        return
    values = column[known]
    finite = values[np.isfinite(values)]
    edges = np.unique(np.quantile(finite, np.arange(1, BINS) / BINS)).tolist() if len(finite) else []
    yield from (Condition(name, low=low, high=high) for low, high in pairwise([-np.inf, *edges, np.inf]))


@dataclass(frozen=True, slots=True)
class _Leaf:
    conditions: tuple[Condition, ...]
    rows: NDArray[np.intp]
    depth: int


@dataclass(frozen=True, slots=True)
class _Split:
    gain: float  # of the sum of squares
    sides: tuple[Condition, Condition]


def find_leaves(
    columns: Columns, loss: Numbers, rows: NDArray[np.intp], schema: Schema
) -> tuple[tuple[Condition, ...], ...]:
    """The conditions of the leaves of a shallow tree on the losses of some rows; none where nothing tells them apart.

    The leaf whose best split explains most is split next, up to five leaves at depth three.
    """
    usable = rows[np.isfinite(loss[rows])]
    usable = usable[np.unique(np.linspace(0, max(0, len(usable) - 1), min(len(usable), _MOST_ROWS)).astype(np.intp))]
    names = [
        feature.name
        for feature in schema.features
        if feature.kind is not Kind.TIMESTAMP and feature.name in columns.values
    ]
    leaves = {0: _Leaf((), usable, 0)}
    splits = {0: _best_split(leaves[0], columns, loss, names)}
    while len(leaves) < LEAVES and any(split is not None for split in splits.values()):
        number = max(splits, key=lambda number: _gain(splits[number]))
        split, leaf = splits.pop(number), leaves.pop(number)
        assert split is not None  # some split has a gain, and this one has the largest
        for side in split.sides:
            inside = leaf.rows[side.holds(columns.values[side.column])[leaf.rows]]
            new = max([number, *leaves, *splits]) + 1
            leaves[new] = _Leaf(_narrow(leaf.conditions, side), inside, leaf.depth + 1)
            splits[new] = _best_split(leaves[new], columns, loss, names)
    return tuple(leaf.conditions for leaf in leaves.values() if leaf.conditions)


def _gain(split: _Split | None) -> float:
    return -1.0 if split is None else split.gain


def _narrow(conditions: tuple[Condition, ...], side: Condition) -> tuple[Condition, ...]:
    """The conditions with one more; two of one column are one."""
    for place, before in enumerate(conditions):
        if before.column == side.column:
            both = replace(
                side,
                low=max(before.low, side.low),
                high=min(before.high, side.high),
                categories=tuple(name for name in side.categories if name in before.categories),
                with_missing=before.with_missing and side.with_missing,
            )
            return (*conditions[:place], both, *conditions[place + 1 :])
    return (*conditions, side)


def _best_split(leaf: _Leaf, columns: Columns, loss: Numbers, names: Sequence[str]) -> _Split | None:
    if leaf.depth == _DEPTH or len(leaf.rows) < 2 * FEWEST_ROWS:
        return None
    found = [split for name in names for split in _splits(name, columns.values[name], leaf.rows, loss[leaf.rows])]
    return max(found, key=_gain, default=None)


def _splits(name: str, column: Column, rows: NDArray[np.intp], loss: Numbers) -> Iterator[_Split]:
    """The splits of one column that tell losses apart: cuts of numbers, or of categories in the order of their loss."""
    if isinstance(column, Coded):
        if len(column.labels) > _MOST_CATEGORIES:
            return
        codes = np.where(column.codes[rows] < 0, len(column.labels), column.codes[rows])
        sizes = np.bincount(codes, minlength=len(column.labels) + 1)
        means = np.bincount(codes, weights=loss, minlength=len(sizes)) / np.maximum(sizes, 1)
        order = np.argsort(means, kind="stable")
        order = order[sizes[order] > 0]
        places = np.empty(len(sizes), dtype=np.intp)
        places[order] = np.arange(len(order))
        for cut in range(1, len(order)):
            low, high = (tuple(int(code) for code in part) for part in (order[:cut], order[cut:]))
            sides = tuple(_of_categories(name, column.labels, part) for part in (low, high))
            yield from _weigh(places[codes] < cut, loss, (sides[0], sides[1]))
        return
    values = column[rows]
    finite = values[np.isfinite(values)]
    cuts = np.unique(np.quantile(finite, np.arange(1, _CUTS + 1) / (_CUTS + 1))) if len(finite) else np.empty(0)
    for cut in cuts.tolist():
        below, above = Condition(name, high=cut), Condition(name, low=cut, with_missing=True)
        yield from _weigh(values < cut, loss, (below, above))


def _of_categories(name: str, labels: tuple[str, ...], codes: tuple[int, ...]) -> Condition:
    own = tuple(sorted(labels[code] for code in codes if code < len(labels)))
    return Condition(name, own, with_missing=len(labels) in codes)


def _weigh(first: Mask, loss: Numbers, sides: tuple[Condition, Condition]) -> Iterator[_Split]:
    left, right = loss[first], loss[~first]
    if min(len(left), len(right)) < FEWEST_ROWS:
        return
    apart = float(left.mean() - right.mean())
    error = float(np.sqrt(left.var() / len(left) + right.var() / len(right)))
    if abs(apart) > _SURE * error:
        yield _Split(len(left) * len(right) / len(loss) * apart**2, sides)

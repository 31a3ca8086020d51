"""What a window's Profile says against a reference: one number a stream, in arrays aligned with `streams_of`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import EvidenceKind, Fault
from driftd_detectors.columns import Numbers
from driftd_detectors.profile.column_layout import ColumnLayout, Scale
from driftd_detectors.profile.layout import Layout, is_empty
from driftd_detectors.profile.profile import Profile
from driftd_detectors.scores.comparison import Comparison, compare
from driftd_detectors.scores.components import (
    chi_square_rest,
    correlation_scores,
    global_score,
    location_spread,
    missing_change,
    outside_change,
)

FEWEST_ROWS = 30  # of a column in a window, and in the reference: below, nothing is said
_GLOBAL, _JOINT = 0.1, 0.1  # shares of the evidence; features have the rest between them
_COUNTED_SHARE = 0.01  # a reference bin with less hardly ever survives pooling
LINEAR = frozenset({"location", "spread", "proportion"})  # in the window's shares
OF_ALL = frozenset({"global", "largest", "together"})  # of many columns at once
SHARES = frozenset({"missing", "outside"})  # the components that are shares of rows
_ODD = 0.075  # share of a column's evidence that each of them has; a constant column has no other


@dataclass(frozen=True, slots=True)
class Stream:
    """One number per window that evidence is gathered on.

    `subject` is a feature, "prediction", "score", "all features" or "joint"; `component` is location, spread, rest,
    proportion, chi_square, missing, outside, global, largest or together. The weights of the streams of one kind sum to
    one, features counting alike, constant ones for less: who knows importance multiplies by it.
    """

    kind: EvidenceKind
    subject: str
    component: str
    two_sided: bool  # a change in either direction counts; else only upwards
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """Arrays aligned with `streams_of(layout)`; NaN where nothing can be said."""

    rows: int
    values: Numbers  # location, spread, proportion in reference sds; shares as 2 asin sqrt; the others standard normal
    sampling_sd: Numbers  # the standard deviation of each value without drift


@lru_cache(maxsize=64)
def streams_of(layout: Layout) -> tuple[Stream, ...]:
    """The streams that a layout gives: of every feature, of all together, then of prediction and score."""
    data = [stream for column in layout.features for stream in _streams(column, EvidenceKind.DATA)]
    if sum(1 for column in layout.features if column.scale in {Scale.ORDERED, Scale.BINARY}) > 1:
        data.append(Stream(EvidenceKind.DATA, "all features", "global", two_sided=False, weight=_GLOBAL))
    if len(layout.joint) > 1:
        data += [
            Stream(EvidenceKind.DATA, "joint", component, two_sided=False, weight=_JOINT / 2)
            for component in ("largest", "together")
        ]
    given = [stream for column in layout.predictions for stream in _streams(column, EvidenceKind.PREDICTION)]
    return (*_share_out(data), *_share_out(given))


def score_window(
    window: Profile,
    reference: Profile,
    layout: Layout,
    *,
    leave_out: bool = False,
    faults: Sequence[Fault] = (),
    left_out: frozenset[str] = frozenset(),
) -> WindowScores:
    """Score a window against a reference.

    Parameters
    ----------
    window, reference, layout
        Two Profiles made on this layout.
    leave_out
        The window is part of the reference, and is taken out of it first.
    faults
        What `quality_faults` found; a column with a certain fault gets no score in this window, and neither do the
        streams of many columns that it is part of.
    left_out
        Features that do not enter the scores of many columns; they are scored themselves.

    Raises
    ------
    ValueError
        When one of the Profiles was made on another layout.
    """
    comparison = compare(window, reference, layout, leave_out=leave_out)
    location, spread, sampling_sd = location_spread(comparison)
    rest = chi_square_rest(comparison)
    missing, outside = missing_change(comparison), outside_change(comparison, leave_out=leave_out)
    broken = _broken_columns(layout, faults)
    few = np.minimum(*comparison.rows) < FEWEST_ROWS
    unranked = np.minimum(*comparison.ranked_rows) < FEWEST_ROWS
    location[broken | few | unranked] = spread[broken | few | unranked] = np.nan
    for scores in (rest, missing[0], outside[0]):
        scores[broken | few] = np.nan
    ones = np.ones(len(location))
    plan = _plan(layout)
    values, sds = np.full(len(plan.component), np.nan), np.ones(len(plan.component))
    for component, column_values, column_sds in (
        ("location", location, sampling_sd),
        ("proportion", location, sampling_sd),
        ("spread", spread, sampling_sd),
        ("rest", rest, ones),
        ("chi_square", rest, ones),
        ("missing", *missing),
        ("outside", *outside),
    ):
        at, of = plan.of(component)
        values[at], sds[at] = column_values[of], column_sds[of]
    own = np.array([column.name not in left_out for column in layout.features], dtype=np.bool_)
    features = np.flatnonzero(own)
    for component, value in _of_all(
        comparison, location[features], spread[features], sampling_sd[features], broken, own
    ):
        values[plan.of(component)[0]] = value
    sds[np.isnan(values)] = np.nan
    return WindowScores(window.rows, values, sds)


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """The scores of the reference's own windows, each against the rest: (R,), (R, S), (R, S)."""

    starts: Numbers
    values: Numbers
    sampling_sd: Numbers


def score_reference(
    layout: Layout,
    profile: Profile,
    windows: Sequence[tuple[float, Profile]],
    left_out: frozenset[str] = frozenset(),
) -> ReferenceScores:
    """Score every reference window leave-one-out; features `left_out` do not enter the scores of many columns.

    Against the rest a window's distance from the whole is 1 / (1 - its share of the rows) too large; that is undone
    for the scores that are linear in the shares.
    """
    linear = np.array([stream.component in LINEAR or stream.component == "missing" for stream in streams_of(layout)])
    rows, sds = [], []
    for _, window in windows:
        scores = score_window(window, profile, layout, leave_out=True, left_out=left_out)
        part = 1 - window.rows / max(1, profile.rows)
        rows.append(np.where(linear, scores.values * part, scores.values))
        sds.append(scores.sampling_sd)
    width = len(linear)
    return ReferenceScores(
        np.array([start for start, _ in windows], dtype=np.float64),
        np.array(rows).reshape(-1, width),
        np.array(sds).reshape(-1, width),
    )


def directions_of(streams: Sequence[Stream], layout: Layout) -> Numbers:
    """About how many directions each chi-square stream looks into at once; NaN for the others."""
    bins = {column.name: max(1, column.bins - 3) for column in layout.columns}
    pairs = max(1, len(layout.joint) * (len(layout.joint) - 1) // 2)
    of_all = {"global": 2 * len(layout.features), "together": pairs}
    looked = {"rest", "chi_square"}
    return np.array(
        [
            float(bins[stream.subject]) if stream.component in looked else float(of_all.get(stream.component, np.nan))
            for stream in streams
        ]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """Up to which size a score of each stream does not matter: arrays of shape (streams,), by what multiplies them."""

    flat: Numbers  # the tolerance
    by_rows: Numbers  # rows times its square
    by_root: Numbers  # the tolerance times the root of the rows

    @classmethod
    def of(cls, streams: Sequence[Stream], layout: Layout) -> Margins:
        """A change of `tolerance` sds in one of nu directions has the noncentrality rows tolerance^2.

        That is rows tolerance^2 / sqrt(2 nu) of the sds of a chi-square.
        """
        nu = directions_of(streams, layout)
        one_column = np.array([stream.component in {"rest", "chi_square"} for stream in streams], dtype=np.bool_)
        chi, root = np.isfinite(nu), np.array([stream.component == "largest" for stream in streams], dtype=np.bool_)
        known = np.where(chi, nu, 1.0)
        by_rows = np.where(chi, np.where(one_column, 1 / np.sqrt(2 * known), np.sqrt(known / 2)), 0.0)
        return cls((~chi & ~root).astype(np.float64), by_rows, root.astype(np.float64))

    def sizes(self, tolerance: float, rows: int) -> Numbers:
        """The margins in a window of so many rows; `tolerance` is in standard deviations of a feature."""
        by_rows = rows * tolerance**2 * self.by_rows
        return np.asarray(tolerance * self.flat + by_rows + tolerance * np.sqrt(rows) * self.by_root)


def _streams(column: ColumnLayout, kind: EvidenceKind) -> list[Stream]:
    """The streams of one column; weights sum to one, in a constant column to less: it can only break.

    A share that the reference had none of can only rise. A prediction that was never seen has no streams.
    """
    if kind is EvidenceKind.PREDICTION and is_empty(column):
        return []
    weighed = {name: part * (1 - 2 * _ODD) for name, part in _main_parts(column).items()}
    directed = {"location", "spread", "proportion"} | ({"missing"} if column.counts[-1] else set())
    every = weighed | {"missing": _ODD, "outside": _ODD}
    return [Stream(kind, column.name, name, name in directed, part) for name, part in every.items()]


def _main_parts(column: ColumnLayout) -> dict[str, float]:
    """What a column can do besides going missing or outside, with weights that sum to one; nothing when constant."""
    parts: dict[str, float] = {}
    if column.scale is Scale.ORDERED:
        parts = {"location": 0.5, "spread": 0.25}
    elif column.scale is Scale.BINARY:
        parts = {"proportion": 0.75}
    if _shapes(column) > 1 + len(parts):
        parts["rest" if parts else "chi_square"] = 0.25
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def _shapes(column: ColumnLayout) -> int:
    """How many bins can be told apart in windows of a usual size; other and new labels are one."""
    counts = np.array(column.counts, dtype=np.float64)
    if not column.numeric:
        counts = np.concatenate([counts[:-3], [counts[-3] + counts[-2]], counts[-1:]])
    return int(np.count_nonzero(counts >= max(1.0, _COUNTED_SHARE * counts.sum())))


def _share_out(streams: list[Stream]) -> list[Stream]:
    """Weights so that all together sum to one."""
    together = sum(stream.weight for stream in streams if stream.component in OF_ALL)
    own = sum(stream.weight for stream in streams if stream.component not in OF_ALL)
    return [
        stream if stream.component in OF_ALL else replace(stream, weight=stream.weight * (1 - together) / own)
        for stream in streams
    ]


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which streams show which component of which column."""

    component: tuple[str, ...]
    column: NDArray[np.intp]
    groups: dict[str, NDArray[np.intp]]

    def of(self, component: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The streams of a component, and their columns."""
        at = self.groups.get(component, np.zeros(0, dtype=np.intp))
        return at, self.column[at]


@lru_cache(maxsize=64)
def _plan(layout: Layout) -> _Plan:
    streams = streams_of(layout)
    places = {(EvidenceKind.DATA, feature.name): index for index, feature in enumerate(layout.features)}
    first = len(layout.features)
    places |= {
        (EvidenceKind.PREDICTION, prediction.name): first + index for index, prediction in enumerate(layout.predictions)
    }
    column = np.array([places.get((stream.kind, stream.subject), 0) for stream in streams], dtype=np.intp)
    ranked = sorted(range(len(streams)), key=lambda index: streams[index].component)
    groups = {
        name: np.array(list(group), dtype=np.intp)
        for name, group in groupby(ranked, key=lambda index: streams[index].component)
    }
    return _Plan(tuple(stream.component for stream in streams), column, groups)


def _of_all(
    comparison: Comparison,
    location: Numbers,
    spread: Numbers,
    sampling_sd: Numbers,
    broken: NDArray[np.bool_],
    own: NDArray[np.bool_],
) -> list[tuple[str, float]]:
    watched = np.array(comparison.layout.joint, dtype=np.intp)
    torn = bool(broken[watched].any()) if len(watched) else False
    largest, together = (np.nan, np.nan) if torn else correlation_scores(comparison, own[watched])
    return [("global", global_score(location, spread, sampling_sd)), ("largest", largest), ("together", together)]


def _broken_columns(layout: Layout, faults: Sequence[Fault]) -> NDArray[np.bool_]:
    names = {fault.subject for fault in faults if fault.alarm}
    return np.array([column.name in names for column in layout.columns], dtype=np.bool_)

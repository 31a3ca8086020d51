"""How the bins of one column are chosen from the reference rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Column, Numbers
from driftd_detectors.profile.column_layout import ColumnLayout, Scale
from driftd_detectors.profile.counting import count_labels, count_numbers
from driftd_detectors.schema import Feature, Kind

FEW_LEVELS = 20  # integers with at most so many distinct values are ordered categories
MOST_LABELS = 50  # labels with bins of their own
SMALLEST_SHARE = 0.005  # of a label with a bin of its own
MOST_RARE = 2000  # labels remembered beyond those; more are not worth their room
_END = 0.005  # of the values lies beyond the first and the last cut of a column with many
FAR = 9.0  # so many times its own reach beyond the reference's range is no longer drift
_BIGGEST = 1e300

Order = NDArray[np.intp]


def learn_column(feature: Feature, values: Column | None, order: Order | None, bins: int) -> ColumnLayout:
    """Learn the bins of one column; `order` sorts its rows by time.

    A column that is absent, empty, wholly missing, or of another type than declared gets one bin for all it may hold.
    """
    if feature.kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        numbers = values if isinstance(values, np.ndarray) else np.empty(0)
        return _learn_numbers(feature, numbers, order if len(numbers) else None, bins)
    coded = values if isinstance(values, Coded) else Coded(np.empty(0, dtype=np.int32), ())
    return _learn_labels(feature, coded, order if len(coded.codes) else None)


def _learn_numbers(feature: Feature, values: Numbers, order: Order | None, bins: int) -> ColumnLayout:
    finite = np.clip(values[np.isfinite(values)], -_BIGGEST, _BIGGEST)
    levels, counts = np.unique(finite, return_counts=True)
    edges, scale = _edges(levels, counts, bins)
    low, high = (float(levels[0]), float(levels[-1])) if len(levels) else (0.0, 0.0)
    reach = max(high - low, abs(low), abs(high))
    far = (low - FAR * reach, high + FAR * reach) if reach > 0 else (-_BIGGEST, _BIGGEST)
    bare = ColumnLayout(
        feature.name,
        feature.kind,
        scale,
        counts=(0,) * (len(edges) + 6),
        edges=edges,
        far=far,
        stay=stay(values, order),
    )
    counted, _ = count_numbers(values, bare)
    return _with_counts(bare, counted)


def _edges(levels: Numbers, counts: NDArray[np.intp], bins: int) -> tuple[tuple[float, ...], Scale]:
    """Left ends of the intervals, the last one just above the highest level."""
    if len(levels) == 0:
        return (), Scale.CONSTANT
    end = float(np.nextafter(levels[-1], np.inf))
    if len(levels) <= FEW_LEVELS and bool(np.all(levels == np.floor(levels))):
        kinds = {1: Scale.CONSTANT, 2: Scale.BINARY}
        return _level_edges(levels, end), kinds.get(len(levels), Scale.ORDERED)
    atoms = counts * bins >= counts.sum()
    left = [levels[:1], levels[atoms], np.nextafter(levels[atoms], np.inf)]
    if not atoms.all():
        left.append(_quantiles(levels[~atoms], counts[~atoms], int(counts.sum()), bins))
        left.append(_ends(levels, counts))
    edges = np.unique(np.concatenate(left))
    scale = Scale.CONSTANT if len(levels) == 1 else Scale.BINARY if len(levels) == 2 else Scale.ORDERED  # noqa: PLR2004
    return (*(float(edge) for edge in edges if edge < end), end), scale


def _level_edges(levels: Numbers, end: float) -> tuple[float, ...]:
    """Each whole number a bin; unseen whole numbers between two levels share a bin of their own."""
    edges = []
    for level, following in zip(levels, [*levels[1:], np.inf], strict=True):
        edges.append(float(level))
        if following > level + 1 and following != np.inf:
            edges.append(float(max(level + 1, np.nextafter(level, np.inf))))
    return (*edges, end)


def _quantiles(levels: Numbers, counts: NDArray[np.intp], total: int, bins: int) -> Numbers:
    """Cuts of the values that are no atoms into bins of a share of about 1/bins each."""
    cumulated = np.cumsum(counts)
    parts = max(1, round(bins * float(cumulated[-1]) / total))
    ranks = np.arange(1, parts) * cumulated[-1] / parts
    found: Numbers = levels[np.minimum(np.searchsorted(cumulated, ranks, side="right"), len(levels) - 1)]
    return found


def _ends(levels: Numbers, counts: NDArray[np.intp]) -> Numbers:
    """Cuts that leave at most .5 % of the values below the first, and as many at the second or above."""
    cumulated, total = np.cumsum(counts), int(counts.sum())
    low = int(np.searchsorted(cumulated, _END * total, side="right"))
    high = int(np.searchsorted(cumulated, (1 - _END) * total, side="left")) + 1
    return levels[[place for place in (low, high) if 0 < place < len(levels)]]


def _learn_labels(feature: Feature, coded: Coded, order: Order | None) -> ColumnLayout:
    seen = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.labels))
    present = int(seen.sum())
    ranked = [int(place) for place in np.lexsort((np.arange(len(seen)), -seen)) if seen[place] > 0]
    own = [place for place in ranked[:MOST_LABELS] if seen[place] >= SMALLEST_SHARE * present]
    rest = ranked[len(own) :]
    if feature.kind is Kind.BOOLEAN or (len(own) == 2 and not rest):  # noqa: PLR2004 - binary means two
        own.sort(key=lambda place: coded.labels[place])  # so that the proportion is that of the second in any data
    rare = rest[:MOST_RARE]
    scale = Scale.NOMINAL
    if len(ranked) <= 2 and len(own) == len(ranked):  # noqa: PLR2004
        scale = Scale.BINARY if len(ranked) == 2 else Scale.CONSTANT  # noqa: PLR2004
    bare = ColumnLayout(
        feature.name,
        feature.kind,
        scale,
        counts=(0,) * (len(own) + 3),
        labels=tuple(coded.labels[place] for place in own),
        rare=tuple(coded.labels[place] for place in rare),
        unseen=_unseen_share(seen, rest[MOST_RARE:], present),
        stay=stay(coded.codes, order),
    )
    counted = count_labels(coded, bare)
    return _with_counts(bare, counted)


def _unseen_share(seen: NDArray[np.intp], forgotten: list[int], present: int) -> float:
    """The share of new labels to expect: that of labels seen once (Good, 1953), and of those not remembered."""
    if present == 0:
        return 0.0
    singles = int(np.count_nonzero(seen == 1))
    return min(1.0, (singles + int(seen[forgotten].sum())) / present)


def stay(values: NDArray[np.float64] | NDArray[np.int32], order: Order | None) -> float:
    """The share of neighbouring rows with the same value; 1 (nothing can be said) without an order of time."""
    if order is None or len(values) < 2:  # noqa: PLR2004 - neighbours are two
        return 1.0
    ordered = values[order]
    return float(np.mean(ordered[1:] == ordered[:-1]))


def _with_counts(column: ColumnLayout, counts: NDArray[np.int64]) -> ColumnLayout:
    return replace(column, counts=tuple(int(count) for count in counts))

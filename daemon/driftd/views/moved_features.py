"""The columns that moved most up to an alarm or a decision, each as it was in the reference and as it is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from driftd.registry import Registry
from driftd.store.state.chart_queries import SeriesReader
from driftd.views.scores import (
    FEWEST_AVERAGED,
    IN_STANDARD_DEVIATIONS,
    NOTABLE,
    SHOWN_KINDS,
    Bin,
    Distribution,
    distribution_view,
)
from driftd_detectors.schema import Kind

MOST_MOVED = 4
LEAST = 0.2  # of what is notable: a column that moved less is not shown unless the alarm names it
MOST_WINDOWS = 200  # whose counts are added up


class MovedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One column: the shares of its values in the reference and in the windows of a report."""

    feature: str
    sentence: str  # where the rows moved to
    is_number: bool
    reference_rows: int
    rows: int
    bins: list[Bin]


def moved_features(
    reader: SeriesReader, registry: Registry, model: str, leaders: Sequence[str], windows: tuple[int, int]
) -> list[MovedFeature]:
    """At most four columns in the windows `first` to `last`: those that the alarm names, then those that moved most.

    A column whose counts are not kept any more is left out.
    """
    first, last = max(windows[0], windows[1] - MOST_WINDOWS + 1), windows[1]
    found = []
    for name in dict.fromkeys([*leaders, *_rank_columns(reader, model, first, last)]):
        seen = distribution_view(reader, registry, model, name, (first, last))
        if isinstance(seen, Distribution) and seen.rows:
            found.append(_describe(seen))
        if len(found) == MOST_MOVED:
            break
    return found


def _rank_columns(reader: SeriesReader, model: str, first: int, last: int) -> list[str]:
    """The columns by how far they were from what is usual, in the mean of the windows; the farthest first."""
    size = last - first + 1
    farthest: dict[str, float] = {}
    for mean in reader.score_means(model, first, last, size, max(1, size // (FEWEST_AVERAGED * 6))):
        if mean.kind in SHOWN_KINDS and mean.value is not None:
            share = abs(mean.value) / NOTABLE[mean.component in IN_STANDARD_DEVIATIONS]
            farthest[mean.subject] = max(farthest.get(mean.subject, 0.0), share)
    kept = [(share, name) for name, share in farthest.items() if share >= LEAST]
    return [name for _, name in sorted(kept, key=lambda found: (-found[0], found[1]))]


def _describe(seen: Distribution) -> MovedFeature:
    most = max(seen.bins, key=lambda each: abs(each.current - each.reference))
    place = f"between {most.name.replace(' to ', ' and ')}" if " to " in most.name and _is_number(seen) else most.name
    return MovedFeature(
        feature=seen.feature,
        sentence=f"{place}: {_percent(most.reference)} before, {_percent(most.current)} now",
        is_number=_is_number(seen),
        reference_rows=seen.reference_rows,
        rows=seen.rows,
        bins=seen.bins,
    )


def _is_number(seen: Distribution) -> bool:
    """Whether the bins have an order, which is drawn."""
    return seen.kind in {Kind.NUMBER, Kind.TIMESTAMP}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"  # noqa: PLR2004 - one digit of few

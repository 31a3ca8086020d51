"""One curve of a report: the metric over time, with the change, the alarm and each new version marked on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from driftd.store.state.chart_queries import SeriesReader
from driftd.views.series import (
    CheckedWindows,
    Grouping,
    estimate_series,
    evidence_series,
    performance_series,
)
from driftd_detectors.evidence.change_sentences import metric_name

MOST_DRAWN = 120  # points
FEWEST_BESIDE, MOST_BESIDE = 20, 300  # windows that are shown before the change and after what was decided


class CurveMark(msgspec.Struct, frozen=True):
    """Something that happened on the axis of time."""

    at: float
    kind: str  # change | alarm | version
    label: str


class MetricCurve(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn: values with their band, and the level that is usual. Unknown values are NaN."""

    title: str
    at: list[float]  # epoch seconds
    value: list[float]
    low: list[float]
    high: list[float]
    level: list[float]
    level_name: str
    marks: list[CurveMark]


def metric_curve(
    reader: SeriesReader, model: str, windows: tuple[int, int], *, kind: str | None, metric: str | None, by_time: bool
) -> MetricCurve | None:
    """The metric by labels around the windows `first` to `last`; without labels what is estimated, else the evidence.

    `kind` is that of the alarm, None where there is none. None where no window was evaluated.
    """
    first, last = windows
    beside = min(MOST_BESIDE, max(FEWEST_BESIDE, 2 * (last - first + 1)))
    labelled, checked = (
        [
            CheckedWindows.read(row, by_time=by_time)
            for row in reader.checks_from(model, each, first - beside, last + beside)
        ]
        for each in ("labels", "window")
    )
    if not checked and not labelled:
        return None
    lowest, highest = (end(check.window for check in checked + labelled) for end in (min, max))
    grouping = Grouping.of(lowest, highest, MOST_DRAWN)
    marks = _marks(checked or labelled, windows if kind is not None else None)
    found = performance_series(labelled, grouping, metric)
    name = "Loss" if metric is None else metric_name(metric)
    if len(found.at) > 1:
        title = f"{name[:1].upper()}{name[1:]} ({'higher' if found.higher_is_better else 'lower'} is better)"
        return MetricCurve(
            title=title,
            at=found.at,
            value=found.value,
            low=found.low,
            high=found.high,
            level=found.baseline,
            level_name="usual",
            marks=marks,
        )
    estimated = estimate_series(checked, grouping)
    if len(estimated.at) > 1:
        none = [math.nan] * len(estimated.at)
        return MetricCurve(
            title=f"{name[:1].upper()}{name[1:]}, estimated without labels",
            at=estimated.at,
            value=estimated.value,
            low=estimated.low,
            high=estimated.high,
            level=none,
            level_name="",
            marks=marks,
        )
    return _evidence_curve(checked, grouping, kind or "data", marks)


def _evidence_curve(
    checked: Sequence[CheckedWindows], grouping: Grouping, kind: str, marks: list[CurveMark]
) -> MetricCurve | None:
    """The evidence by its logarithm: it multiplies."""
    found = evidence_series(checked, grouping).get(kind)
    if found is None or len(found.at) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    value, limit = ([math.log10(max(1.0, each)) for each in series] for series in (found.evidence, found.limit))
    return MetricCurve(
        title="Evidence of a change, as a power of ten",
        at=found.at,
        value=value,
        low=value,
        high=value,
        level=limit,
        level_name="threshold of an alarm",
        marks=marks,
    )


def _marks(checks: Sequence[CheckedWindows], windows: tuple[int, int] | None) -> list[CurveMark]:
    """Since when it changed, when the alarm was raised, and each version that served from then on."""
    marks = []
    if windows is not None:
        for name, index in {"change": windows[0], "alarm": windows[1]}.items():
            at = next((check.at for check in checks if check.window >= index), None)
            marks += [] if at is None else [CurveMark(at, name, name)]
    known = [check for check in checks if check.version is not None]
    for before, after in pairwise(known):
        if before.version != after.version:
            marks.append(CurveMark(after.at, "version", f"version {after.version}"))
    return marks

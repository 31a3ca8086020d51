"""Two versions side by side: their lineages, metrics, and the level of each segment on the reference of each."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import msgspec

from driftd.registry import ManifestError, Registry
from driftd.store.state.chart_queries import SeriesReader
from driftd.views.lineage import VersionDiff, diff_versions
from driftd.views.model import VersionLine, version_line
from driftd_detectors.performance.losses import value_of
from driftd_detectors.performance.segments import Segment
from driftd_detectors.schema import display_name
from driftd_detectors.serialization import unpack

ALL_ROWS = ""  # the segment of all rows


class MetricPair(msgspec.Struct, frozen=True):
    """A metric of each version on rows that its trainer never saw; None where a version has none."""

    name: str
    a: float | None
    b: float | None


class SegmentLevel(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was worth in a segment, on the labelled rows of its own reference."""

    value: float | None  # of the metric; None where it is not defined there
    rows: int


class SegmentPair(msgspec.Struct, frozen=True):
    """A segment in the references of two versions; each has segments of its own, and None for those of the other."""

    segment: str  # ALL_ROWS: all of them
    a: SegmentLevel | None
    b: SegmentLevel | None


class ComparisonView(msgspec.Struct, frozen=True, kw_only=True):
    """Version `b` beside version `a` of one model."""

    model: str
    a: VersionLine
    b: VersionLine
    versions: tuple[int, ...]  # that can be compared
    diff: VersionDiff
    metrics: list[MetricPair]
    metric: str | None  # that the segments are told in; None where the references have no metric in common
    segments: list[SegmentPair]
    note: str = ""  # why there are no segments


class NotComparable(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions that cannot be compared; `missing` says why."""

    model: str
    versions: tuple[int, ...]
    missing: str


def comparison_view(
    reader: SeriesReader, registry: Registry, model: str, a: int, b: int
) -> ComparisonView | NotComparable | None:
    """Version `b` beside version `a`; None for an unknown model."""
    state, versions = reader.model(model), registry.versions(model)
    if state is None:
        return None
    try:
        first, second = registry.manifest(model, a), registry.manifest(model, b)
    except ManifestError as error:
        return NotComparable(model=model, versions=versions, missing=str(error))
    names = dict.fromkeys((*first.metrics, *second.metrics))
    metric, segments, note = _segments(registry, model, a, b)
    return ComparisonView(
        model=model,
        a=version_line(reader, registry, state, a),
        b=version_line(reader, registry, state, b),
        versions=versions,
        diff=diff_versions(first, second),
        metrics=[MetricPair(name, first.metrics.get(name), second.metrics.get(name)) for name in names],
        metric=None if metric is None else display_name(metric),
        segments=segments,
        note=note,
    )


def _segments(registry: Registry, model: str, a: int, b: int) -> tuple[str | None, list[SegmentPair], str]:
    try:
        sides = [_levels(registry.file(model, version, "reference.bin")) for version in (a, b)]
    except ManifestError as error:
        return None, [], f"the reference of a version cannot be read: {error}"
    metric = next((name for name in (sides[1].loss, *sides[1].levels) if name in sides[0].levels), None)
    if metric is None:
        return None, [], "the references of the two versions have no metric in common"
    levels = [side.levels[metric] for side in sides]
    names = dict.fromkeys((*levels[0], *levels[1]))
    return metric, [SegmentPair(name, levels[0].get(name), levels[1].get(name)) for name in names], ""


class _Levels(msgspec.Struct, frozen=True):
    """By metric and segment, what a version was worth on its reference; `loss` is the gate's metric."""

    loss: str
    levels: dict[str, dict[str, SegmentLevel]]


@lru_cache(maxsize=16)
def _levels(path: Path) -> _Levels:
    """A version's files never change."""
    values, _ = unpack(path.read_bytes())
    segments = [Segment.from_stored(**segment) for segment in values.get("segments", ())]
    levels: dict[str, dict[str, SegmentLevel]] = {}
    for metric, loss in values["losses"].items():
        levels[metric] = {ALL_ROWS: _level(metric, loss["mean"], loss["rows"])}
        for segment in segments:
            if (own := segment.losses.get(metric)) is not None:
                levels[metric][segment.name] = _level(metric, own.mean, own.rows)
    return _Levels(values["loss"], levels)


def _level(metric: str, loss: float, rows: int) -> SegmentLevel:
    value = value_of(metric, loss) if math.isfinite(loss) else None
    return SegmentLevel(value=value, rows=rows)

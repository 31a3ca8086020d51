"""Features over time: how far each stream was from what is usual; and one feature's distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from driftd.registry import ManifestError, Registry
from driftd.store.state.chart_queries import ScoreMean, SeriesReader
from driftd.views.config import config_in_force
from driftd.views.series import Grouping, round_numbers
from driftd.views.window_range import Asked, window_range
from driftd_detectors.assessment import share_of_limit
from driftd_detectors.profile.column_layout import ColumnLayout
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile
from driftd_detectors.reference import layout_of

MOST_COLUMNS = 96
MOST_AVERAGED, FEWEST_AVERAGED = 24, 4  # windows of a column; their mean is known well enough for a colour
MOST_SCORES = 150_000  # that are read for one heat map: with many streams, fewer windows of a column
IN_STANDARD_DEVIATIONS = (
    "location",
    "spread",
    "proportion",
    "missing",
    "outside",
)  # all other components are in sds of chance
NOTABLE = {True: 0.5, False: 6.0}  # where the colour is full: standard deviations of the reference, or sigmas
SHOWN_KINDS = ("data", "prediction")


class StreamScores(msgspec.Struct, frozen=True):
    """One stream over time: a feature, or what the model gave out."""

    kind: str
    subject: str
    components: dict[str, list[float]]
    evidence: list[float]
    heat: list[float | None]  # in 0 .. 1


class ScoreView(msgspec.Struct, frozen=True):
    """The heat map of a span."""

    at: list[float | None]
    merged: int  # windows in one column
    stride: int
    first: int  # the window that the first column begins with
    last: int  # the last window of the last column
    subjects: list[StreamScores]


def score_view(reader: SeriesReader, model: str, asked: Asked) -> ScoreView | None:
    """The heat map of a span, the features that moved most in its last tenth first; None for an unknown model."""
    if reader.model(model) is None:
        return None
    config = config_in_force(reader)
    extent, _ = window_range(reader, model, config, asked)
    first, last = extent.first, extent.last
    if last < first:
        return ScoreView([], 1, 1, first, last, [])
    grouping = Grouping.of(first, max(first, last), MOST_COLUMNS)
    affordable = MOST_SCORES // (grouping.groups * max(1, reader.count_scores(model, last)))
    stride = math.ceil(grouping.size / max(FEWEST_AVERAGED, min(MOST_AVERAGED, affordable)))
    means = reader.score_means(model, first, last, grouping.size, stride)
    rows = _rows(means, grouping.groups, reader.thresholds(model))
    starts = _starts(reader, model, grouping, last, by_time=not config.by_rows(model))
    return ScoreView(starts, grouping.size, stride, first, last, sorted(rows, key=_recent_movement, reverse=True))


def _starts(reader: SeriesReader, model: str, grouping: Grouping, last: int, *, by_time: bool) -> list[float | None]:
    starts: list[float | None] = [None] * grouping.groups
    for place, start, at in reader.group_starts(model, grouping.first, grouping.size, last):
        starts[place] = start if by_time else at
    return starts


@dataclass(frozen=True, slots=True)
class _Groups:
    """The values of one stream by group of windows, as they are gathered."""

    evidence: list[float]
    components: dict[str, list[float]] = field(default_factory=dict)


def _rows(means: list[ScoreMean], groups: int, thresholds: dict[str, float]) -> list[StreamScores]:
    found: dict[tuple[str, str], _Groups] = {}
    for mean in means:
        if mean.kind not in SHOWN_KINDS:
            continue
        stream = found.setdefault((mean.kind, mean.subject), _Groups([0.0] * groups))
        values = stream.components.setdefault(mean.component, [float("nan")] * groups)
        if mean.value is not None:
            values[mean.group] = mean.value
        stream.evidence[mean.group] = max(stream.evidence[mean.group], mean.evidence)
    return [
        StreamScores(
            kind,
            subject,
            {name: round_numbers(values) for name, values in stream.components.items()},
            round_numbers(stream.evidence),
            _heat(stream.components, stream.evidence, thresholds.get(kind, 0.0)),
        )
        for (kind, subject), stream in found.items()
    ]


def _heat(components: dict[str, list[float]], evidence: list[float], threshold: float) -> list[float | None]:
    """By group, in 0 .. 1: the component that moved most, or the evidence that lasts though each shift is small."""
    heat: list[float | None] = []
    for group, gathered in enumerate(evidence):
        shares = [
            abs(values[group]) / NOTABLE[name in IN_STANDARD_DEVIATIONS]
            for name, values in components.items()
            if values[group] == values[group]
        ]
        lasting = share_of_limit(gathered, threshold)
        heat.append(round(min(1.0, max(*shares, lasting)), 3) if shares else None)
    return heat


def _recent_movement(row: StreamScores) -> float:
    recent = [value for value in row.heat[-max(1, len(row.heat) // 10) :] if value is not None]
    return sum(recent) / len(recent) if recent else 0.0


MERGED_SECONDS, MERGED_ROW_WINDOWS, MOST_MERGED = 86_400.0, 5, 200
MOST_LABELS = 25


class Bin(msgspec.Struct, frozen=True):
    """The shares of rows in one bin; `usual` bins are those that ordinary values fall in."""

    name: str
    usual: bool
    reference: float
    current: float


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of one feature lie."""

    feature: str


class MissingReference(FeatureView, frozen=True, kw_only=True):
    """A feature whose reference cannot be read; `missing` says why."""

    missing: str


class ReferenceView(FeatureView, frozen=True, kw_only=True):
    """A feature in the reference of a version."""

    version: int
    kind: str
    reference_rows: int
    bins: list[Bin]


UNCHECKED = "no window of this version was checked yet"
NOT_KEPT = "no counts are kept of the windows that you chose: they had no rows, or are older than retention.checks"


class UncheckedDistribution(ReferenceView, frozen=True, kw_only=True):
    """A feature that no window is compared with yet."""

    missing: str = UNCHECKED


class Distribution(ReferenceView, frozen=True, kw_only=True):
    """A feature in the reference and in the latest windows."""

    rows: int
    windows: int
    since: float | None  # the start of the first of these windows; None for windows of rows
    until: float | None = None  # the start of the last of them
    chosen: bool = False  # whether a person chose the windows


def distribution_view(
    reader: SeriesReader, registry: Registry, model: str, feature: str, windows: tuple[int, int] | None = None
) -> FeatureView | None:
    """Shares of rows by bin, in the reference and in some windows.

    `windows` are the first and the last; None: the last day's (the last five windows of rows). The reference is that of
    the version that served in the last of them. None for a model or a feature that is not known.
    """
    state = reader.model(model)
    version = reader.profiled_version(model) if windows is None else reader.profiled_version(model, windows[1])
    if state is None or state.champion is None:
        return None
    version = version or state.champion  # right after a swap: what was seen last, against what it was compared with
    try:
        path = registry.file(model, version, "reference.bin")
    except ManifestError as error:
        return MissingReference(feature=feature, missing=str(error))
    layout = _layout(path)
    place = next((number for number, column in enumerate(layout.columns) if column.name == feature), None)
    if place is None:
        return None
    current = _current(reader, model, layout, windows)
    column = layout.columns[place]
    kind = str(column.kind)
    if not current:
        return UncheckedDistribution(
            feature=feature,
            version=version,
            kind=kind,
            reference_rows=layout.rows,
            bins=_bins(column, None),
            missing=UNCHECKED if windows is None else NOT_KEPT,
        )
    by_rows = config_in_force(reader).by_rows(model)
    counts = np.sum([profile.counts for _, profile in current], axis=0)
    counts = counts[layout.starts[place] : layout.starts[place + 1]]
    return Distribution(
        feature=feature,
        version=version,
        kind=kind,
        reference_rows=layout.rows,
        bins=_bins(column, counts.tolist()),
        rows=sum(profile.rows for _, profile in current),
        windows=len(current),
        since=current[-1][0] if not by_rows else None,
        until=current[0][0] if not by_rows else None,
        chosen=windows is not None,
    )


@lru_cache(maxsize=8)
def _layout(path: Path) -> Layout:
    """A version's files never change."""
    return layout_of(path.read_bytes())


def _current(
    reader: SeriesReader, model: str, layout: Layout, windows: tuple[int, int] | None
) -> list[tuple[float, Profile]]:
    """The Profiles of these windows, or of the latest, that are on this layout, newest first."""
    if windows is not None:
        kept = reader.profiles_upto(model, windows[1], MOST_MERGED, windows[0])
        return _on(layout, kept)
    last = reader.last_window(model, "window")
    if last is None:
        return []
    every = config_in_force(reader).window_seconds(model)
    wanted = MERGED_ROW_WINDOWS if every is None else min(MOST_MERGED, max(1, round(MERGED_SECONDS / every)))
    return _on(layout, reader.profiles_upto(model, last, wanted))


def _on(layout: Layout, kept: list[tuple[int, float, bytes]]) -> list[tuple[float, Profile]]:
    read = ((start, Profile.from_bytes(stored)) for _, start, stored in kept)
    return [(start, profile) for start, profile in read if profile.layout == layout.fingerprint]


def _bins(column: ColumnLayout, current: list[int] | None) -> list[Bin]:
    names = _numeric_names(column) if column.numeric else _label_names(column)
    expected, seen = column.counts, current or [0] * column.bins
    all_expected, all_seen = max(1, sum(expected)), max(1, sum(seen))
    bins = [
        Bin(name, usual, was / all_expected, now / all_seen)
        for (name, usual), was, now in zip(names, expected, seen, strict=True)
    ]
    kept = [share for share in bins if share.usual or share.reference or share.current]
    return kept if column.numeric else _few(kept)


def _numeric_names(column: ColumnLayout) -> list[tuple[str, bool]]:
    edges = [f"{edge:.4g}" for edge in column.edges]
    inside = [(low if low == high else f"{low} to {high}", True) for low, high in pairwise(edges)]
    lowest, highest = (edges[0], edges[-1]) if edges else ("", "")
    before = [("-infinity", False), ("far below", False), (f"below {lowest}", False)]
    return [
        *before,
        *inside,
        (f"above {highest}", False),
        ("far above", False),
        ("infinity", False),
        ("missing", False),
    ]


def _label_names(column: ColumnLayout) -> list[tuple[str, bool]]:
    return [*((label, True) for label in column.labels), ("other rare", False), ("new", False), ("missing", False)]


def _few(bins: list[Bin]) -> list[Bin]:
    """The labels that hold or have gained most; the rest together."""
    usual = [share for share in bins if share.usual]
    if len(usual) <= MOST_LABELS:
        return bins
    largest = sorted(usual, key=lambda share: max(share.reference, share.current), reverse=True)
    rest = largest[MOST_LABELS:]
    reference, current = sum(share.reference for share in rest), sum(share.current for share in rest)
    together = Bin(f"{len(rest)} more labels", usual=True, reference=reference, current=current)
    return [*largest[:MOST_LABELS], together, *(share for share in bins if not share.usual)]

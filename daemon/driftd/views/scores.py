"""Features x time: how far every stream was from what is usual, and its evidence, for a heat map."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from driftd.store.state.chart_queries import ScoreMean, SeriesReader
from driftd.views.config import config_in_force
from driftd.views.model import window_range
from driftd.views.series import Grouping, round_numbers
from driftd_detectors.assessment import share_of_limit

MOST_COLUMNS = 96
MOST_AVERAGED = 24  # windows of a column; their mean is known well enough for a colour
IN_STANDARD_DEVIATIONS = ("location", "spread", "proportion")  # all other components are in sds of chance
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
    subjects: list[StreamScores]


def score_view(reader: SeriesReader, model: str, span: str | None) -> ScoreView | None:
    """The heat map of a span, the features that moved most in its last tenth first; None for an unknown model."""
    if reader.model(model) is None:
        return None
    config = config_in_force(reader)
    first, last, _ = window_range(reader, model, config, span)
    grouping = Grouping.of(first, max(first, last), MOST_COLUMNS)
    stride = math.ceil(grouping.size / MOST_AVERAGED)
    means = reader.score_means(model, first, last, grouping.size, stride)
    rows = _rows(means, grouping.groups, reader.thresholds(model))
    starts = _starts(reader, model, grouping, by_time=not config.by_rows(model))
    return ScoreView(starts, grouping.size, stride, sorted(rows, key=_recent_movement, reverse=True))


def _starts(reader: SeriesReader, model: str, grouping: Grouping, *, by_time: bool) -> list[float | None]:
    starts: list[float | None] = [None] * grouping.groups
    for window, start, at in reader.window_times(model, grouping.first):
        place = (window - grouping.first) // grouping.size
        if starts[place] is None:
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

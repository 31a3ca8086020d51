"""Long series cut to what a chart can show: neighbouring windows are merged, never dropped. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftd.store.state.chart_queries import CheckRow
from driftd.store.state.records import CheckFigures
from driftd_detectors.assessment import CALM_TO_LOUD, Verdict, loudness
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.losses import value_of

MOST_POINTS = 400  # of one series: more than the pixels of a phone, about half of a desk's
DIGITS = 6  # significant; a chart shows three
WHOLE = 1e9  # from here on digits after the point say nothing: epoch seconds, evidence of billions
Groups = NDArray[np.int64]
_LOSSES = ("loss", "low", "high", "baseline", "tolerated")


@dataclass(frozen=True, slots=True)
class Grouping:
    """Windows `first` to `last` in groups of `size`, so that there are at most `MOST_POINTS` of them."""

    first: int
    last: int
    size: int

    @classmethod
    def of(cls, first: int, last: int, most: int = MOST_POINTS) -> Grouping:
        """The finest grouping of so many windows."""
        return cls(first, last, max(1, math.ceil((last - first + 1) / most)))

    @property
    def groups(self) -> int:
        """How many there are."""
        return (self.last - self.first) // self.size + 1


class WeightedValues(msgspec.Struct, frozen=True):
    """The evidence of one kind, and the limit at which it alarms."""

    evidence: float | None = None
    threshold: float | None = None


_FIGURES = msgspec.json.Decoder(CheckFigures)
_EVIDENCE: msgspec.json.Decoder[Mapping[str, WeightedValues]] = msgspec.json.Decoder(dict[str, WeightedValues])
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class CheckedWindows:
    """What is charted of one check."""

    window: int
    at: float  # where it stands on the axis of time
    rows: int
    verdict: str
    version: int | None
    figures: CheckFigures
    evidence: Mapping[str, WeightedValues]

    @classmethod
    def read(cls, row: CheckRow, *, by_time: bool) -> CheckedWindows:
        """From a row of `SeriesReader.checks_from`; windows of rows stand at the time of their check."""
        return cls(
            row.window_index,
            row.window_start if by_time else row.at,
            row.rows,
            row.verdict,
            row.version,
            decode_figures(row.figures, _FIGURES),
            decode_figures(row.evidence, _EVIDENCE),
        )


def decode_figures(text: str, decoder: msgspec.json.Decoder[Read]) -> Read:
    """JSON as the store wrote it: only what is charted, and with the NaN that only Python's own reader takes."""
    try:
        return decoder.decode(text)
    except msgspec.DecodeError:
        read: Read = msgspec.convert(json.loads(text), decoder.type)
        return read


class PerformanceSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The realised performance in the metric's own direction, with its confidence band, baseline and tolerance."""

    metric: str | None
    higher_is_better: bool
    at: list[float]
    value: list[float]
    low: list[float]
    high: list[float]
    baseline: list[float]
    tolerated: list[float]
    labels: list[float]
    coverage: list[float]
    version: list[int | None]


class EstimateSeries(msgspec.Struct, frozen=True):
    """The performance estimated without labels, with its band."""

    at: list[float]
    value: list[float]
    low: list[float]
    high: list[float]


class EvidenceSeries(msgspec.Struct, frozen=True):
    """The evidence of one kind, and the limit at which it alarms."""

    at: list[float]
    evidence: list[float]
    limit: list[float]


class WindowSeries(msgspec.Struct, frozen=True):
    """The rows of a window and the loudest verdict, of each group of windows."""

    at: list[float]
    rows: list[float]
    verdict: list[Verdict]


def performance_series(checks: Iterable[CheckedWindows], grouping: Grouping, metric: str | None) -> PerformanceSeries:
    """The realised performance over time.

    A merged point is the mean of its windows by their labels; its band is that of the merged labels.
    """
    known = [check for check in checks if _is_finite(check.figures.loss)]
    group, at = _place(known, grouping)
    weight = np.fmax(1.0, _numbers([check.figures.labels for check in known]))
    columns = {name: _numbers([getattr(check.figures, name) for check in known]) for name in _LOSSES}
    merged = {name: _weighted_means(group, columns[name], weight) for name in ("loss", "baseline", "tolerated")}
    below = _pool_widths(group, columns["loss"] - columns["low"], weight)
    above = _pool_widths(group, columns["high"] - columns["loss"], weight)
    merged |= {"low": merged["loss"] - below, "high": merged["loss"] + above}
    in_metric = {name: _in_metric(metric, values) for name, values in merged.items()}
    ends = np.sort(np.stack([in_metric["low"], in_metric["high"]]), axis=0) if known else np.empty((2, 0))
    coverage = _numbers([check.figures.coverage for check in known])
    return PerformanceSeries(
        metric=metric,
        higher_is_better=metric is not None and value_of(metric, 1.0) < value_of(metric, 0.0),
        at=round_numbers(at),
        value=round_numbers(in_metric["loss"]),
        low=round_numbers(ends[0]),
        high=round_numbers(ends[1]),
        baseline=round_numbers(in_metric["baseline"]),
        tolerated=round_numbers(in_metric["tolerated"]),
        labels=round_numbers(np.bincount(_dense(group), weights=weight) if known else np.empty(0)),
        coverage=round_numbers(_weighted_means(group, coverage, weight)),
        version=_last(group, [check.version for check in known]),
    )


def estimate_series(checks: Iterable[CheckedWindows], grouping: Grouping) -> EstimateSeries:
    """The performance estimated without labels, where the daemon believes it."""
    known = [check for check in checks if _is_finite(check.figures.estimated) and not check.figures.estimate_off]
    group, at = _place(known, grouping)
    weight = np.array([max(1.0, float(check.rows)) for check in known])

    def merge(values: list[float | None]) -> list[float]:
        return round_numbers(_weighted_means(group, _numbers(values), weight))

    return EstimateSeries(
        round_numbers(at),
        merge([check.figures.estimated for check in known]),
        merge([check.figures.estimated_low for check in known]),
        merge([check.figures.estimated_high for check in known]),
    )


def evidence_series(checks: Iterable[CheckedWindows], grouping: Grouping) -> dict[str, EvidenceSeries]:
    """By kind: the most evidence of each group of windows, and the limit at which it alarms."""
    found: dict[str, list[tuple[CheckedWindows, WeightedValues]]] = {}
    for check in checks:
        for kind, said in check.evidence.items():
            found.setdefault(kind, []).append((check, said))
    evidence = {}
    for kind, entries in found.items():
        group, at = _place([entry for entry, _ in entries], grouping)
        highest = _highest(group, _numbers([said.evidence for _, said in entries]))
        limit = _highest(group, _numbers([said.threshold for _, said in entries]))
        evidence[kind] = EvidenceSeries(round_numbers(at), round_numbers(highest), round_numbers(limit))
    return evidence


def window_series(checks: Iterable[CheckedWindows], grouping: Grouping) -> WindowSeries:
    """The rows of a window and the loudest verdict of each group of windows."""
    known = list(checks)
    group, at = _place(known, grouping)
    rows = _weighted_means(group, np.array([float(check.rows) for check in known]), np.ones(len(known)))
    highest = _highest(group, np.array([float(loudness(Verdict(check.verdict))) for check in known]))
    return WindowSeries(round_numbers(at), round_numbers(rows), [CALM_TO_LOUD[int(rank)] for rank in highest])


def round_numbers(values: NDArray[Any] | list[float]) -> list[float]:
    """Numbers for JSON: so many digits as are seen; NaN (null) for what is not known."""
    return [round(value) if abs(value) >= WHOLE else float(f"{value:.{DIGITS}g}") for value in _clip(values)]


def _clip(values: Numbers | list[float]) -> list[float]:
    return [value if math.isfinite(value) else math.nan for value in np.asarray(values, dtype=np.float64).tolist()]


def _place(checks: list[CheckedWindows], grouping: Grouping) -> tuple[Groups, Numbers]:
    group = np.array([(check.window - grouping.first) // grouping.size for check in checks], dtype=np.int64)
    at = np.array([check.at for check in checks], dtype=np.float64)
    if not len(checks):
        return group, at
    firsts = np.unique(group, return_index=True)[1]
    return group, at[firsts]


def _dense(group: Groups) -> Groups:
    return np.asarray(np.unique(group, return_inverse=True)[1], dtype=np.int64)


def _weighted_means(group: Groups, values: Numbers, weight: Numbers) -> Numbers:
    """The weighted mean of what is known in each group; NaN where nothing is."""
    if not len(values):
        return np.empty(0)
    dense, known = _dense(group), np.isfinite(values)
    sums = np.bincount(dense, weights=np.where(known, values, 0.0) * weight).astype(np.float64)
    weights = np.bincount(dense, weights=np.where(known, weight, 0.0)).astype(np.float64)
    return _divide(sums, weights)


def _pool_widths(group: Groups, widths: Numbers, weight: Numbers) -> Numbers:
    """The half-width of the mean of independent windows."""
    if not len(widths):
        return np.empty(0)
    dense, known = _dense(group), np.isfinite(widths)
    squares = np.bincount(dense, weights=(np.where(known, widths, 0.0) * weight) ** 2)
    weights = np.bincount(dense, weights=np.where(known, weight, 0.0)).astype(np.float64)
    return _divide(np.sqrt(squares), weights)


def _divide(sums: Numbers, weights: Numbers) -> Numbers:
    found = np.full(len(sums), np.nan)
    np.divide(sums, weights, out=found, where=weights > 0)
    return found


def _highest(group: Groups, values: Numbers) -> Numbers:
    if not len(values):
        return np.empty(0)
    dense = _dense(group)
    highest = np.full(int(dense.max()) + 1, -np.inf)
    np.maximum.at(highest, dense, np.nan_to_num(values, nan=-np.inf, posinf=1e300))
    return highest


def _last(group: Groups, values: list[int | None]) -> list[int | None]:
    found = dict(zip(_dense(group).tolist() if len(values) else [], values, strict=True))
    return list(found.values())


def _in_metric(metric: str | None, losses: Numbers) -> Numbers:
    if metric is None:
        return losses
    return np.array([value_of(metric, max(0.0, loss) if metric == "rmse" else loss) for loss in losses.tolist()])


def _numbers(values: list[float | None]) -> Numbers:
    """None becomes NaN."""
    return np.array(values, dtype=np.float64)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)

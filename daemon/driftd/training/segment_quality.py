"""The loss of versions on the same labelled rows, over all and by segment, with intervals over whole days."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftd.registry.version_quality import SegmentQuality
from driftd.training.compare import segments_of
from driftd.training.training_rows import TrainingRows
from driftd_detectors.columns import Numbers
from driftd_detectors.comparison.gate import judge
from driftd_detectors.performance.losses import weighted_mean

_ONE_SIDED = 0.975  # of each bound: the intervals are of 95 %


def segment_qualities(
    rows: TrainingRows, weight: Numbers, lost: Sequence[Numbers], columns: Sequence[str], day: float
) -> list[SegmentQuality]:
    """The quality of the version whose losses are `lost[0]`, beside `lost[1]` where given; all rows first.

    `day` is the seconds within which rows share their luck. Segments of fewer than 200 rows are left out.
    """
    if len(rows) == 0:
        return []
    everything = np.ones(len(rows), dtype=np.bool_)
    known = [column for column in columns if column in rows.schema.names]
    parts = [("", everything), *(part for column in known for part in segments_of(rows, column))]
    return [
        _quality(name, rows.at[inside], weight[inside], [side[inside] for side in lost], day) for name, inside in parts
    ]


def _quality(name: str, at: Numbers, weight: Numbers, lost: Sequence[Numbers], day: float) -> SegmentQuality:
    usable = np.all([np.isfinite(side) for side in lost], axis=0) & (weight > 0)
    at, weight, lost = at[usable], weight[usable], [side[usable] for side in lost]
    loss, lower, upper = _interval(lost[0], at, weight, day)
    if len(lost) == 1:
        return SegmentQuality(segment=name, rows=len(at), loss=loss, lower=lower, upper=upper)
    gain, gain_lower, gain_upper = _interval(lost[1] - lost[0], at, weight, day)
    return SegmentQuality(
        segment=name,
        rows=len(at),
        loss=loss,
        lower=lower,
        upper=upper,
        other_loss=_finite(weighted_mean(lost[1], weight)),
        gain=gain,
        gain_lower=gain_lower,
        gain_upper=gain_upper,
    )


def _interval(
    values: Numbers, at: NDArray[np.float64], weight: Numbers, day: float
) -> tuple[float | None, float | None, float | None]:
    """The weighted mean of some rows, and how far it may be off either way."""
    judged = judge(np.zeros(len(values)), values, at, weight=weight, confidence=_ONE_SIDED, day=day)
    mean, half = weighted_mean(values, weight), (judged.upper - judged.lower) / 2
    return _finite(mean), _finite(mean - half), _finite(mean + half)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""Counts labelled rows, without those of windows with a fault of the pipeline."""

from __future__ import annotations

import math
from collections.abc import Iterable

from driftd.records import ModelState
from driftd.sources.protocol import Source


def merge_spans(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans `start <= at < end` in the order of their starts, those that touch made one."""
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def count_sound_labels(
    source: Source, since: float, known_by: float, faulty: list[tuple[float, float]], until: float = math.inf
) -> int:
    """How many rows with `since <= at < until` have a label known by then, without those of the faulty spans."""

    def count(start: float, end: float) -> int:
        start, end = max(start, since), min(end, until)
        if start >= end:
            return 0
        return source.count_labelled(start, known_by) - (
            source.count_labelled(end, known_by) if math.isfinite(end) else 0
        )

    return count(since, until) - sum(count(start, end) for start, end in faulty)


def labels_count_from(state: ModelState) -> float | None:
    """From when on labelled rows count for what the model is about; None when nothing waits for labels."""
    if state.build is not None:
        return state.build.change_at or 0.0
    if state.want is not None:
        return state.want.change_at or 0.0
    return None if state.probation is None else state.probation.since

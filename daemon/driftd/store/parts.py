"""Parts of a window brought together: other shapes, absent features, other kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from driftd.store.events_blocks import BOOLEAN_LABELS, joined
from driftd_detectors.columns import Coded, Column, Columns
from driftd_detectors.schema import Feature, Kind


def stacked(parts: Sequence[Columns], features: Sequence[Feature]) -> Columns:
    """Parts of a window one after the other; a feature that only some lack is missing there."""
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in features:
        name = feature.name
        if any(name in part.values for part in parts):
            values[name] = joined([part.values.get(name, missing(feature.kind, part.rows)) for part in parts])
        count = sum(part.unreadable.get(name, 0) for part in parts)
        if count:
            unreadable[name] = count
    return Columns(sum(part.rows for part in parts), values, unreadable)


def adapted(columns: Mapping[str, Column], own: Sequence[Feature], wanted: Sequence[Feature]) -> Columns:
    """Columns of a shape as those of today's schema: other kinds are unreadable, other names are left out."""
    kinds = {feature.name: feature.kind for feature in own}
    rows = next((len(one.codes if isinstance(one, Coded) else one) for one in columns.values()), 0)
    values: dict[str, Column] = {}
    unreadable: dict[str, int] = {}
    for feature in wanted:
        if feature.name not in columns:
            continue
        if kinds[feature.name] is feature.kind:
            values[feature.name] = columns[feature.name]
        else:
            values[feature.name] = missing(feature.kind, rows)
            unreadable[feature.name] = rows
    return Columns(rows, values, unreadable)


def missing(kind: Kind, rows: int) -> Column:
    """A column of nothing but missing values."""
    if kind in {Kind.NUMBER, Kind.TIMESTAMP}:
        return np.full(rows, np.nan)
    return Coded(np.full(rows, -1, dtype=np.int32), BOOLEAN_LABELS if kind is Kind.BOOLEAN else ())

"""Rows in the form that Evidently can bear: typed by the schema, without what makes it fail, and not too many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from driftd_detectors.schema import Kind, class_name

if TYPE_CHECKING:
    from driftd_detectors.schema import Schema

Series = pd.Series

MOST_CATEGORIES = 100  # a page that plots 100,000 categories takes minutes and opens in no browser
OTHER = "(other)"


@dataclass(slots=True)
class Prepared:
    """Two samples with the columns that can be compared, and one sentence for each that was left out or changed."""

    reference: pd.DataFrame
    current: pd.DataFrame
    columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def typed(column: Series, kind: Kind) -> Series:
    """A column as its kind says: finite floats, text (booleans "0" and "1"), or times; NaN for all that is none."""
    if kind is Kind.NUMBER:
        numbers = pd.to_numeric(column, errors="coerce").astype("float64")
        return numbers.replace([np.inf, -np.inf], np.nan)
    if kind is Kind.TIMESTAMP:
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            return pd.to_datetime(column, utc=True).dt.tz_localize(None)
        return pd.to_datetime(pd.to_numeric(column, errors="coerce"), unit="s", errors="coerce")
    return column.map(class_name, na_action="ignore").astype(object)


def prepare(reference: pd.DataFrame, current: pd.DataFrame, schema: Schema, columns: list[str]) -> Prepared:
    """Type `columns` of both samples, and leave out (with a sentence) what cannot be compared at all."""
    kept, kept_now, notes = {}, {}, []
    for name in columns:
        reason = _unfit(reference, current, name)
        if reason is not None:
            notes.append(reason)
            continue
        before, now = typed(reference[name], schema.kind_of(name)), typed(current[name], schema.kind_of(name))
        for rows, where in ((before, "reference"), (now, "window")):
            if not rows.notna().any():
                reason = f"Column {name!r} has no usable value in the {where}'s {len(rows):,} sampled rows."
        if reason is not None:
            notes.append(reason)
            continue
        if schema.kind_of(name) is Kind.CATEGORY:
            before, now, seen = _common_only(before, now)
            if seen > MOST_CATEGORIES:
                notes.append(
                    f"Column {name!r} has {seen:,} categories; all but the {MOST_CATEGORIES} most frequent are {OTHER}."
                )
        kept[name], kept_now[name] = before.reset_index(drop=True), now.reset_index(drop=True)
    return Prepared(pd.DataFrame(kept), pd.DataFrame(kept_now), list(kept), notes)


def _unfit(reference: pd.DataFrame, current: pd.DataFrame, name: str) -> str | None:
    for frame, where in ((reference, "reference"), (current, "window")):
        if name not in frame.columns:
            return f"Column {name!r} is absent from the {where}."
        if not len(frame):
            return f"Column {name!r} has no row in the {where}."
    return None


def _common_only(before: Series, now: Series) -> tuple[Series, Series, int]:
    """Both columns with rare categories pooled, and how many categories there were."""
    counts = pd.concat([before, now]).value_counts()
    if len(counts) <= MOST_CATEGORIES:
        return before, now, len(counts)
    common = set(counts.index[:MOST_CATEGORIES])

    def pooled(column: Series) -> Series:
        return column.where(column.isin(common) | column.isna(), OTHER)

    return pooled(before), pooled(now), len(counts)

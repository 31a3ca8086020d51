"""How the features of two snapshots differ: a distance for each feature, read from an even sample of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.registry.version_quality import FeatureShift
from driftd.training.training_rows import TrainingRows
from driftd_detectors.columns import Coded, Column, Numbers
from driftd_detectors.schema import Kind

MOST_ROWS = 50_000  # of each snapshot
_BINS = 20
_LARGEST = 100  # categories that are told apart; the others are one


def feature_shifts(a: TrainingRows, b: TrainingRows) -> list[FeatureShift]:
    """The shift of every feature that both know with one kind, the largest first."""
    first, other = _sample(a), _sample(b)
    kinds = {feature.name: feature.kind for feature in a.schema.features}
    shared = [feature for feature in b.schema.features if kinds.get(feature.name) is feature.kind]
    found = [_shift(each.name, each.kind, first.column(each.name), other.column(each.name)) for each in shared]
    return sorted(found, key=lambda shift: -shift.distance)


def _sample(rows: TrainingRows) -> TrainingRows:
    step = -(-len(rows) // MOST_ROWS)
    return rows if step <= 1 else rows.take(np.arange(0, len(rows), step))


def _shift(name: str, kind: Kind, a: pd.Series[Any], b: pd.Series[Any]) -> FeatureShift:
    if kind in {Kind.CATEGORY, Kind.BOOLEAN}:
        counts, typical = _category_counts(a, b), _most_frequent
    else:
        a, b = _numbers(a), _numbers(b)
        counts, typical = _number_counts(a.to_numpy(), b.to_numpy()), _median
    return FeatureShift(
        feature=name,
        distance=jensen_shannon(*counts),
        a=typical(a),
        b=typical(b),
        missing_a=float(a.isna().mean()) if len(a) else 0.0,
        missing_b=float(b.isna().mean()) if len(b) else 0.0,
    )


def jensen_shannon(a: Numbers, b: Numbers) -> float:
    """The distance of two distributions given as counts in the same bins, base 2; 0 where either is empty."""
    if a.sum() == 0 or b.sum() == 0:
        return 0.0
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def _divergence(p: Numbers, q: Numbers) -> float:
    inside = p > 0
    return float(np.sum(p[inside] * np.log2(p[inside] / q[inside])))


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.Series(np.where(values.isna(), np.nan, values.astype("int64") / 1e9))
    return values.astype(np.float64)


def _number_counts(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """Counts between the quantiles of both together, of which each has the same weight; missing values last."""
    both = [side[np.isfinite(side)] for side in (a, b)]
    if min(map(len, both)) == 0:
        edges = np.empty(0)
    else:
        shares = np.linspace(0, 1, _BINS + 1)[1:-1]
        edges = np.unique(np.concatenate([np.quantile(side, shares) for side in both]))
    first, other = (np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(edges) + 1) for side in both)
    return np.append(first, len(a) - len(both[0])).astype(float), np.append(other, len(b) - len(both[1])).astype(float)


def _category_counts(a: pd.Series[Any], b: pd.Series[Any]) -> tuple[Numbers, Numbers]:
    first, other = (side.astype(object).value_counts(dropna=False) for side in (a, b))
    names = list((first.add(other, fill_value=0)).sort_values(ascending=False).index)
    counts = [np.array([float(side.get(name, 0)) for name in names]) for side in (first, other)]
    cut = [np.append(side[:_LARGEST], side[_LARGEST:].sum()) for side in counts]
    return cut[0], cut[1]


def _median(values: pd.Series[Any]) -> str:
    known = values.dropna()
    return "-" if known.empty else f"{known.median():.6g}"


def _most_frequent(values: pd.Series[Any]) -> str:
    known = values.dropna()
    return "-" if known.empty else str(known.astype(object).value_counts().index[0])


def bins_of(kind: Kind, live: Column, reference: pd.Series[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """The bin of each live row and of each row of the reference, and how many bins there are; missing values have one.

    Numbers are cut at the quantiles of the reference, categories by their names.
    """
    if isinstance(live, Coded):
        names = {label: code for code, label in enumerate(live.labels)}
        texts = reference.astype(object).map(lambda value: names.get(str(value), len(names)), na_action="ignore")
        before = texts.fillna(len(names) + 1).to_numpy(dtype=np.intp)
        return np.where(live.codes < 0, len(names) + 1, live.codes).astype(np.intp), before, len(names) + 2
    values = _numbers(reference).to_numpy() if kind is not Kind.CATEGORY else np.empty(0)
    finite = values[np.isfinite(values)]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(finite) else np.empty(0)
    bins = len(edges) + 2

    def place(column: Numbers) -> NDArray[np.intp]:
        return np.where(np.isfinite(column), np.searchsorted(edges, column, side="right"), bins - 1).astype(np.intp)

    return place(np.asarray(live, dtype=np.float64)), place(values), bins

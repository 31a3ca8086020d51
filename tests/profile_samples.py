"""Rows of every kind of column, for the tests of Profiles and scores."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Coded, Columns, Outcomes
from driftd_detectors.schema import Feature, Kind, Schema, Task

NOW = 1_700_000_000.0
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "late",
    (
        Feature("distance", Kind.NUMBER),
        Feature("rain", Kind.NUMBER),
        Feature("holes", Kind.NUMBER),
        Feature("passengers", Kind.NUMBER),
        Feature("carrier", Kind.CATEGORY),
        Feature("weekend", Kind.BOOLEAN),
        Feature("booked_at", Kind.TIMESTAMP),
    ),
    ("0", "1"),
)


def sample(rows: int, seed: int, *, shift: float = 0.0, scale: float = 1.0) -> tuple[Columns, Outcomes]:
    """Independent rows; `distance` is shifted and scaled."""
    rng = np.random.default_rng(seed)
    at = NOW + np.arange(rows) * 60.0
    carriers = tuple(f"carrier {index}" for index in range(60))
    values = {
        "distance": shift + scale * rng.normal(size=rows),
        "rain": np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(size=rows)),
        "holes": np.where(rng.random(rows) < 0.2, np.nan, rng.lognormal(size=rows)),
        "passengers": rng.poisson(2, rows).astype(np.float64),
        "carrier": Coded(np.minimum(rng.zipf(1.6, rows), 60).astype(np.int32) - 1, carriers),
        "weekend": Coded((rng.random(rows) < 2 / 7).astype(np.int32), ("0", "1")),
        "booked_at": at - rng.exponential(86_400.0, rows),
    }
    unknown = np.full(rows, np.nan)
    given = (rng.random(rows) < 0.3).astype(np.float64)
    outcomes = Outcomes(
        at, given, rng.beta(2, 5, rows), np.full(rows, -1.0), unknown, np.ones(rows, dtype=np.int64), ("0", "1")
    )
    return Columns(rows, values, {}), outcomes


def part(columns: Columns, outcomes: Outcomes, first: int, last: int) -> tuple[Columns, Outcomes]:
    """Some neighbouring rows."""
    values = {
        name: Coded(item.codes[first:last], item.labels) if isinstance(item, Coded) else item[first:last]
        for name, item in columns.values.items()
    }
    arrays = (outcomes.at, outcomes.prediction, outcomes.score, outcomes.label, outcomes.label_at, outcomes.version)
    return Columns(last - first, values, {}), Outcomes(*(item[first:last] for item in arrays), outcomes.classes)


def only(columns: Columns, **changed: object) -> Columns:
    """The same rows with some columns replaced; None takes a column away."""
    values = {name: item for name, item in {**columns.values, **changed}.items() if item is not None}
    return Columns(columns.rows, values, columns.unreadable)

"""Days of a regression whose error depends on the price, and may grow in the south: for segments and attribution."""

from __future__ import annotations

import numpy as np

from driftd_detectors.columns import Coded, Columns, Outcomes
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY = 86_400.0
LABELS = ("east", "north", "south", "west")
SCHEMA = Schema(Task.REGRESSION, "y", (Feature("price", Kind.NUMBER), Feature("region", Kind.CATEGORY)))
ROWS = 400


def day(rng, number, *, south=1.0, loss=None):
    """One day of a model whose error is twice as large above a price of one; times `south` in the south."""
    price = rng.normal(size=ROWS)
    region = Coded(rng.choice(4, ROWS, p=[0.3, 0.3, 0.15, 0.25]).astype(np.int32), LABELS)
    size = np.where(price > 1, 2.0, 1.0) * np.where(region.codes == 2, south, 1.0)
    prediction = rng.normal(size=ROWS)
    label = prediction + size * rng.normal(size=ROWS)
    at = number * DAY + np.arange(ROWS) * DAY / ROWS
    nothing = np.full(ROWS, np.nan)
    outcomes = Outcomes(at, prediction, nothing, label, at + 60, np.ones(ROWS, dtype=np.int64), own_loss=loss)
    return Columns(ROWS, {"price": price, "region": region}, {}), outcomes


def reference(rng, days=28, **kwargs) -> Reference:
    """The reference of so many days."""
    parts = [day(rng, number) for number in range(days)]
    values = {
        "price": np.concatenate([columns.values["price"] for columns, _ in parts]),
        "region": Coded(np.concatenate([columns.values["region"].codes for columns, _ in parts]), LABELS),
    }
    names = ("at", "prediction", "score", "label", "label_at", "version")
    outcomes = Outcomes(*(np.concatenate([getattr(rows, name) for _, rows in parts]) for name in names))
    starts = np.floor(outcomes.at / DAY) * DAY
    return learn_reference(
        Columns(days * ROWS, values, {}), outcomes, SCHEMA, starts=starts, importance={}, loss="mae", **kwargs
    )

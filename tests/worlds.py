"""Small worlds of rows for the tests of monitoring: two numbers, a category, a score that depends on the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftd_detectors.columns import Coded, Columns, Outcomes, join_columns
from driftd_detectors.outcome_rows import stack_outcomes
from driftd_detectors.reference import Reference, learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task

DAY = 86_400.0
CLASSES = ("no", "yes")
LABELS = ("p", "q", "r", "s")
FEATURES = (Feature("a", Kind.NUMBER), Feature("b", Kind.NUMBER), Feature("c", Kind.CATEGORY))
SCHEMA = Schema(Task.CLASSIFICATION, "y", FEATURES, CLASSES)

Rows = tuple[Columns, Outcomes]


def day_of(
    rng: np.random.Generator,
    number: int,
    rows: int = 400,
    *,
    shift: float = 0.0,
    wrong: float = 0.0,
    delay: float = 0.0,
) -> Rows:
    """One day: `a` moved by `shift`, a share `wrong` of labels turned round, labels `delay` days late."""
    a, b = rng.normal(shift, 1, rows), rng.normal(0, 1, rows)
    c = Coded(rng.integers(0, 4, rows).astype(np.int32), LABELS)
    score = 1 / (1 + np.exp(-2 * (a - shift + b)))
    label = (rng.random(rows) < np.where(rng.random(rows) < wrong, 1 - score, score)).astype(float)
    at = number * DAY + np.sort(rng.random(rows)) * DAY
    late = rng.exponential(delay * DAY, rows) if delay else np.zeros(rows)
    version = np.ones(rows, dtype=np.int64)
    outcomes = Outcomes(at, (score > 0.5).astype(float), score, label, at + late, version, CLASSES)
    return Columns(rows, {"a": a, "b": b, "c": c}, {}), outcomes


def together(days: list[Rows]) -> Rows:
    """The rows of several days."""
    columns, outcomes = zip(*days, strict=True)
    values = {name: join_columns([item.values[name] for item in columns]) for name in ("a", "b", "c")}
    return Columns(sum(item.rows for item in columns), values, {}), stack_outcomes(outcomes, CLASSES)


def reference_of(rng: np.random.Generator, days: int = 28, rows: int = 400, *, delay: float = 0.0) -> Reference:
    """The reference learned from the first days."""
    columns, outcomes = together([day_of(rng, number, rows, delay=delay) for number in range(days)])
    starts = np.floor(outcomes.at / DAY) * DAY
    importance = {"a": 0.5, "b": 0.5, "c": 0.0}
    return learn_reference(columns, outcomes, SCHEMA, starts=starts, importance=importance, loss="brier")


def known_by(outcomes: Outcomes, now: float) -> Outcomes:
    """The outcomes with the labels that are there by `now`."""
    there = outcomes.label_at <= now
    label, label_at = np.where(there, outcomes.label, -1.0), np.where(there, outcomes.label_at, np.nan)
    return replace(outcomes, label=label, label_at=label_at)

"""The events as they cross walls: what applications hand in, what is refused, what a commit acknowledges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftd_detectors.schema import Feature


@dataclass(frozen=True, slots=True)
class PredictionEvent:
    """One prediction that the model made, with the row that it was made from. `at` is epoch seconds; None is now."""

    prediction_id: str
    features: Mapping[str, Any]
    prediction: Any
    version: int | None = None
    score: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """The true label of an earlier (or later) prediction. `at` is when it became known; None is now."""

    prediction_id: str
    label: Any
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one event of a batch was not taken."""

    index: int  # in the batch as it was handed in
    prediction_id: str | None
    field: str  # "at", "prediction", "features.age", ...; "" when it is the event itself
    reason: str


@dataclass(slots=True)
class Batch:
    """Valid events in the form in which they are stored: narrow rows, and the features column by column.

    `columns` has one list for each of `features`, each as long as `predictions`; None is missing.
    """

    received_at: float
    features: tuple[Feature, ...]
    predictions: list[tuple[str, float, int | None, str | float, float | None]]  # id, at, version, prediction, score
    columns: list[list[Any]]
    feedback: list[tuple[str, float, str | float]]  # id, at, label
    refused: list[tuple[Refusal, str]] = field(default_factory=list)  # with the event's own text, for the quarantine
    ignored: int = 0  # values under names that the schema does not have


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one commit took of a batch, durably."""

    predictions: int = 0
    feedback: int = 0
    duplicates: int = 0  # of either kind; the first one stays
    refused: int = 0
    ignored: int = 0
    repeated: tuple[int, ...] = field(default=(), compare=False)  # places of the duplicates among the predictions

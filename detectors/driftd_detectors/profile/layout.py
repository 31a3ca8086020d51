"""The bins of every column, learned once from the reference rows and then the same for every window.

One flat vector holds the bins of all columns, one after the other: first the features, then what the model gave out
(its prediction and, where there is one, its score). A Profile is counts on that vector, so merging is adding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Column, Columns, Outcomes
from driftd_detectors.profile.binning import learn_column
from driftd_detectors.profile.column_layout import ColumnLayout, Scale
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.serialization import JsonObject

MOST_JOINT = 20  # columns whose pairs are watched: the cost grows with their square


@dataclass(frozen=True, eq=False)
class Layout:
    """The bins of all columns: the features, then the prediction and the score. Equal when the fingerprints are."""

    features: tuple[ColumnLayout, ...]
    predictions: tuple[ColumnLayout, ...]
    joint: tuple[int, ...]  # which features the joint second moments are of
    rows: int  # of the reference

    @cached_property
    def columns(self) -> tuple[ColumnLayout, ...]:
        """Features and predictions in the order of the flat vector."""
        return self.features + self.predictions

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Where the bins of each column start in the flat vector; shape (columns + 1,)."""
        return np.concatenate([[0], np.cumsum([column.bins for column in self.columns], dtype=np.intp)]).astype(np.intp)

    @property
    def bins(self) -> int:
        """The length of the flat vector."""
        return int(self.starts[-1])

    @cached_property
    def fingerprint(self) -> str:
        """A text that is equal for equal layouts only (of SHA-256)."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        return {
            "features": [column.to_dict() for column in self.features],
            "predictions": [column.to_dict() for column in self.predictions],
            "joint": list(self.joint),
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Layout:
        """Read what `to_dict` wrote."""
        return cls(
            features=tuple(ColumnLayout.from_dict(feature) for feature in stored["features"]),
            predictions=tuple(ColumnLayout.from_dict(prediction) for prediction in stored["predictions"]),
            joint=tuple(stored["joint"]),
            rows=stored["rows"],
        )


def learn_layout(
    columns: Columns,
    outcomes: Outcomes | None,
    schema: Schema,
    *,
    bins: int = 20,
    importance: Mapping[str, float] | None = None,
) -> Layout:
    """Learn the bins of every feature, of the prediction and of the score from the reference rows.

    Parameters
    ----------
    columns, outcomes
        The reference rows and what the model said of them. Without outcomes nothing is learned of the prediction,
        and timestamps, which are binned by their age at `outcomes.at`, get one bin.
    bins
        Quantile bins of a numeric column; values with a share of 1/bins or more get bins of their own.
    importance
        Which features come first where only some can be watched jointly; in the schema's order when not given.

    Raises
    ------
    ValueError
        When columns and outcomes differ in length, or there are fewer than two bins.
    """
    if bins < 2:  # noqa: PLR2004 - one bin says nothing
        raise ValueError(f"bins is {bins}; at least 2 are needed")
    if outcomes is not None and outcomes.rows != columns.rows:
        raise ValueError(f"{columns.rows} rows of features but {outcomes.rows} of outcomes; they must be the same rows")
    order = None if outcomes is None else np.argsort(outcomes.at, kind="stable")
    features = tuple(
        learn_column(feature, feature_values(columns, outcomes, feature), order, bins) for feature in schema.features
    )
    predictions: list[ColumnLayout] = []
    for feature, values in prediction_columns(outcomes, schema.task):
        learned = learn_column(feature, values, order, bins)
        if learned.name == "prediction" or not is_empty(learned):
            predictions.append(learned)
    return Layout(features, tuple(predictions), _joint(features, importance or {}), columns.rows)


def feature_values(columns: Columns, outcomes: Outcomes | None, feature: Feature | ColumnLayout) -> Column | None:
    """The values of a feature, timestamps as ages in seconds at the time of the prediction; None when not delivered.

    The age is taken row by row, at `outcomes.at`, so it does not depend on the window that a row is counted in, and
    Profiles of time columns merge like all others.
    """
    values = columns.values.get(feature.name)
    if feature.kind is not Kind.TIMESTAMP or not isinstance(values, np.ndarray):
        return values
    return None if outcomes is None else outcomes.at - values


def prediction_columns(outcomes: Outcomes | None, task: Task) -> list[tuple[Feature, Column]]:
    """What the model gave out, as columns: the predicted class or number and, for classes, the score."""
    if outcomes is None:
        return []
    if task is Task.REGRESSION:
        return [(Feature("prediction", Kind.NUMBER), outcomes.prediction)]
    return [
        (Feature("prediction", Kind.CATEGORY), predicted_classes(outcomes)),
        (Feature("score", Kind.NUMBER), outcomes.score),
    ]


def predicted_classes(outcomes: Outcomes) -> Column:
    """The predicted classes as a text column."""
    return outcomes.texts(outcomes.prediction)


def is_empty(column: ColumnLayout) -> bool:
    """Whether every reference value was missing."""
    return sum(column.counts[:-1]) == 0


def _joint(features: tuple[ColumnLayout, ...], importance: Mapping[str, float]) -> tuple[int, ...]:
    able = [index for index, feature in enumerate(features) if feature.scale in {Scale.ORDERED, Scale.BINARY}]
    ranked = sorted(able, key=lambda index: -importance.get(features[index].name, 0.0))
    return tuple(sorted(ranked[:MOST_JOINT]))

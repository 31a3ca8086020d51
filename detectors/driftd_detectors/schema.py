"""The schema of a model: its task, its target and its features, the kinds of columns, and the names of metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

from driftd_detectors.errors import DetectorError
from driftd_detectors.values import MOST_NAMES, Vocabulary, class_name, iso_text, learn_names, number_of_text

if TYPE_CHECKING:
    import pandas as pd

    from driftd_detectors.serialization import JsonObject

__all__ = ["Feature", "Kind", "Schema", "Task", "class_name", "learn_schema"]

MOST_CODES = 20  # so many distinct numbers among texts may be codes of a list
MOSTLY = 0.99  # of the rows: the odd text among numbers is a fault of its row, not the kind of the column
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)? ?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_PADDED = re.compile(r"[+-]?0\d.*", re.ASCII | re.DOTALL)


class Kind(StrEnum):
    """How a feature is stored, binned and scored."""

    NUMBER = "number"  # float64; integers too (few distinct values become ordered categories)
    CATEGORY = "category"  # text, compared as text
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # epoch seconds; drift is scored on its age


def kind_of_values(counts: Mapping[object, int], *, untyped: bool = False) -> Kind:
    """The kind of a column that holds these values so many times (missing ones left out).

    `untyped` says that the format has no types, as CSV: texts of numbers are numbers then. Numbers that are written
    with leading zeros ("01") are codes, so a category. A column of nothing is a category.
    """
    if not counts:
        return Kind.CATEGORY
    if all(isinstance(value, str) for value in counts):
        return _kind_of_texts({str(value): count for value, count in counts.items()}, untyped=untyped)
    if all(type(value).__name__ in {"bool", "bool_"} for value in counts):
        return Kind.BOOLEAN
    if all(isinstance(value, date) for value in counts):  # datetimes and pandas' Timestamps too
        return Kind.TIMESTAMP
    return Kind.NUMBER if _mostly(counts, _is_number) else Kind.CATEGORY


def kind_of_column(column: pd.Series) -> Kind:
    """The kind of a pandas column: by its dtype where that tells, else by its values."""
    dtype = column.dtype
    if str(dtype) == "category":
        return Kind.CATEGORY if column.cat.categories.dtype.kind in "iufb" else _kind_of_objects(column)
    if dtype.kind == "b":
        return Kind.BOOLEAN
    if dtype.kind in "iuf":
        return Kind.NUMBER
    return Kind.TIMESTAMP if dtype.kind == "M" else _kind_of_objects(column)


def is_date(text: str) -> bool:
    """Whether a text is a whole date, with or without a time, as ISO 8601 writes it or nearly so."""
    plain = iso_text(text)
    if _DATE.fullmatch(plain) is None:
        return False
    try:
        datetime.fromisoformat(plain)
    except ValueError:
        return False
    return True


def is_padded(text: str) -> bool:
    """Whether a text of digits begins with a zero that no number has, as codes do."""
    return _PADDED.fullmatch(text.strip()) is not None


def _kind_of_objects(column: pd.Series) -> Kind:
    try:
        found = column.dropna().astype(object).value_counts()
        counts = dict(zip(found.index.tolist(), found.tolist(), strict=True))
    except TypeError:  # lists and other things that have no identity
        return Kind.CATEGORY
    return kind_of_values(counts)


def _kind_of_texts(counts: Mapping[str, int], *, untyped: bool) -> Kind:
    if _mostly(counts, is_date):
        return Kind.TIMESTAMP
    if all(text.strip().lower() in {"true", "false"} for text in counts):
        return Kind.BOOLEAN
    if untyped and _mostly(counts, _says_number) and not any(map(is_padded, counts)):
        return Kind.NUMBER
    return Kind.CATEGORY


def _mostly(counts: Mapping[Any, int], holds: Callable[[Any], bool]) -> bool:
    """Whether it holds for all values; or for nearly all rows, where so many values are no list of codes."""
    good = {value: count for value, count in counts.items() if holds(value)}
    if len(good) == len(counts):
        return True
    return len(good) > MOST_CODES and sum(good.values()) >= MOSTLY * sum(counts.values())


def _is_number(value: object) -> bool:
    return isinstance(value, Real | Decimal)


def _says_number(text: str) -> bool:
    try:
        number_of_text(text)
    except ValueError:
        return False
    return text.strip().lower() not in {"true", "false"}


class Task(StrEnum):
    """What the model predicts."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Feature:
    """One input column of a model.

    `categories` are the names of the values that a category had when the schema was learned; other spellings of them
    are read as these. It is empty for other kinds, for columns of very many values, and in schemas of older versions.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The names that a text of this feature is resolved against."""
        return Vocabulary(self.categories)


@dataclass(frozen=True)
class Schema:
    """The declared shape of a model's rows.

    Classes are text (see `class_name`), those of the first version in sorted order, later ones behind them; for a
    binary task a prediction's `score` is the probability of the *second* class, for more classes that of the
    predicted one; regression has neither.
    """

    task: Task
    target: str
    features: tuple[Feature, ...]
    classes: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The feature names, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def is_binary(self) -> bool:
        """Whether the task is a classification of exactly two classes."""
        return self.task is Task.CLASSIFICATION and len(self.classes) == 2  # noqa: PLR2004 - binary means two

    @cached_property
    def class_vocabulary(self) -> Vocabulary:
        """The names that the text of a class is resolved against."""
        return Vocabulary(self.classes)

    @cached_property
    def category_names(self) -> dict[str, Callable[[str], str]]:
        """How the categories of each feature with a vocabulary are called here, by feature."""
        return {feature.name: feature.vocabulary.resolve for feature in self.features if feature.categories}

    def kind_of(self, name: str) -> Kind:
        """The kind of a feature; raises KeyError with the name when there is no such feature."""
        for feature in self.features:
            if feature.name == name:
                return feature.kind
        raise KeyError(name)

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        known = {feature.name: list(feature.categories) for feature in self.features if feature.categories}
        return {
            "task": str(self.task),
            "target": self.target,
            "features": {feature.name: str(feature.kind) for feature in self.features},
            "classes": list(self.classes),
            **({"categories": known} if known else {}),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Schema:
        """Read what `to_dict` wrote."""
        known = stored.get("categories", {})
        return cls(
            task=Task(stored["task"]),
            target=stored["target"],
            features=tuple(
                Feature(name, Kind(kind), tuple(known.get(name, ()))) for name, kind in stored["features"].items()
            ),
            classes=tuple(stored["classes"]),
        )


def learn_schema(
    frame: pd.DataFrame,
    *,
    task: Task,
    target: str,
    ignore: Iterable[str] = (),
    declared: Mapping[str, Kind] | None = None,
) -> Schema:
    """Infer a schema from labelled rows.

    Columns named in `ignore` and the target are no features. `declared` kinds win over inferred ones.
    Raises ValueError when the target is absent or no feature is left.
    """
    if target not in frame.columns:
        raise DetectorError(
            f"no target column {target!r} in the data; columns are {', '.join(map(str, frame.columns))}"
        )
    left_out = {target, *ignore}
    names = [str(name) for name in frame.columns if name not in left_out]
    if not names:
        raise DetectorError("no feature column is left besides the target and the ignored columns")
    kinds = declared or {}
    features = tuple(_feature(name, kinds.get(name), frame[name]) for name in names)
    classes = learn_names(_distinct(frame[target])) if task is Task.CLASSIFICATION else ()
    return Schema(task, target, features, classes)


def _feature(name: str, declared: Kind | None, column: pd.Series) -> Feature:
    kind = declared or kind_of_column(column)
    texts = _distinct(column) if kind is Kind.CATEGORY else set()
    return Feature(name, kind, learn_names(texts) if len(texts) <= MOST_NAMES else ())


def _distinct(column: pd.Series) -> set[str]:
    """The distinct values in their text form; none of a column of lists."""
    try:
        return {class_name(value) for value in column.dropna().unique()}
    except TypeError:
        return set()


CLASSIFICATION_MEANS = frozenset({"error", "accuracy", "brier", "log_loss"})
REGRESSION_MEANS = frozenset({"mae", "mse", "rmse"})
MEAN_METRICS = CLASSIFICATION_MEANS | REGRESSION_MEANS  # those that follow from a mean of per-row losses
BOUNDED = frozenset({"error", "accuracy", "brier"})  # losses in [0, 1]
HIGHER_IS_BETTER = frozenset({"accuracy", "roc_auc", "f1", "precision", "recall", "balanced_accuracy", "r2"})
METRICS = {
    Task.CLASSIFICATION: tuple(
        sorted({*CLASSIFICATION_MEANS, "balanced_accuracy", "f1", "precision", "recall", "roc_auc"})
    ),
    Task.REGRESSION: tuple(sorted({*REGRESSION_MEANS, "r2"})),
}
_COST = "cost"  # begins the name of a metric that says what wrong predictions cost


def cost_metric(costs: Mapping[str, float | Mapping[str, float]]) -> str:
    """The name of the metric with these costs: the name holds them, so other costs are another metric.

    Of classes: what a prediction costs, by label and then by prediction. Of numbers: what a unit `over` and a unit
    `under` the label costs.
    """
    return _COST + json.dumps(costs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def is_cost(metric: str) -> bool:
    """Whether a metric is one of `cost_metric`."""
    return metric.startswith(_COST + "{")


def class_costs(metric: str) -> dict[str, dict[str, float]]:
    """The costs of classes that the name of a metric holds, by label and then by prediction."""
    return {label: dict(row) for label, row in json.loads(metric.removeprefix(_COST)).items()}


def unit_costs(metric: str) -> tuple[float, float]:
    """What a unit over and a unit under the label costs by the name of a metric."""
    costs = json.loads(metric.removeprefix(_COST))
    return float(costs["over"]), float(costs["under"])


def is_own(metric: str) -> bool:
    """Whether a metric is a function of the user, `package.module:function`, whose losses `Outcomes.own_loss` holds."""
    return ":" in metric and not is_cost(metric)


def is_mean(metric: str) -> bool:
    """Whether a metric follows from a mean of losses of rows."""
    return metric in MEAN_METRICS or is_cost(metric) or is_own(metric)


def display_name(metric: str) -> str:
    """What people know a metric by."""
    return _COST if is_cost(metric) else metric

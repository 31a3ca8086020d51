"""What a model's rows look like: the features, their kinds, the target and the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from driftd_detectors.errors import DetectorError
from driftd_detectors.kinds import Kind, kind_of_column
from driftd_detectors.values import MOST_NAMES, Vocabulary, class_name, learn_names

if TYPE_CHECKING:
    import pandas as pd

    from driftd_detectors.serialization import JsonObject

__all__ = ["Feature", "Kind", "Schema", "Task", "class_name", "learn_schema"]


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

    @property
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

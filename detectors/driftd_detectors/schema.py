"""What a model's rows look like: the features, their kinds, the target and the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from driftd_detectors.errors import DetectorError

if TYPE_CHECKING:
    import pandas as pd


class Kind(StrEnum):
    """How a feature is stored, binned and scored."""

    NUMBER = "number"  # float64; integers too (few distinct values become ordered categories)
    CATEGORY = "category"  # text, compared as text
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # epoch seconds; drift is scored on its age


class Task(StrEnum):
    """What the model predicts."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column of a model."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Schema:
    """The declared shape of a model's rows.

    Classes are text (see `class_name`) in sorted order; for a binary task a prediction's `score` is the
    probability of the *second* class, for more classes that of the predicted one; regression has neither.
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

    def kind_of(self, name: str) -> Kind:
        """The kind of a feature; raises KeyError with the name when there is no such feature."""
        for feature in self.features:
            if feature.name == name:
                return feature.kind
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that `from_dict` reads back."""
        return {
            "task": str(self.task),
            "target": self.target,
            "features": {feature.name: str(feature.kind) for feature in self.features},
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Schema:
        """Read what `to_dict` wrote."""
        return cls(
            task=Task(stored["task"]),
            target=stored["target"],
            features=tuple(Feature(name, Kind(kind)) for name, kind in stored["features"].items()),
            classes=tuple(stored["classes"]),
        )


def class_name(value: object) -> str:
    """The one text form of a class label, so that 1, 1.0, True and "1" of different writers meet.

    Booleans become "0" and "1"; whole floats lose their point; everything else is its `str`.
    """
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


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
    features = tuple(Feature(name, kinds.get(name) or _inferred_kind(frame[name])) for name in names)
    classes: tuple[str, ...] = ()
    if task is Task.CLASSIFICATION:
        classes = tuple(sorted({class_name(value) for value in frame[target].dropna().unique()}))
    return Schema(task, target, features, classes)


def _inferred_kind(column: pd.Series) -> Kind:
    kind = column.dtype.kind
    if kind == "b" or str(column.dtype) == "boolean":
        return Kind.BOOLEAN
    if kind in "iuf" and str(column.dtype) != "category":
        return Kind.NUMBER
    if kind == "M":
        return Kind.TIMESTAMP
    return Kind.CATEGORY

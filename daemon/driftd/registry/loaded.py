"""A version in memory: its estimator, and predictions in the one form that every room uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.errors import DriftdError
from driftd.registry.artefact import load_estimator
from driftd.registry.estimator_inputs import NamedClasses, native_frame
from driftd.registry.manifest import Manifest, check_file, read_manifest
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Schema, Task
from driftd_detectors.values import class_name

# Estimators whose `predict` is the class of the highest probability: one pass gives both.
_ARGMAX = (
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "LogisticRegression",
    "OnnxModel",
)


class PredictionError(DriftdError):
    """An estimator that answered with something that is no prediction; the message says what."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers to some rows: class codes into `classes` or numbers, and the score that `Schema` describes."""

    prediction: Numbers
    score: Numbers  # NaN for regression and for classifiers without probabilities
    classes: tuple[str, ...] = ()
    probability: NDArray[np.float64] | None = None  # rows x classes; None where the estimator gives none

    def take(self, which: NDArray[Any]) -> Predictions:
        """Those of some of the rows."""
        shares = None if self.probability is None else self.probability[which]
        return Predictions(self.prediction[which], self.score[which], self.classes, shares)

    def values(self) -> list[str] | list[float]:
        """The predictions as an application sees them: class text, or numbers."""
        if not self.classes:
            return [float(value) for value in self.prediction]
        return [self.classes[int(code)] for code in self.prediction]


class DirectAnswers(Protocol):
    """An estimator that takes numbers where the version's own takes a frame, and answers the same to the last bit."""

    def numbers_of(self, columns: Mapping[str, list[Any]]) -> Numbers | None:
        """The rows as numbers; None where a value has to be read by `feature_frame` first."""


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version that can predict."""

    version: int
    estimator: Any
    schema: Schema
    manifest: Manifest
    direct: DirectAnswers | None = None  # a quicker way to the answers of the estimator, where there is one

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Predict rows that `feature_frame` made for this version's schema. Raises PredictionError."""
        return predict_with(self.estimator, self.schema, frame)

    def predict_columns(self, columns: Mapping[str, list[Any]]) -> Predictions | None:
        """Predict rows by columns of plain values, one for each feature; None where only `predict` can.

        Raises PredictionError.
        """
        numbers = self.direct.numbers_of(columns) if self.direct is not None else None
        return None if numbers is None else predict_with(self.direct, self.schema, numbers)


def load_version(folder: Path, *, allow_joblib: bool) -> LoadedVersion:
    """Load the version of a folder, hash first. Raises ManifestError and ArtefactError."""
    manifest = read_manifest(folder)
    path = check_file(folder, manifest, manifest.artefact)
    estimator = load_estimator(path, allow_joblib=allow_joblib)
    if manifest.adopted is not None and manifest.adopted.classes:
        estimator = NamedClasses(estimator, manifest.adopted.classes)
    return LoadedVersion(manifest.version, estimator, manifest.schema, manifest)


def predict_with(estimator: Any, schema: Schema, frame: pd.DataFrame | Numbers) -> Predictions:
    """Predictions of any fitted estimator of this schema; it is given the rows as they are.

    A classifier whose `classes_` are the numbers from 0 on, one for each class of the schema, was trained on the
    codes of the classes: its class i is the schema's class i, unless the schema has classes of these names.
    Raises PredictionError for a wrong length, numbers that are not finite, and classes outside the schema.
    """
    rows = len(frame)
    if rows == 0:
        return Predictions(np.empty(0), np.empty(0), schema.classes)
    if schema.task is Task.REGRESSION:
        numbers = _one_a_row(np.asarray(_answer(estimator, "predict", frame), dtype=np.float64), rows)
        _check(numbers, (rows,), "predict")
        return Predictions(numbers, np.full(rows, np.nan))
    codes = _class_codes(estimator, schema)
    if not hasattr(estimator, "predict_proba"):
        return Predictions(_predicted_codes(estimator, schema, frame), np.full(rows, np.nan), schema.classes)
    shares = np.asarray(_answer(estimator, "predict_proba", frame), dtype=np.float64)
    _check(shares, (rows, len(codes)), "predict_proba")
    probability = np.zeros((rows, len(schema.classes)))
    probability[:, codes] = shares
    if _last_step(estimator) in _ARGMAX:
        prediction = codes[shares.argmax(axis=1)].astype(np.float64)
    else:
        prediction = _predicted_codes(estimator, schema, frame)
    score = probability[:, 1] if schema.is_binary else probability[np.arange(rows), prediction.astype(np.intp)]
    return Predictions(prediction, score, schema.classes, probability)


def _answer(estimator: Any, method: str, frame: Any) -> Any:
    if not callable(getattr(estimator, method, None)):
        raise PredictionError(f"the trainer returned {type(estimator).__name__}, which has no {method} method")
    try:
        return getattr(estimator, method)(native_frame(estimator, frame))
    except Exception as error:  # an estimator may be anybody's code
        raise PredictionError(f"{method} of the estimator raised {type(error).__name__}: {error}") from error


def _check(answer: NDArray[np.float64], shape: tuple[int, ...], method: str) -> None:
    if answer.shape != shape:
        raise PredictionError(f"{method} answered with shape {answer.shape} where {shape} was expected")
    if not np.isfinite(answer).all():
        bad = int(np.size(answer) - np.isfinite(answer).sum())
        raise PredictionError(f"{method} answered with {bad} values of {answer.size} that are NaN or infinite")


def _one_a_row(answer: NDArray[Any], rows: int) -> NDArray[Any]:
    """The answers without a second dimension of length 1, which CatBoost and some neural networks give."""
    return answer.reshape(rows) if answer.shape == (rows, 1) else answer


def _class_codes(estimator: Any, schema: Schema) -> NDArray[np.intp]:
    code_of = _codes_by_name(estimator, schema)
    known = getattr(estimator, "classes_", None)
    names = list(code_of) if known is None else [_name_of(label, code_of, schema) for label in known]
    unknown = [name for name in names if name not in code_of]
    if unknown:
        raise PredictionError(f"the estimator knows classes {unknown} that are not in {list(schema.classes)}")
    return np.array([code_of[name] for name in names], dtype=np.intp)


def _codes_by_name(estimator: Any, schema: Schema) -> dict[str, int]:
    """What the estimator's own labels mean: names of classes, or their codes (see `predict_with`)."""
    known = getattr(estimator, "classes_", None)
    names = None if known is None else [class_name(label) for label in known]
    codes = [str(code) for code in range(len(schema.classes))]
    by_code = names == codes and not set(codes) <= set(schema.classes)
    return {name: code for code, name in enumerate(codes if by_code else schema.classes)}


def _name_of(label: object, code_of: Mapping[str, int], schema: Schema) -> str:
    """The name by which `code_of` knows a label of the estimator's; else the label's own."""
    name = class_name(label)
    return name if name in code_of else schema.class_vocabulary.resolve(name)


def _predicted_codes(estimator: Any, schema: Schema, frame: Any) -> Numbers:
    answer = _one_a_row(np.asarray(_answer(estimator, "predict", frame)), len(frame))
    if answer.shape != (len(frame),):
        raise PredictionError(f"predict answered with shape {answer.shape} where {(len(frame),)} was expected")
    code_of = _codes_by_name(estimator, schema)
    distinct, positions = np.unique(
        answer.astype(object).astype(str) if answer.dtype == object else answer, return_inverse=True
    )
    names = [_name_of(label, code_of, schema) for label in distinct]
    unknown = [name for name in names if name not in code_of]
    if unknown:
        raise PredictionError(
            f"predict answered with {unknown[:5]}, which are not among the classes {list(schema.classes)}"
        )
    return np.array([code_of[name] for name in names], dtype=np.float64)[positions]


def _last_step(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return type(steps[-1][1] if steps else estimator).__name__

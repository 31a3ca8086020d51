"""A version in memory: its estimator, and predictions in the one form that every room uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.errors import DriftdError
from driftd.registry.artefact import load_estimator
from driftd.registry.manifest import Manifest, check_file, read_manifest
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Schema, Task
from driftd_detectors.values import class_name

# Estimators whose `predict` is the class of the highest probability: one pass gives both.
_ARGMAX = ("HistGradientBoostingClassifier", "RandomForestClassifier", "ExtraTreesClassifier", "LogisticRegression")


class PredictionError(DriftdError):
    """An estimator that answered with something that is no prediction; the message says what."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers to some rows: class codes into `classes` or numbers, and the score that `Schema` describes."""

    prediction: Numbers
    score: Numbers  # NaN for regression and for classifiers without probabilities
    classes: tuple[str, ...] = ()

    def take(self, which: NDArray[Any]) -> Predictions:
        """Those of some of the rows."""
        return Predictions(self.prediction[which], self.score[which], self.classes)

    def values(self) -> list[str] | list[float]:
        """The predictions as an application sees them: class text, or numbers."""
        if not self.classes:
            return [float(value) for value in self.prediction]
        return [self.classes[int(code)] for code in self.prediction]


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version that can predict."""

    version: int
    estimator: Any
    schema: Schema
    manifest: Manifest

    def predict(self, frame: pd.DataFrame) -> Predictions:
        """Predict rows that `feature_frame` made for this version's schema. Raises PredictionError."""
        return predict_with(self.estimator, self.schema, frame)


def load_version(folder: Path, *, allow_joblib: bool) -> LoadedVersion:
    """Load the version of a folder, hash first. Raises ManifestError and ArtefactError."""
    manifest = read_manifest(folder)
    path = check_file(folder, manifest, manifest.artefact)
    return LoadedVersion(manifest.version, load_estimator(path, allow_joblib=allow_joblib), manifest.schema, manifest)


def predict_with(estimator: Any, schema: Schema, frame: pd.DataFrame) -> Predictions:
    """Predictions of any fitted estimator of this schema.

    Raises PredictionError for a wrong length, numbers that are not finite, and classes outside the schema.
    """
    rows = len(frame)
    if rows == 0:
        return Predictions(np.empty(0), np.empty(0), schema.classes)
    if schema.task is Task.REGRESSION:
        numbers = np.asarray(_answer(estimator, "predict", frame), dtype=np.float64)
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
    return Predictions(prediction, score, schema.classes)


def _answer(estimator: Any, method: str, frame: pd.DataFrame) -> Any:
    if not callable(getattr(estimator, method, None)):
        raise PredictionError(f"the trainer returned {type(estimator).__name__}, which has no {method} method")
    try:
        return getattr(estimator, method)(frame)
    except Exception as error:  # an estimator may be anybody's code
        raise PredictionError(f"{method} of the estimator raised {type(error).__name__}: {error}") from error


def _check(answer: NDArray[np.float64], shape: tuple[int, ...], method: str) -> None:
    if answer.shape != shape:
        raise PredictionError(f"{method} answered with shape {answer.shape} where {shape} was expected")
    if not np.isfinite(answer).all():
        bad = int(np.size(answer) - np.isfinite(answer).sum())
        raise PredictionError(f"{method} answered with {bad} values of {answer.size} that are NaN or infinite")


def _class_codes(estimator: Any, schema: Schema) -> NDArray[np.intp]:
    resolve = schema.class_vocabulary.resolve
    names = [resolve(class_name(label)) for label in getattr(estimator, "classes_", schema.classes)]
    unknown = [name for name in names if name not in schema.classes]
    if unknown:
        raise PredictionError(f"the estimator knows classes {unknown} that are not in {list(schema.classes)}")
    return np.array([schema.classes.index(name) for name in names], dtype=np.intp)


def _predicted_codes(estimator: Any, schema: Schema, frame: pd.DataFrame) -> Numbers:
    answer = np.asarray(_answer(estimator, "predict", frame))
    if answer.shape != (len(frame),):
        raise PredictionError(f"predict answered with shape {answer.shape} where {(len(frame),)} was expected")
    code_of = {name: code for code, name in enumerate(schema.classes)}
    distinct, positions = np.unique(
        answer.astype(object).astype(str) if answer.dtype == object else answer, return_inverse=True
    )
    names = [schema.class_vocabulary.resolve(class_name(label)) for label in distinct]
    unknown = [name for name in names if name not in code_of]
    if unknown:
        raise PredictionError(
            f"predict answered with {unknown[:5]}, which are not among the classes {list(schema.classes)}"
        )
    return np.array([code_of[name] for name in names], dtype=np.float64)[positions]


def _last_step(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return type(steps[-1][1] if steps else estimator).__name__

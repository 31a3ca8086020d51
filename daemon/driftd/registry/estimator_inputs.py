"""Inputs and classes as estimators of other libraries take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from driftd_detectors.schema import class_name

CATBOOST_MISSING = "nan"  # a missing category, as CatBoost's documentation says to write it


def native_frame(estimator: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as this estimator takes it; any other estimator gets it unchanged."""
    library = type(estimator).__module__.partition(".")[0]
    if library not in {"xgboost", "lightgbm", "catboost"}:
        return frame
    texts = [
        name
        for name in frame.columns
        if frame[name].dtype == np.object_ or isinstance(frame[name].dtype, pd.StringDtype)
    ]
    if not texts:
        return frame
    native = frame.copy(deep=False)
    known = _lightgbm_categories(estimator) if library == "lightgbm" else None
    for place, name in enumerate(texts):
        if library == "catboost":
            native[name] = frame[name].where(frame[name].notna(), CATBOOST_MISSING)
        elif known is not None and len(known) == len(texts):
            native[name] = _encode(frame[name], known[place])
        else:
            native[name] = _categorical(frame[name])
    return native


def _lightgbm_categories(estimator: Any) -> list[list[Any]] | None:
    """The categories that LightGBM saw in training, a list for each column of categories, in their order."""
    found: list[list[Any]] | None = getattr(getattr(estimator, "booster_", None), "pandas_categorical", None)
    return found


def _encode(texts: pd.Series[Any], categories: list[Any]) -> pd.Series[Any]:
    """The values with the categories of training, which may have been numbers; an unknown one is missing."""
    code_of = {class_name(category): code for code, category in enumerate(categories)}
    codes = texts.map(code_of).fillna(-1).astype(int).to_numpy()
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(categories)), index=texts.index)


def _categorical(texts: pd.Series[Any]) -> pd.Series[Any]:
    found = sorted(texts.dropna().unique()) or [""]  # without any category the type would be that of numbers
    return pd.Series(pd.Categorical(texts, categories=found), index=texts.index)


class NamedClasses:
    """Answers as the estimator does, with `names[i]` for its class number i.

    Parameters
    ----------
    estimator
        A fitted classifier; `names` are in the order of its `classes_`, which is that of its probabilities.
    """

    def __init__(self, estimator: Any, names: Sequence[str]) -> None:
        self.estimator = estimator
        self.classes_ = np.array(names, dtype=object)

    def predict(self, frame: pd.DataFrame) -> NDArray[np.object_]:
        """The name of the class of each row. Raises KeyError for an answer that is none of the classes."""
        if not hasattr(self.estimator, "classes_"):
            return np.asarray(self.classes_[self.predict_proba(frame).argmax(axis=1)])
        own = [class_name(_plain(label)) for label in self.estimator.classes_]
        name_of = dict(zip(own, self.classes_, strict=True))
        answer = np.asarray(self.estimator.predict(frame)).reshape(len(frame))
        return np.array([name_of[class_name(_plain(label))] for label in answer], dtype=object)

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The probability of each class, in the order of `classes_`."""
        return np.asarray(self.estimator.predict_proba(frame), dtype=np.float64)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

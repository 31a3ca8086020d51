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
    known = _trained_categories(estimator, library, list(frame.columns), texts)
    for name in texts:
        if library == "catboost":
            native[name] = frame[name].where(frame[name].notna(), CATBOOST_MISSING)
        elif name in known:
            native[name] = _encode(frame[name], known[name])
        else:
            native[name] = _categorical(frame[name])
    return native


def category_places(estimator: Any) -> tuple[int, ...]:
    """The places of the features that an estimator of these libraries takes as categories, as it says itself.

    LightGBM and XGBoost also take numbers as categories; those are given to them as numbers, and are none here.
    """
    library = type(estimator).__module__.partition(".")[0]
    if library == "catboost":
        return tuple(int(place) for place in estimator.get_cat_feature_indices())
    if library == "xgboost":
        return tuple(_xgboost_categories(estimator))
    found = _lightgbm_categories(estimator) if library == "lightgbm" else None
    if not found:
        return ()
    places = getattr(estimator.booster_, "params", {}).get("categorical_column") or ()
    return tuple(int(place) for place in places) if len(places) == len(found) else ()


def _trained_categories(estimator: Any, library: str, names: list[str], texts: list[str]) -> dict[str, pd.Index[Any]]:
    """The categories of training, in their order, by the name of the feature; a feature without any is left out."""
    if library == "lightgbm":
        listed = _lightgbm_categories(estimator)
        if listed is None or len(listed) != len(texts):
            return {}
        return {name: pd.Index(categories) for name, categories in zip(texts, listed, strict=True)}
    if library != "xgboost":
        return {}
    # XGBoost takes a text that it does not know for the next one that it does, or raises: it is missing instead.
    stored = {names[place]: categories for place, categories in _xgboost_categories(estimator).items()}
    absent = [name for name in texts if name not in stored]
    if absent:
        raise ValueError(
            f"the model of XGBoost holds no categories of {', '.join(absent)}, so nobody knows which code a text has: "
            "train it with XGBoost 3.1 or newer, on a table whose columns of text have pandas' type category"
        )
    return stored


def _xgboost_categories(estimator: Any) -> dict[int, pd.Index[Any]]:
    """The categories that XGBoost saw in training, by the place of the feature; older ones kept none."""
    booster = estimator.get_booster() if hasattr(estimator, "get_booster") else None
    if booster is None or "c" not in (booster.feature_types or ()) or not hasattr(booster, "get_categories"):
        return {}
    stored = booster.get_categories(export_to_arrow=True).to_arrow()
    kept = {place: categories for place, (_, categories) in enumerate(stored) if categories is not None}
    return {place: pd.Index(categories.to_numpy(zero_copy_only=False)) for place, categories in kept.items()}


def _lightgbm_categories(estimator: Any) -> list[list[Any]] | None:
    """The categories that LightGBM saw in training, a list for each column of categories, in their order."""
    found: list[list[Any]] | None = getattr(getattr(estimator, "booster_", None), "pandas_categorical", None)
    return found


def _encode(texts: pd.Series[Any], categories: pd.Index[Any]) -> pd.Series[Any]:
    """The values with the categories of training, which may have been numbers; an unknown one is missing."""
    code_of = {class_name(category): code for code, category in enumerate(categories)}
    codes = texts.map(code_of).fillna(-1).astype(int).to_numpy()
    return pd.Series(pd.Categorical.from_codes(codes, categories=categories), index=texts.index)


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

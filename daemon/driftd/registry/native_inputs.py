"""Rows as the estimators of XGBoost, LightGBM and CatBoost take them when they stand alone.

`feature_frame` gives categories as text. scikit-learn's encoders take that; XGBoost and LightGBM ask for pandas'
categories, and CatBoost for text without gaps. In a Pipeline the step before sees to it, so that only a bare
estimator is helped here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

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
            native[name] = _coded(frame[name], known[place])
        else:
            native[name] = _categorical(frame[name])
    return native


def _lightgbm_categories(estimator: Any) -> list[list[Any]] | None:
    """The categories that LightGBM saw in training, a list for each column of categories, in their order."""
    found: list[list[Any]] | None = getattr(getattr(estimator, "booster_", None), "pandas_categorical", None)
    return found


def _coded(texts: pd.Series[Any], categories: list[Any]) -> pd.Series[Any]:
    """The values with the categories of training, which may have been numbers; an unknown one is missing."""
    code_of = {class_name(category): code for code, category in enumerate(categories)}
    codes = texts.map(code_of).fillna(-1).astype(int).to_numpy()
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(categories)), index=texts.index)


def _categorical(texts: pd.Series[Any]) -> pd.Series[Any]:
    found = sorted(texts.dropna().unique()) or [""]  # without any category the type would be that of numbers
    return pd.Series(pd.Categorical(texts, categories=found), index=texts.index)

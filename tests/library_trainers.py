"""Trainers as users write them, one for each library of models, alone and in a Pipeline. Imports are lazy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from driftd.trainers import TrainingContext

LIBRARIES = ("xgboost", "lightgbm", "catboost")


def labelled(rows: int = 400, seed: int = 1) -> pd.DataFrame:
    """Rows of two numbers with gaps, a category and a class that depends on all."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"price": rng.normal(size=rows), "weight": rng.normal(size=rows)})
    data["region"] = rng.choice(["north", "south", "west"], rows)
    chance = data["price"] + 0.5 * data["weight"] + (data["region"] == "west") + rng.normal(size=rows) / 2
    data["late"] = np.where(chance > 0, "yes", "no")
    data.loc[rng.random(rows) < 0.05, "price"] = np.nan
    return data


def forest(data: pd.DataFrame, context: TrainingContext) -> Pipeline:
    """A scikit-learn Pipeline."""
    model = RandomForestClassifier(n_estimators=20, random_state=context.seed)
    return make_pipeline(_encoder(context), model).fit(data[list(context.features)], data[context.target])


def xgboost_alone(data: pd.DataFrame, context: TrainingContext) -> Any:
    """XGBoost on pandas' categories; it is trained on the codes of the classes."""
    from xgboost import XGBClassifier  # noqa: PLC0415 - a test needs one library of the three

    model = XGBClassifier(n_estimators=20, enable_categorical=True, random_state=context.seed)
    return model.fit(_categories(data, context), _codes(data, context), sample_weight=context.weight)


def xgboost_in_a_pipeline(data: pd.DataFrame, context: TrainingContext) -> Pipeline:
    """XGBoost behind an encoder."""
    from xgboost import XGBClassifier  # noqa: PLC0415 - a test needs one library of the three

    model = XGBClassifier(n_estimators=20, random_state=context.seed)
    return make_pipeline(_encoder(context), model).fit(data[list(context.features)], _codes(data, context))


def lightgbm_alone(data: pd.DataFrame, context: TrainingContext) -> Any:
    """LightGBM on pandas' categories."""
    from lightgbm import LGBMClassifier  # noqa: PLC0415 - a test needs one library of the three

    model = LGBMClassifier(n_estimators=20, random_state=context.seed, verbose=-1)
    return model.fit(_categories(data, context), data[context.target], sample_weight=context.weight)


def lightgbm_in_a_pipeline(data: pd.DataFrame, context: TrainingContext) -> Pipeline:
    """LightGBM behind an encoder."""
    from lightgbm import LGBMClassifier  # noqa: PLC0415 - a test needs one library of the three

    model = LGBMClassifier(n_estimators=20, random_state=context.seed, verbose=-1)
    encoder = _encoder(context).set_output(transform="default")
    return make_pipeline(encoder, model).fit(data[list(context.features)], data[context.target])


def catboost_alone(data: pd.DataFrame, context: TrainingContext) -> Any:
    """CatBoost on text."""
    from catboost import CatBoostClassifier  # noqa: PLC0415 - a test needs one library of the three

    model = CatBoostClassifier(
        iterations=20,
        cat_features=list(context.categorical),
        random_seed=context.seed,
        verbose=False,
        allow_writing_files=False,
    )
    return model.fit(data[list(context.features)], data[context.target], sample_weight=context.weight)


def catboost_in_a_pipeline(data: pd.DataFrame, context: TrainingContext) -> Pipeline:
    """CatBoost behind an encoder."""
    from catboost import CatBoostClassifier  # noqa: PLC0415 - a test needs one library of the three

    model = CatBoostClassifier(iterations=20, random_seed=context.seed, verbose=False, allow_writing_files=False)
    return make_pipeline(_encoder(context), model).fit(data[list(context.features)], data[context.target])


def _encoder(context: TrainingContext) -> Any:
    plain = [name for name in context.features if name not in context.categorical]
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(context.categorical)),
        (StandardScaler(), plain),
    )


def _categories(data: pd.DataFrame, context: TrainingContext) -> pd.DataFrame:
    return data[list(context.features)].astype(dict.fromkeys(context.categorical, "category"))


def _codes(data: pd.DataFrame, context: TrainingContext) -> pd.Series:
    return data[context.target].map({name: code for code, name in enumerate(context.classes)})

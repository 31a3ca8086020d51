"""The default trainer: histogram gradient boosting, for any tabular task.

(LightGBM's algorithm, Ke et al. 2017, as scikit-learn implements it: missing values and categories are split on
natively, so nothing is imputed and nothing scaled.)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from driftd.trainers.context import TrainingContext

MOST_CATEGORIES = 254  # the 255 bins of the algorithm, less one; rarer categories share the last
MOST_TREES = 300
FEWEST_TREES = 20
_NEWEST = 0.15  # of the rows: what early stopping looks at
_ROWS_TO_STOP_EARLY = 500

_LOSSES = {"mae": "absolute_error", "mean_absolute_error": "absolute_error", "absolute_error": "absolute_error"}


def gradient_boosting(data: pd.DataFrame, context: TrainingContext) -> Pipeline:
    """Train on all rows, with as many trees as served the newest rows best.

    A random validation part would lie between its neighbours in time and so always ask for more trees; here the
    number of trees is found on the newest 15 % and the model then fitted to all rows with that many.

    `context.parameters` are passed to scikit-learn's HistGradientBoosting; giving `max_iter` turns early stopping off.
    Raises TypeError for a parameter that it does not know, ValueError for fewer than two classes and
    for rows that hold no value at all.
    """
    if context.classes and data[context.target].nunique() < 2:  # noqa: PLR2004 - a classifier tells at least two apart
        only = ", ".join(map(str, data[context.target].unique()))
        raise ValueError(f"the training rows hold a single class ({only}): there is nothing to tell apart yet")
    rows, target = data[list(context.features)], data[context.target].to_numpy()
    categorical, plain = (
        _filled(rows, context.categorical),
        _filled(rows, set(context.features) - set(context.categorical)),
    )
    if not categorical and not plain:
        raise ValueError("no feature holds any value in the training rows")
    columns = _columns(categorical, plain).fit(rows)
    numbers = columns.transform(rows)
    parameters = dict(context.parameters)
    if "max_iter" not in parameters:
        parameters["max_iter"] = _trees(numbers, target, context, len(categorical), parameters)
    model = _model(context, len(categorical), parameters).fit(numbers, target, sample_weight=context.weight)
    return Pipeline([("columns", columns), ("model", model)])


def _filled(rows: pd.DataFrame, names: Collection[str]) -> list[str]:
    """The columns that hold any value, in the frame's order: one that is missing in every row can teach nothing."""
    return [name for name in rows.columns if name in names and rows[name].notna().any()]


def _columns(categorical: list[str], plain: list[str]) -> ColumnTransformer:
    """Categories as codes, first; then everything else as it is. Unknown and missing categories are missing."""
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=MOST_CATEGORIES,
    )
    parts = [("categories", encoder, categorical), ("numbers", "passthrough", plain)]
    return ColumnTransformer([part for part in parts if part[2]], verbose_feature_names_out=False)


def _model(context: TrainingContext, categories: int, parameters: dict[str, Any]) -> Any:
    settings: dict[str, Any] = {
        "random_state": context.seed,
        "categorical_features": list(range(categories)) or None,
        "early_stopping": False,
        **parameters,
    }
    if context.classes:
        return HistGradientBoostingClassifier(**settings)
    return HistGradientBoostingRegressor(**{"loss": _LOSSES.get(context.metric or "", "squared_error"), **settings})


def _trees(numbers: Any, target: Any, context: TrainingContext, categories: int, parameters: dict[str, Any]) -> int:
    """How many trees serve the newest rows best; 100 where there are too few rows to ask them."""
    rows = len(target)
    cut = int(np.searchsorted(context.at, context.at[int(rows * (1 - _NEWEST))])) if rows else 0
    older, newer = slice(None, cut), slice(cut, None)
    told_apart = not context.classes or (set(target[newer]) <= set(target[older]) and len(set(target[older])) > 1)
    if rows < _ROWS_TO_STOP_EARLY or cut < rows // 2 or not told_apart:
        return 100
    weight = context.weight
    scout = _model(
        context,
        categories,
        {"n_iter_no_change": 15, "scoring": "loss", **parameters, "max_iter": MOST_TREES, "early_stopping": True},
    )
    scout.fit(
        numbers[older],
        target[older],
        sample_weight=None if weight is None else weight[older],
        X_val=numbers[newer],
        y_val=target[newer],
        sample_weight_val=None if weight is None else weight[newer],
    )
    return max(FEWEST_TREES, int(np.argmax(scout.validation_score_)))

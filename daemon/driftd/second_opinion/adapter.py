"""The only module that imports Evidently: lazily, and only in a child process (see DESIGN 4).

Its import takes seconds and 100 MB and brings a web framework with it; two of its exceptions derive from BaseException.
All of that ends here: the functions below take pandas objects and give plain values or raise `EvidentlyError`.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from driftd.errors import DriftdError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class EvidentlyError(DriftdError):
    """Evidently could not do what it was asked; the message is its own, with the kind of its exception."""


@dataclass(frozen=True, slots=True)
class StattestAnswer:
    """What a stattest returned: its score, the threshold that it used, and whether it says drifted."""

    score: float
    threshold: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class Roles:
    """What each column of a page is. Columns not named are not looked at.

    `target` and `prediction` are given together or not at all, and the prediction is also one of the numbers or
    categories; `classes` is empty for regression. For two classes `score` may name the probability of the second.
    """

    numbers: Sequence[str]
    categories: Sequence[str]
    times: Sequence[str]
    target: str | None = None
    prediction: str | None = None
    score: str | None = None
    classes: tuple[str, ...] = ()


def load_evidently() -> None:
    """Import what the questions below need, which takes seconds. Raises EvidentlyError when it cannot be imported."""

    def load() -> None:
        import evidently.legacy.calculations.stattests
        import evidently.metrics  # noqa: F401

    _guard(load)


def ask_stattest(name: str, reference: pd.Series, current: pd.Series, column_type: str) -> StattestAnswer:
    """Put one column to Evidently's stattest `name`, at its default threshold.

    `column_type` is `num`, `cat` or `text`. Neither series may hold missing or infinite values. Raises EvidentlyError
    when the test is not applicable to that type, fails, or returns no number.
    """

    def ask() -> StattestAnswer:
        from evidently.legacy.calculations.stattests import get_stattest
        from evidently.legacy.core import ColumnType

        kind = ColumnType(column_type)
        found = get_stattest(reference, current, kind, name)(reference, current, kind, None)
        return StattestAnswer(float(found.drift_score), float(found.actual_threshold), bool(found.drifted))

    answer = _guard(ask)
    if math.isnan(answer.score):
        raise EvidentlyError("its score is not a number")
    return answer


def ask_metric(
    name: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    column: str,
    *,
    is_number: bool,
    parameters: Mapping[str, object],
) -> float:
    """Evidently's metric `name` of one column of the current sample: its number, or the share of what it counts.

    Raises EvidentlyError when the metric does not know the parameters, does not fit the column, or gives no number.
    """

    def ask() -> float:
        import evidently.metrics
        from evidently import DataDefinition, Dataset, Report

        columns = [column]
        definition = DataDefinition(
            numerical_columns=columns if is_number else [], categorical_columns=[] if is_number else columns
        )
        samples = (Dataset.from_pandas(frame[columns], data_definition=definition) for frame in (current, reference))
        metric = getattr(evidently.metrics, name)(column=column, **parameters)
        value = Report([metric]).run(*samples).dict()["metrics"][0]["value"]
        return float(value["share"] if isinstance(value, dict) else value)

    found = _guard(ask)
    if not math.isfinite(found):
        raise EvidentlyError(f"it gave {found}")
    return found


def render(
    reference: pd.DataFrame, current: pd.DataFrame, roles: Roles, presets: Sequence[str], methods: Mapping[str, str]
) -> str:
    """Render Evidently's page on the two samples and return its HTML, complete and self-contained.

    `presets` are of `drift`, `summary` and `quality`, in the order of the page; `methods` maps columns to stattests,
    the others get Evidently's default. Raises EvidentlyError when any column or preset fails: the caller leaves it out.
    """

    def run() -> str:
        from evidently import Dataset, Report

        definition = _definition(roles)
        report = Report([_preset(name, roles, methods) for name in presets])
        snapshot = report.run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )
        return str(snapshot.get_html_str(as_iframe=False))

    return _guard(run)


def _definition(roles: Roles):  # type: ignore[no-untyped-def]  # Evidently's type, which must not be imported at the top
    from evidently import BinaryClassification, DataDefinition, MulticlassClassification, Regression

    tasks: dict[str, list[object]] = {}
    numbers, categories = list(roles.numbers), list(roles.categories)
    if roles.target is not None and not roles.classes:
        tasks["regression"] = [Regression(target=roles.target, prediction=roles.prediction)]
        numbers.append(roles.target)
    elif roles.target is not None:
        categories.append(roles.target)
        if len(roles.classes) == 2:  # noqa: PLR2004 - two classes are binary
            task = BinaryClassification(
                target=roles.target,
                prediction_labels=roles.prediction,
                prediction_probas=roles.score,
                pos_label=roles.classes[1],
            )
            numbers += [roles.score] if roles.score else []
        else:
            task = MulticlassClassification(target=roles.target, prediction_labels=roles.prediction)
        tasks["classification"] = [task]
    return DataDefinition(
        numerical_columns=numbers, categorical_columns=categories, datetime_columns=list(roles.times), **tasks
    )


def _preset(name: str, roles: Roles, methods: Mapping[str, str]):  # type: ignore[no-untyped-def]  # as above
    from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset, RegressionPreset

    columns = [*roles.numbers, *roles.categories]
    if name == "drift":
        chosen = {column: method for column, method in methods.items() if column in columns}
        return DataDriftPreset(columns=columns, per_column_method=chosen or None)
    if name == "summary":
        return DataSummaryPreset(columns=columns)
    return ClassificationPreset() if roles.classes else RegressionPreset()


def _guard(call: Callable[[], T]) -> T:
    """Run `call` quietly, with whatever Evidently raises as an EvidentlyError."""
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently sends usage figures home unless told not to, before its import
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # ColumnNotFound and ReferenceMetricNotFound derive from it
        text = " ".join(str(error).split())[:300].rstrip(".")
        raise EvidentlyError(f"{type(error).__name__}: {text}" if text else type(error).__name__) from error

"""The detectors that a config names: which scores they give of a window's sample against the reference's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from driftd.stattests import EVIDENTLY, STATTESTS
from driftd.training.user_functions import PluginError, import_function, name_function
from driftd_detectors.schema import Kind, Schema

SAMPLE_ROWS = 5_000  # of a window and of the reference
_SMALLEST = 1e-15  # a p-value below it says no more


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One score: what gives it, and of which columns.

    `use` is `evidently:NAME`, then there is one column; `package.module:function` or the name of an entry point, which
    gets the columns named as two DataFrames (all features where none is named).
    """

    use: str
    columns: tuple[str, ...] = ()
    parameters: Mapping[str, Any] | None = None


def score(spec: DetectorSpec, current: pd.DataFrame, reference: pd.DataFrame, schema: Schema) -> float:
    """How far a sample is from the reference: a finite number, larger is farther, but for Evidently's metrics.

    A p-value p counts as the normal quantile of 1 - p. Raises PluginError when the score cannot be had.
    """
    if spec.use.startswith(EVIDENTLY):
        return _evidently_score(spec, current, reference, schema)
    function = import_function(spec.use)
    names = list(spec.columns or schema.names)
    absent = [name for name in names if name not in current.columns or name not in reference.columns]
    if absent:
        raise PluginError(f"the column {absent[0]!r} is not there")
    try:
        found = float(function(current[names].copy(), reference[names].copy(), **(spec.parameters or {})))
    except MemoryError:
        raise
    except Exception as error:
        raise PluginError(f"{name_function(spec.use)} raised {type(error).__name__}: {error}") from error
    if not math.isfinite(found):
        raise PluginError(f"{name_function(spec.use)} gave {found}; a score is a finite number")
    return found


def _evidently_score(spec: DetectorSpec, current: pd.DataFrame, reference: pd.DataFrame, schema: Schema) -> float:
    from driftd.second_opinion.adapter import EvidentlyError, ask_metric  # noqa: PLC0415 - seconds, and only if asked
    from driftd.second_opinion.opinions import ask, convert_column, samples_for  # noqa: PLC0415 - pandas

    name, column = spec.use.removeprefix(EVIDENTLY), spec.columns[0]
    try:
        if name not in STATTESTS:
            kind = schema.kind_of(column)
            typed = [pd.DataFrame({column: convert_column(frame[column], kind)}) for frame in (reference, current)]
            is_number = kind is Kind.NUMBER
            return ask_metric(name, typed[0], typed[1], column, is_number=is_number, parameters=spec.parameters or {})
        stattest = STATTESTS[name]
        before, now, column_type = samples_for(stattest, reference, current, schema, column)
        found = ask(stattest, before, now, column_type, seed=0).score
    except (ValueError, EvidentlyError) as error:
        raise PluginError(f"{spec.use} of {column!r}: {error}") from error
    return _quantile(found) if stattest.is_p_value else found


def _quantile(p_value: float) -> float:
    return -NormalDist().inv_cdf(float(np.clip(p_value, _SMALLEST, 1 - _SMALLEST)))

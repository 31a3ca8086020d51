"""The user's functions: found by their reference or entry point, called, and what they give is checked."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from driftd.config.plugin_schema import PLUGIN_METRIC
from driftd.entry_points import PluginError, find_plugin, load_plugin
from driftd_detectors.columns import Numbers, Outcomes
from driftd_detectors.schema import is_own

__all__ = ["PluginError", "call_loss", "import_function", "name_function", "with_own_loss"]


def import_name(reference: str) -> Any:
    """Whatever `package.module:name` is. Raises PluginError when there is none, or when importing it fails."""
    try:
        return _load_attribute(reference)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise PluginError(f"{reference} cannot be imported: {type(error).__name__}: {error}") from error


def import_function(reference: str) -> Callable[..., Any]:
    """The function behind `package.module:function`, `plugin:` and a metric, or the name of a detector.

    The last two are entry points of installed packages. Raises PluginError when there is none, or when importing it
    fails.
    """
    if reference.startswith(PLUGIN_METRIC):
        return load_plugin("metric", reference.removeprefix(PLUGIN_METRIC))
    if ":" not in reference:
        return load_plugin("detector", reference)
    try:
        found = _load_attribute(reference)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise PluginError(f"{reference} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise PluginError(f"{reference} is no function but {type(found).__name__}")
    return found


def name_function(reference: str) -> str:
    """A function as it is called in messages; of a plug-in with its package and version."""
    if reference.startswith(PLUGIN_METRIC):
        return str(find_plugin("metric", reference.removeprefix(PLUGIN_METRIC)))
    return reference if ":" in reference else str(find_plugin("detector", reference))


def _load_attribute(reference: str) -> object:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def call_loss(reference: str, outcomes: Outcomes) -> Numbers:
    """The loss of each row under the user's function, (rows,); NaN without a label.

    The function gets labels, predictions and scores of the labelled rows: class names or numbers, and floats. A label
    that is no class of the version is not shown to it: it counts as the largest loss of the others. Raises PluginError
    when the function fails, or gives anything but a finite number or NaN for each row.
    """
    asked = outcomes.labelled & ~outcomes.strays
    losses = np.full(outcomes.rows, np.nan)
    if asked.any():
        losses[asked] = _losses(reference, outcomes, asked)
    if outcomes.strays.any():
        known = losses[np.isfinite(losses)]
        losses[outcomes.strays] = known.max() if len(known) else 1.0
    return losses


def with_own_loss(metric: str | None, outcomes: Outcomes) -> Outcomes:
    """The outcomes with the losses of their rows, where the metric is a function of the user."""
    if metric is None or not is_own(metric):
        return outcomes
    return replace(outcomes, own_loss=call_loss(metric, outcomes))


def _losses(reference: str, outcomes: Outcomes, asked: np.ndarray[Any, np.dtype[np.bool_]]) -> Numbers:
    function = import_function(reference)
    label, prediction = (_spoken(outcomes, values)[asked] for values in (outcomes.label, outcomes.prediction))
    try:
        given = function(label, prediction, outcomes.score[asked])
        found = np.asarray(given, dtype=np.float64)
    except MemoryError:
        raise
    except Exception as error:
        raise PluginError(f"{_name_metric(reference)} raised {type(error).__name__}: {error}") from error
    if found.shape != (int(asked.sum()),):
        raise PluginError(
            f"{_name_metric(reference)} gave shape {found.shape} for {int(asked.sum())} rows; one loss a row"
        )
    if np.isinf(found).any():
        raise PluginError(f"{_name_metric(reference)} gave an infinite loss; a loss is a number, or NaN for none")
    return found


def _name_metric(reference: str) -> str:
    return name_function(reference) if reference.startswith(PLUGIN_METRIC) else f"the metric {reference}"


def _spoken(outcomes: Outcomes, values: Numbers) -> np.ndarray[Any, Any]:
    """Predictions or labels as the user knows them: class names, or numbers."""
    if not outcomes.classes:
        return values
    coded = outcomes.texts(values)
    return np.array([*coded.labels, None], dtype=object)[coded.codes]

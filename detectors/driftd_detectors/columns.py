"""The one form in which rows reach the statistics: named columns of plain NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]  # missing is NaN; timestamps are epoch seconds
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Coded:
    """A text or boolean column as codes into its labels; missing is -1. Booleans have labels ("0", "1")."""

    codes: Codes
    labels: tuple[str, ...]


Column = Numbers | Coded


@dataclass(frozen=True, slots=True)
class Columns:
    """Some rows of a model, column by column.

    A feature that the source did not deliver at all is absent from `values`. Values that could not be read as
    the feature's kind are missing in `values` and counted in `unreadable`.
    """

    rows: int
    values: Mapping[str, Column]
    unreadable: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The predictions of one window with the labels known so far; arrays of one length.

    `prediction` and `label` are class codes into `classes` (-1: no label yet) for classification, numbers (NaN: no
    label yet) for regression. `score` is the probability described in `Schema`, NaN where the application sent none.
    Times are epoch seconds; `label_at` is NaN where there is no label yet.
    """

    at: Numbers
    prediction: Numbers
    score: Numbers
    label: Numbers
    label_at: Numbers
    version: NDArray[np.int64]
    classes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many predictions there are."""
        return len(self.at)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which predictions have their label."""
        return ~np.isnan(self.label_at)

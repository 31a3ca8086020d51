"""An estimator whose classes are numbers, or have no names at all, under the names that the target has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from driftd_detectors.schema import class_name


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

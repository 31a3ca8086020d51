"""Outcomes joined, cut, and in the codes of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Numbers, Outcomes
from driftd_detectors.schema import Schema, Task
from driftd_detectors.values import ClassCodes


def take_outcomes(outcomes: Outcomes, places: NDArray[np.int64]) -> Outcomes:
    """The outcomes of the rows at these places."""
    own, sampling = outcomes.own_loss, outcomes.sampling
    return replace(
        outcomes,
        at=outcomes.at[places],
        prediction=outcomes.prediction[places],
        score=outcomes.score[places],
        label=outcomes.label[places],
        label_at=outcomes.label_at[places],
        version=outcomes.version[places],
        own_loss=None if own is None else own[places],
        sampling=None if sampling is None else sampling[places],
    )


def stack_outcomes(parts: Sequence[Outcomes], classes: tuple[str, ...]) -> Outcomes:
    """Outcomes with these classes, one after the other; texts outside the classes are united."""
    codes = ClassCodes(classes)

    def in_common_codes(part: Outcomes, values: Numbers) -> Numbers:
        if not part.classes or not part.unseen:
            return values
        return recode(part.texts(values), codes)

    def join(arrays: list[Numbers]) -> Numbers:
        return np.concatenate(arrays) if arrays else np.empty(0)

    return Outcomes(
        at=join([part.at for part in parts]),
        prediction=join([in_common_codes(part, part.prediction) for part in parts]),
        score=join([part.score for part in parts]),
        label=join([in_common_codes(part, part.label) for part in parts]),
        label_at=join([part.label_at for part in parts]),
        version=np.concatenate([part.version for part in parts]) if parts else np.empty(0, dtype=np.int64),
        classes=classes,
        unseen=codes.unseen,
        unreadable_scores=sum(part.unreadable_scores for part in parts),
    )


def recode(column: Coded, codes: ClassCodes) -> Numbers:
    """A text column in the codes of classes; texts that are none get codes of their own."""
    places = [codes.of(label) for label in column.labels]
    return np.array([*places, -1], dtype=np.float64)[column.codes]


def no_label(schema: Schema) -> float:
    """What stands for a label that is not there: NaN for numbers, -1 for classes."""
    return np.nan if schema.task is Task.REGRESSION else -1.0

"""How late the labels of a model's rows come, and what each row therefore counts in training and in the gate. Pure."""

from __future__ import annotations

import numpy as np

from driftd.training.training_rows import TrainingRows
from driftd_detectors.columns import Numbers
from driftd_detectors.performance.label_delay import LabelDelay


def learn_label_delay(rows: TrainingRows, until: float) -> LabelDelay:
    """How late the labels of some rows come, as they are known at `until`; unknown where nobody said when they came.

    Snapshots of earlier versions have the time of the prediction where a file gave no time of the label: where that is
    so of every row that no version of ours predicted, these rows teach nothing.
    """
    label_at, own = rows.label_at, rows.version == 0
    if not np.any(label_at[own] > rows.at[own]):
        label_at = np.where(own, np.nan, label_at)
    classes = len(rows.schema.classes)
    return LabelDelay.learn(rows.at, label_at, rows.label_delay_values, classes, until=_as_stored(until))


def label_weights(rows: TrainingRows, delay: LabelDelay, until: float) -> Numbers:
    """What each row counts at `until`, (rows,): 0 for those that are too young for their labels to be alike."""
    return delay.weights(rows.at, rows.label_delay_values, _as_stored(until))


def _as_stored(until: float) -> float:
    """A time as a manifest holds it, in microseconds: `reproduce` must find the very same weights."""
    return round(until, 6)

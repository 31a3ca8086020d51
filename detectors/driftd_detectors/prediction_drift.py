"""Prediction drift: evidence that what the model says is distributed differently."""

from __future__ import annotations

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.layout import Layout
from driftd_detectors.settings import MonitorSettings
from driftd_detectors.stream_drift import ReferenceScores, StreamDrift


def begin_prediction_drift(
    layout: Layout, reference: ReferenceScores | None, settings: MonitorSettings
) -> StreamDrift | None:
    """Watch the predictions of a model, and its scores where it gives any.

    Parameters
    ----------
    layout
        The bins of the columns; it says which streams there are.
    reference
        The scores of the reference's own windows; None: nothing to learn from yet.
    settings
        Budget and tolerance.

    Returns
    -------
    StreamDrift or None
        None where the model always says the same.

    Notes
    -----
    As for data drift, on the streams of the predicted class or number and of the score. It needs no labels and sees
    every change of the features that the model reacts to, and none other.

    Examples
    --------
    >>> import numpy as np
    >>> from driftd_detectors.columns import Columns
    >>> from driftd_detectors.layout import learn_layout
    >>> from driftd_detectors.schema import Feature, Kind, Schema, Task
    >>> schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    >>> layout = learn_layout(Columns(3, {"x": np.arange(3.0)}, {}), None, schema)
    >>> begin_prediction_drift(layout, None, MonitorSettings(windows_per_year=365)) is None
    True

    References
    ----------
    .. [1] Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """
    return StreamDrift.begin(
        EvidenceKind.PREDICTION,
        layout,
        reference,
        settings.budget.threshold(EvidenceKind.PREDICTION),
        weights={},
        tolerance=settings.tolerance,
        window_seconds=settings.window_seconds,
        waits_for=settings.learning_windows,
    )

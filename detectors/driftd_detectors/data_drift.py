"""Data drift: evidence that the features are distributed differently."""

from __future__ import annotations

from collections.abc import Mapping

from driftd_detectors.assessment import EvidenceKind
from driftd_detectors.layout import Layout
from driftd_detectors.settings import MonitorSettings
from driftd_detectors.stream_drift import ReferenceScores, StreamDrift


def begin_data_drift(
    layout: Layout,
    reference: ReferenceScores | None,
    settings: MonitorSettings,
    importance: Mapping[str, float],
) -> StreamDrift | None:
    """Watch the features of a model.

    Parameters
    ----------
    layout
        The bins of the columns; it says which streams there are.
    reference
        The scores of the reference's own windows; None: nothing to learn from yet.
    settings
        Budget, weights, tolerance, and what is ignored or silenced.
    importance
        Of each feature, non-negative; half of the evidence's weights follow it.

    Returns
    -------
    StreamDrift or None
        None where every feature is constant, ignored or silenced.

    Notes
    -----
    Location, spread and rest of each feature, one global stream and two of the correlations go into one e-detector
    (`evidence.Evidence`): any weights that sum to one keep its average run length, so no correction for the number of
    features is needed. A stream's tolerance is in standard deviations of the feature; for a chi-square of nu degrees of
    freedom a change of delta has the noncentrality n delta^2, which is n delta^2 / sqrt(2 nu) of its sds.

    Examples
    --------
    >>> import numpy as np
    >>> from driftd_detectors.columns import Columns
    >>> from driftd_detectors.layout import learn_layout
    >>> from driftd_detectors.schema import Feature, Kind, Schema, Task
    >>> schema = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
    >>> rows = Columns(500, {"x": np.random.default_rng(1).normal(size=500)}, {})
    >>> layout = learn_layout(rows, None, schema)
    >>> watched = begin_data_drift(layout, None, MonitorSettings(windows_per_year=365), {"x": 1.0})
    >>> watched.assess().verdict.value
    'inconclusive'

    References
    ----------
    .. [1] Shin, Ramdas, Rinaldo, *E-detectors*, NEJSDS 2024.
    """
    names = tuple(column.name for column in layout.features)
    return StreamDrift.begin(
        EvidenceKind.DATA,
        layout,
        reference,
        settings.budget.threshold(EvidenceKind.DATA),
        weights=settings.feature_weights(names, importance),
        tolerance=settings.tolerance,
        window_seconds=settings.window_seconds,
        waits_for=settings.learning_windows,
    )

"""What the loop asks of the helper process: the losses of rows, and the scores of windows."""

from __future__ import annotations

from dataclasses import replace

from driftd.plugins.process import HelperProcess, LossRequest
from driftd_detectors.columns import Outcomes

METRIC_SECONDS = 60.0  # for the losses of one window


def with_own_loss(helper: HelperProcess, metric: str, outcomes: Outcomes) -> Outcomes:
    """The outcomes with the losses of their rows under the user's function. Raises HelperError."""
    if not outcomes.labelled.any():
        return outcomes
    arrays = {name: getattr(outcomes, name) for name in ("label", "prediction", "score", "label_at")}
    request = LossRequest(use=metric, classes=outcomes.classes, unseen=outcomes.unseen)
    _, found = helper.ask(request, arrays, METRIC_SECONDS)
    return replace(outcomes, own_loss=found["losses"])

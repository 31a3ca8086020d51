"""A draw of predictions to label, as the command and the API give it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from driftd.store.state.label_draws import LabelDraw


class LabelRequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction to label; times are epoch seconds."""

    prediction_id: str
    predicted_at: float
    probability: float
    weight: float  # 1 / probability: how many predictions its label stands for
    uncertainty: float
    boost: float


class LabelRequestsView(msgspec.Struct, frozen=True, kw_only=True):
    """A draw from the predictions of `since <= at < until` that had no label at `drawn_at`."""

    model: str
    drawn_at: float
    since: float
    until: float
    seed: int
    predictions: int
    requests: list[LabelRequestLine]
    draws: list[float] = []  # when this and the other draws were made, newest first; at most 100 are named


def label_requests_view(draw: LabelDraw, draws: Sequence[float] = ()) -> LabelRequestsView:
    """A draw without what only driftd needs, and when the draws of its model were made."""
    return LabelRequestsView(
        model=draw.model,
        drawn_at=draw.drawn_at,
        since=draw.since,
        until=draw.until,
        seed=draw.seed,
        predictions=draw.predictions,
        requests=[
            LabelRequestLine(
                prediction_id=request.prediction_id,
                predicted_at=request.predicted_at,
                probability=request.probability,
                weight=request.weight,
                uncertainty=request.uncertainty,
                boost=request.boost,
            )
            for request in draw.requests
        ],
        draws=list(draws),
    )

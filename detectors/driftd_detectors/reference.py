"""The reference: what the windows of a version are compared with, learned once from its hold-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Columns, Numbers, Outcomes
from driftd_detectors.performance.arrivals import ArrivalCurve, learn_arrivals
from driftd_detectors.performance.estimated_loss import ExpectedLoss
from driftd_detectors.performance.loss_reference import LossReference, learn_losses, taken
from driftd_detectors.performance.losses import MEAN_METRICS, METRICS, losses, rarer_share
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of
from driftd_detectors.schema import Schema
from driftd_detectors.serialization import nested, pack, unpack

MOST_WINDOWS = 1500  # the newest; more tell nothing new of noise and seasons
_MATURED_BY = 0.95  # quantile of the delays that a row must have had time for, to tell how labels arrive
_FEWEST_MATURED = 200


@dataclass(frozen=True, eq=False)
class Reference:
    """Bins, Profiles, losses, arrival of labels and importance of features, of the rows that a version was judged on.

    `windows` are the reference's own windows as (start, Profile), in time order; `losses` holds every metric that is
    defined for its rows, so that another metric can be chosen without a rebuild; `loss` is the gate's.
    """

    schema: Schema
    layout: Layout
    profile: Profile
    windows: tuple[tuple[float, Profile], ...]
    losses: Mapping[str, LossReference]
    loss: str
    arrivals: ArrivalCurve | None
    importance: Mapping[str, float]
    expected: Mapping[str, ExpectedLoss] = field(default_factory=dict)  # of every metric that is a mean over rows
    rarer: float = float("nan")  # share of the rarer of two classes; NaN where that is not known

    def to_bytes(self) -> bytes:
        """A form that `from_bytes` reads back."""
        values = {
            "schema": self.schema.to_dict(),
            "layout": self.layout.to_dict(),
            "losses": {name: one.to_dict() for name, one in self.losses.items()},
            "loss": self.loss,
            "arrivals": None if self.arrivals is None else self.arrivals.to_dict(),
            "importance": dict(self.importance),
            "starts": [start for start, _ in self.windows],
            "expected": {name: one.to_dict() for name, one in self.expected.items()},
            "rarer": None if np.isnan(self.rarer) else self.rarer,
        }
        arrays: dict[str, NDArray[Any]] = {"profile": nested(self.profile.to_bytes())}
        for number, (_, profile) in enumerate(self.windows):
            arrays[f"window_{number}"] = nested(profile.to_bytes())
        return pack(values, arrays)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Reference:
        """Read what `to_bytes` wrote. Raises ValueError when the bytes are something else."""
        values, arrays = unpack(stored)
        starts = enumerate(values["starts"])
        windows = ((start, Profile.from_bytes(arrays[f"window_{number}"].tobytes())) for number, start in starts)
        return cls(
            schema=Schema.from_dict(values["schema"]),
            layout=Layout.from_dict(values["layout"]),
            profile=Profile.from_bytes(arrays["profile"].tobytes()),
            windows=tuple(windows),
            losses={name: LossReference.from_dict(one) for name, one in values["losses"].items()},
            loss=values["loss"],
            arrivals=None if values["arrivals"] is None else ArrivalCurve.from_dict(values["arrivals"]),
            importance=values["importance"],
            expected={name: ExpectedLoss.from_dict(one) for name, one in values.get("expected", {}).items()},
            rarer=float("nan") if values.get("rarer") is None else values["rarer"],
        )


def layout_of(stored: bytes) -> Layout:
    """The layout alone of what `Reference.to_bytes` wrote; its columns hold the reference's own counts.

    Raises ValueError when the bytes are something else.
    """
    values, _ = unpack(stored)
    return Layout.from_dict(values["layout"])


def learn_reference(
    columns: Columns,
    outcomes: Outcomes,
    schema: Schema,
    *,
    starts: Numbers,
    importance: Mapping[str, float],
    loss: str,
) -> Reference:
    """Learn from the rows on which a version was judged.

    Parameters
    ----------
    columns, outcomes
        The rows, what the version says of them, and their labels with the times at which they became known.
    starts
        The start of the window that each row falls into, (rows,) in epoch seconds: windows as they will be checked.
    importance
        How much the loss depends on each feature, non-negative.
    loss
        The metric of the gate, a mean over rows.

    Raises
    ------
    ValueError
        When there are no rows, or `starts` has another length.
    """
    if columns.rows == 0:
        raise ValueError("a reference needs rows: there are none")
    if len(starts) != columns.rows:
        raise ValueError(f"{len(starts)} window starts for {columns.rows} rows; one start a row is needed")
    layout = learn_layout(columns, outcomes, schema, importance=importance)
    row_losses = losses(loss, schema.task, outcomes)
    windows = _window_profiles(columns, outcomes, layout, starts, row_losses)
    learned = {metric: learn_losses(metric, outcomes, starts) for metric in METRICS[schema.task]}
    return Reference(
        schema=schema,
        layout=layout,
        profile=reduce(merge, (profile for _, profile in windows), empty_profile(layout)),
        windows=tuple(windows[-MOST_WINDOWS:]),
        losses={metric: one for metric, one in learned.items() if one is not None},
        loss=loss,
        arrivals=learn_arrivals(_matured(outcomes)),
        importance=dict(importance),
        expected=_expected(columns, outcomes, schema, layout, starts, importance),
        rarer=rarer_share(outcomes.label[outcomes.labelled], (0.0, 1.0)[: len(schema.classes)]),
    )


def _expected(
    columns: Columns,
    outcomes: Outcomes,
    schema: Schema,
    layout: Layout,
    starts: Numbers,
    importance: Mapping[str, float],
) -> dict[str, ExpectedLoss]:
    from driftd_detectors.performance.estimated_loss import learn_expected  # noqa: PLC0415 - SciPy's sparse matrices: builds only

    found = {
        metric: learn_expected(
            metric,
            losses(metric, schema.task, outcomes),
            columns,
            outcomes,
            layout,
            starts=starts,
            importance=importance,
        )
        for metric in METRICS[schema.task]
        if metric in MEAN_METRICS
    }
    return {metric: one for metric, one in found.items() if one is not None}


def _window_profiles(
    columns: Columns, outcomes: Outcomes, layout: Layout, starts: Numbers, loss: Numbers
) -> list[tuple[float, Profile]]:
    order = np.argsort(starts, kind="stable")
    cuts = np.flatnonzero(np.diff(starts[order])) + 1
    return [
        (
            float(starts[rows[0]]),
            profile_of(taken_columns(columns, rows), taken(outcomes, rows), layout, loss=loss[rows]),
        )
        for rows in np.split(order, cuts)
    ]


def taken_columns(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    """Some rows of the columns; values that could not be read are not told by row, so they are left out."""
    values = {
        name: Coded(one.codes[rows], one.labels) if isinstance(one, Coded) else one[rows]
        for name, one in columns.values.items()
    }
    return Columns(len(rows), values, {})


def _matured(outcomes: Outcomes) -> Outcomes:
    """The rows that are old enough for nearly every label to have come; all when those are too few.

    The newest labelled rows are those whose labels were quick: counted alike, they would make all labels look quick.
    """
    known = outcomes.labelled
    if not known.any():
        return outcomes
    delay = (outcomes.label_at - outcomes.at)[known]
    last = float(np.nanmax(outcomes.label_at)) - float(np.quantile(delay, _MATURED_BY))
    old = np.flatnonzero(known & (outcomes.at <= last))
    return taken(outcomes, old) if len(old) >= _FEWEST_MATURED else outcomes

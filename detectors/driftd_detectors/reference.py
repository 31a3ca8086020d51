"""The reference: what the windows of a version are compared with, learned once from its hold-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.columns import Coded, Columns, Numbers, Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.metrics import METRICS, is_mean
from driftd_detectors.performance.estimated_loss import ExpectedLoss
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.performance.loss_reference import LossReference, learn_losses, take_outcomes
from driftd_detectors.performance.losses import losses, rarer_share
from driftd_detectors.performance.segments import Segment, learn_segments
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of
from driftd_detectors.schema import Schema
from driftd_detectors.serialization import JsonObject, as_array, pack, unpack

MOST_WINDOWS = 1500  # the newest; more tell nothing new of noise and seasons


@dataclass(frozen=True, eq=False)
class Reference:
    """Bins, Profiles, losses, delay of labels and importance of features, of the rows that a version was judged on.

    `windows` are the reference's own windows as (start, Profile), in time order; `losses` holds every metric that is
    defined for its rows, so that another metric can be chosen without a rebuild; `loss` is the gate's.
    """

    schema: Schema
    layout: Layout
    profile: Profile
    windows: tuple[tuple[float, Profile], ...]
    losses: Mapping[str, LossReference]
    loss: str
    label_delay: LabelDelay
    importance: Mapping[str, float]
    expected: Mapping[str, ExpectedLoss] = field(default_factory=dict)  # of every metric that is a mean over rows
    segments: tuple[Segment, ...] = ()  # whose losses are watched beside the whole's
    rarer: float = float("nan")  # share of the rarer of two classes; NaN where that is not known

    def to_bytes(self) -> bytes:
        """A form that `from_bytes` reads back."""
        values: JsonObject = {
            "schema": self.schema.to_dict(),
            "layout": self.layout.to_dict(),
            "losses": {name: loss.to_dict() for name, loss in self.losses.items()},
            "loss": self.loss,
            "arrivals": self.label_delay.to_dict(),
            "importance": dict(self.importance),
            "starts": [start for start, _ in self.windows],
            "expected": {name: expected.to_dict() for name, expected in self.expected.items()},
            "segments": [segment.to_dict() for segment in self.segments],
            "rarer": None if np.isnan(self.rarer) else self.rarer,
        }
        arrays: dict[str, NDArray[Any]] = {"profile": as_array(self.profile.to_bytes())}
        for number, (_, profile) in enumerate(self.windows):
            arrays[f"window_{number}"] = as_array(profile.to_bytes())
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
            losses={name: LossReference.from_dict(loss) for name, loss in values["losses"].items()},
            loss=values["loss"],
            label_delay=LabelDelay.from_dict(values["arrivals"]),
            importance=values["importance"],
            expected={name: ExpectedLoss.from_dict(expected) for name, expected in values.get("expected", {}).items()},
            segments=tuple(Segment.from_dict(segment) for segment in values.get("segments", ())),
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
    metric: str | None = None,
    segments: Sequence[str] = (),
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
    metric
        The metric that is watched, where it is another than the gate's.
    segments
        Columns whose values are segments of their own; a shallow tree finds more (`performance.segments`).

    Raises
    ------
    ValueError
        When there are no rows, or `starts` has another length.
    """
    if columns.rows == 0:
        raise DetectorError("a reference needs rows: there are none")
    if len(starts) != columns.rows:
        raise ValueError(f"{len(starts)} window starts for {columns.rows} rows; one start a row is needed")
    layout = learn_layout(columns, outcomes, schema, importance=importance)
    row_losses = losses(loss, schema.task, outcomes)
    windows = _window_profiles(columns, outcomes, layout, starts, row_losses)
    learned = {metric: learn_losses(metric, outcomes, starts) for metric in _metrics(schema, loss)}
    return Reference(
        schema=schema,
        layout=layout,
        profile=reduce(merge, (profile for _, profile in windows), empty_profile(layout)),
        windows=tuple(windows[-MOST_WINDOWS:]),
        losses={metric: reference for metric, reference in learned.items() if reference is not None},
        loss=loss,
        label_delay=LabelDelay.learn_outcomes(outcomes),
        importance=dict(importance),
        expected=_expected_losses(columns, outcomes, schema, layout, starts, importance, loss),
        segments=learn_segments(
            columns,
            outcomes,
            schema,
            starts=starts,
            loss=loss,
            metrics=(metric,) if metric in METRICS[schema.task] else (),
            declared=segments,
        ),
        rarer=rarer_share(outcomes.label[outcomes.labelled], (0.0, 1.0)[: len(schema.classes)]),
    )


def _metrics(schema: Schema, loss: str) -> tuple[str, ...]:
    """Those of the task, and the gate's where that is the user's own."""
    return tuple(dict.fromkeys((*METRICS[schema.task], loss)))


def _expected_losses(
    columns: Columns,
    outcomes: Outcomes,
    schema: Schema,
    layout: Layout,
    starts: Numbers,
    importance: Mapping[str, float],
    loss: str,
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
        for metric in _metrics(schema, loss)
        if is_mean(metric)
    }
    return {metric: expected for metric, expected in found.items() if expected is not None}


def _window_profiles(
    columns: Columns, outcomes: Outcomes, layout: Layout, starts: Numbers, loss: Numbers
) -> list[tuple[float, Profile]]:
    order = np.argsort(starts, kind="stable")
    cuts = np.flatnonzero(np.diff(starts[order])) + 1
    return [
        (
            float(starts[rows[0]]),
            profile_of(take_columns(columns, rows), take_outcomes(outcomes, rows), layout, loss=loss[rows]),
        )
        for rows in np.split(order, cuts)
    ]


def take_columns(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    """Some rows of the columns; values that could not be read are not told by row, so they are left out."""
    values = {
        name: Coded(value.codes[rows], value.labels) if isinstance(value, Coded) else value[rows]
        for name, value in columns.values.items()
    }
    return Columns(len(rows), values, {})

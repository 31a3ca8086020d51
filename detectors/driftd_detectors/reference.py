"""The reference: what the windows of a version are compared with, learned once from its hold-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from driftd_detectors.columns import Coded, Columns, Numbers, Outcomes
from driftd_detectors.errors import DetectorError
from driftd_detectors.evidence.change_sentences import format_day
from driftd_detectors.evidence.history import UTC_CALENDAR, Calendar, regressors, season_for
from driftd_detectors.performance.estimated_loss import ExpectedLoss
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.performance.loss_reference import LossReference, learn_losses, take_outcomes
from driftd_detectors.performance.losses import losses, rarer_share
from driftd_detectors.performance.segments import Segment, learn_segments
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.profile.profile import Profile, StoredWindows, Windows, empty_profile, merge, profile_of
from driftd_detectors.quality.checks import (
    LEVEL_FAULTS,
    largest_outlying,
    moving_columns,
    quality_faults,
    usual_faults,
)
from driftd_detectors.quality.faults import QualitySettings
from driftd_detectors.schema import METRICS, Schema, is_mean
from driftd_detectors.scores.scoring import LINEAR, Stream, score_reference, streams_of
from driftd_detectors.serialization import JsonObject, as_array, pack, unpack

MOST_WINDOWS = 1500  # the newest; more tell nothing new of noise and seasons
SUMMARY_EDITION = 1  # another one where other faults are found in windows: what is stored is then made anew


class _StoredSummary(TypedDict, total=False):
    edition: int
    starts: list[float]
    rows: list[int]
    usual: list[str]
    outlying: list[float]
    estimated: dict[str, list[float | None]]


@dataclass(frozen=True, eq=False)
class WindowSummary:
    """What a monitor needs of the reference's windows: small, found once, and stored with the reference."""

    starts: Numbers  # (windows,) epoch seconds
    rows: NDArray[np.int64]  # (windows,)
    usual: frozenset[str]  # faults that windows of the reference show too; of a moving column all of its level
    outlying: Numbers  # (columns,): the largest share of outlying values in a window
    estimated: Mapping[str, Numbers]  # (windows,) by metric: the loss expected of each; NaN where it has no rows

    def to_dict(self) -> JsonObject:
        """A JSON-ready form that `from_dict` reads back."""
        estimated = {metric: [None if np.isnan(loss) else loss for loss in of] for metric, of in self.estimated.items()}
        arrays = {name: getattr(self, name).tolist() for name in ("starts", "rows", "outlying")}
        return {"edition": SUMMARY_EDITION, "usual": sorted(self.usual), "estimated": estimated, **arrays}

    @classmethod
    def from_dict(cls, stored: _StoredSummary) -> WindowSummary | None:
        """Read what `to_dict` wrote; None where it is of another edition, or absent."""
        if stored.get("edition") != SUMMARY_EDITION:
            return None
        return cls(
            np.array(stored["starts"], dtype=np.float64),
            np.array(stored["rows"], dtype=np.int64),
            frozenset(stored["usual"]),
            np.array(stored["outlying"], dtype=np.float64),
            {metric: np.array(losses_of, dtype=np.float64) for metric, losses_of in stored["estimated"].items()},
        )


@dataclass(frozen=True, eq=False)
class Reference:
    """Bins, Profiles, losses, delay of labels and importance of features, of the rows that a version was judged on.

    `windows` are the reference's own windows as (start, Profile), in time order; `losses` holds every metric that is
    defined for its rows, so that another metric can be chosen without a rebuild; `loss` is the gate's.
    """

    schema: Schema
    layout: Layout
    profile: Profile
    windows: Windows
    losses: Mapping[str, LossReference]
    loss: str
    label_delay: LabelDelay
    importance: Mapping[str, float]
    expected: Mapping[str, ExpectedLoss] = field(default_factory=dict)  # of every metric that is a mean over rows
    segments: tuple[Segment, ...] = ()  # whose losses are watched beside the whole's
    rarer: float = float("nan")  # share of the rarer of two classes; NaN where that is not known
    known_summary: WindowSummary | None = None  # as it was stored

    @cached_property
    def summary(self) -> WindowSummary:
        """What is known of the windows, without their Profiles."""
        return self.known_summary or _summary_of(self)

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
            "summary": self.summary.to_dict(),
        }
        arrays: dict[str, NDArray[Any]] = {"profile": as_array(self.profile.to_bytes())}
        for number, (_, profile) in enumerate(self.windows):
            arrays[f"window_{number}"] = as_array(profile.to_bytes())
        return pack(values, arrays)

    @classmethod
    def from_bytes(cls, stored: bytes, read: Callable[[], bytes] | None = None) -> Reference:
        """Read what `to_bytes` wrote. Raises ValueError when the bytes are something else.

        With `read`, which gives the same bytes again, none are kept in memory for the windows.
        """
        values, arrays = unpack(stored)
        return cls(
            schema=Schema.from_dict(values["schema"]),
            layout=Layout.from_dict(values["layout"]),
            profile=Profile.from_bytes(arrays["profile"].tobytes()),
            windows=StoredWindows(values["starts"], read or (lambda: stored)),
            losses={name: LossReference.from_dict(loss) for name, loss in values["losses"].items()},
            loss=values["loss"],
            label_delay=LabelDelay.from_dict(values["arrivals"]),
            importance=values["importance"],
            expected={name: ExpectedLoss.from_dict(expected) for name, expected in values.get("expected", {}).items()},
            segments=tuple(Segment.from_stored(**segment) for segment in values.get("segments", ())),
            rarer=float("nan") if values.get("rarer") is None else values["rarer"],
            known_summary=WindowSummary.from_dict(values.get("summary", {})),
        )


def _summary_of(reference: Reference) -> WindowSummary:
    windows, layout = tuple(reference.windows), reference.layout
    counts = [profile.counts for _, profile in windows]
    seen = usual_faults(
        [quality_faults(profile, reference.profile, layout, settings=QualitySettings()) for _, profile in windows]
    )
    moving = moving_columns(counts, layout)
    estimated = {
        metric: np.array([expected.of(profile).loss if profile.rows else np.nan for _, profile in windows])
        for metric, expected in reference.expected.items()
    }
    return WindowSummary(
        np.array([start for start, _ in windows], dtype=np.float64),
        np.array([profile.rows for _, profile in windows], dtype=np.int64),
        seen | {f"{name}: {fault}" for name in moving for fault in LEVEL_FAULTS},
        largest_outlying(counts, layout),
        estimated,
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


@dataclass(frozen=True, slots=True)
class InnerDrift:
    """A change of level inside the reference: of the windows from `since` (epoch seconds) on, `after` of them."""

    subject: str
    since: float
    after: int
    sentence: str


def drift_within(
    reference: Reference, window_seconds: float | None, calendar: Calendar = UTC_CALENDAR
) -> tuple[InnerDrift, ...]:
    """The columns whose level changed inside the reference, the surest first: detectors take both levels for normal.

    Parameters
    ----------
    reference
        With its own windows.
    window_seconds, calendar
        Of the windows; what a season explains is no change.

    Returns
    -------
    tuple of InnerDrift
        One for each column; empty when there are too few windows to tell.

    Notes
    -----
    For each split of a stream's windows z = |mean after - mean before| / (s sqrt(1/k + 1/n) sqrt((1 + rho)/(1 - rho))).
    s is the spread about the two means, never below chance, rho its lag-1 correlation. A column is named when the
    largest z would come from chance alone in fewer than one of a hundred references (Bonferroni over splits and
    streams), at least three windows lie on either side, and the change is a tenth of a standard deviation or more.
    """
    starts = np.array([start for start, _ in reference.windows])
    if len(starts) < 2 * _FEWEST_ASIDE + 2:
        return ()
    learned = score_reference(reference.layout, reference.profile, reference.windows)
    season = season_for(window_seconds, len(starts))
    streams = streams_of(reference.layout)
    level = np.array([stream.component in LINEAR | {"missing"} for stream in streams])
    wanted = np.flatnonzero(level & np.isfinite(learned.values).all(axis=0))
    z = regressors(season, starts, window_seconds, calendar)
    sureness, splits, changes = _surest_splits(learned.values[:, wanted], learned.sampling_sd[:, wanted], z)
    limit = float(-ndtri(_BY_CHANCE / (2 * len(streams) * len(starts))))
    found: dict[str, InnerDrift] = {}
    for place in np.argsort(-sureness):
        stream, split, change = streams[wanted[place]], int(splits[place]), float(changes[place])
        if sureness[place] >= limit and abs(change) >= _LEAST_CHANGE and stream.subject not in found:
            said = _inner_sentence(reference, stream, split, change)
            found[stream.subject] = InnerDrift(stream.subject, float(starts[split]), len(starts) - split, said)
    return tuple(found.values())


_FEWEST_ASIDE, _BY_CHANCE, _LEAST_CHANGE = 3, 0.01, 0.1
_IDENTIFIED = 1.0  # windows' worth of contrast that the season leaves to a split
_MOST_SPLITS = 200


def _surest_splits(values: Numbers, sampling_sd: Numbers, z: Numbers) -> tuple[Numbers, NDArray[np.intp], Numbers]:
    """How sure the surest split of each stream is, its position, and by how much the level changes there."""
    count, streams = values.shape
    without = np.eye(count) - z @ np.linalg.pinv(z)  # what the season does not explain
    rest, chance = without @ values, np.mean(sampling_sd**2, axis=0)
    best, places, changes = np.zeros(streams), np.zeros(streams, dtype=np.intp), np.zeros(streams)
    freedom = max(1, count - z.shape[1] - 1)
    for split in np.unique(np.linspace(_FEWEST_ASIDE, count - _FEWEST_ASIDE, _MOST_SPLITS).astype(np.intp)):
        step = without[:, split:].sum(axis=1)
        size = float(step @ step)
        if size < _IDENTIFIED:
            continue
        change = step @ rest / size
        left = rest - step[:, None] * change
        squares = (left**2).sum(axis=0)
        rho = np.clip((left[1:] * left[:-1]).sum(axis=0) / np.maximum(squares, 1e-12), 0.0, 0.9)
        variance = np.maximum(chance, squares / freedom) * (1 + rho) / (1 - rho) / size
        sureness = np.abs(change) / np.sqrt(variance)
        better = sureness > best
        best[better], places[better], changes[better] = sureness[better], split, change[better]
    return best, places, changes


def _inner_sentence(reference: Reference, stream: Stream, split: int, change: float) -> str:
    windows = reference.windows
    if stream.component == "missing":
        place = [column.name for column in reference.layout.columns].index(stream.subject)
        last = reference.layout.starts[place + 1] - 1
        shares = [
            sum(int(part.counts[last]) for _, part in side) / max(1, sum(part.rows for _, part in side))
            for side in (windows[:split], windows[split:])
        ]
        moved = f"is missing in {shares[1]:.1%} of rows, was {shares[0]:.1%},"
    elif stream.component == "spread":
        moved = f"spreads {'wider' if change > 0 else 'less wide'} by {abs(change):.2f} sd"
    else:
        moved = f"moved {'up' if change > 0 else 'down'} by {abs(change):.2f} sd"
    since, after = format_day(windows[split][0]), len(windows) - split
    return (
        f"{stream.subject} {moved} from {since} on, inside the reference ({after} of its {len(windows)} windows): "
        "both levels count as normal"
    )


def take_columns(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    """Some rows of the columns; values that could not be read are not told by row, so they are left out."""
    values = {
        name: Coded(value.codes[rows], value.labels) if isinstance(value, Coded) else value[rows]
        for name, value in columns.values.items()
    }
    return Columns(len(rows), values, {})

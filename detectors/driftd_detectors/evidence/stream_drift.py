"""Drift of features and predictions: the two-sided e-detector over the streams of one kind, and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import EvidenceKind, KindAssessment, Score, Verdict, format_windows, number
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.evidence import SUSPECTED, Evidence, EvidenceView, StreamWeights
from driftd_detectors.profile.layout import Layout
from driftd_detectors.scores.scoring import Stream, WindowScores, score_window, streams_of
from driftd_detectors.serialization import JsonObject
from driftd_detectors.settings import MonitorSettings

LINEAR = frozenset({"location", "spread", "proportion"})  # in the window's shares
OF_ALL = frozenset({"global", "largest", "together"})  # of many columns at once
_NAMED = 0.02  # share of the evidence from which a subject is named among the leaders
_MOST_LEADERS = 20


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """The scores of the reference's own windows, each against the rest: (R,), (R, S), (R, S)."""

    starts: Numbers
    values: Numbers
    sampling_sd: Numbers


def score_reference(
    layout: Layout, profile: Any, windows: Any, left_out: frozenset[str] = frozenset()
) -> ReferenceScores:
    """Score every reference window leave-one-out; features `left_out` do not enter the scores of many columns.

    Against the rest a window's distance from the whole is 1 / (1 - its share of the rows) too large; that is undone
    for the scores that are linear in the shares.
    """
    linear = np.array([stream.component in LINEAR for stream in streams_of(layout)])
    rows, sds = [], []
    for _, window in windows:
        scores = score_window(window, profile, layout, leave_out=True, left_out=left_out)
        part = 1 - window.rows / max(1, profile.rows)
        rows.append(np.where(linear, scores.values * part, scores.values))
        sds.append(scores.sampling_sd)
    width = len(linear)
    return ReferenceScores(
        np.array([start for start, _ in windows], dtype=np.float64),
        np.array(rows).reshape(-1, width),
        np.array(sds).reshape(-1, width),
    )


@dataclass(frozen=True, slots=True)
class StreamDrift(EvidenceView):
    """Evidence that the streams of one kind have left what the reference's windows were. Immutable."""

    kind: EvidenceKind
    streams: tuple[Stream, ...]
    places: NDArray[np.intp]  # of the streams among all of the layout
    shapes: Numbers  # per stream: for chi-squares the degrees of freedom, about; for others NaN
    seconds: Mapping[str, str]  # of columns with two labels: the one whose share is followed
    tolerance: float
    evidence: Evidence

    @classmethod
    def begin(
        cls,
        kind: EvidenceKind,
        layout: Layout,
        reference: ReferenceScores | None,
        threshold: float,
        *,
        weights: Mapping[str, float],
        tolerance: float,
        window_seconds: float | None,
        waits_for: int = 0,
    ) -> Self | None:
        """Learn from the reference's windows; None where the layout has no stream of this kind, or none is wanted.

        `weights` by subject multiply those of its streams (1 where not named). Without `reference` nothing is learned:
        for evidence that is about to be taken up again.
        """
        every = streams_of(layout)
        places = np.array([at for at, stream in enumerate(every) if stream.kind is kind], dtype=np.intp)
        streams = tuple(every[at] for at in places)
        factors = np.array([stream.weight * weights.get(stream.subject, 1.0) for stream in streams])
        wanted = any(factors[at] > 0 for at, stream in enumerate(streams) if stream.component not in OF_ALL)
        if not wanted:
            return None
        lanes = StreamWeights.of(factors, np.array([stream.two_sided for stream in streams], dtype=bool))
        nothing = np.empty((0, len(streams)))
        learned = ReferenceScores(np.empty(0), nothing, nothing) if reference is None else reference
        at = slice(None) if reference is None else places
        evidence = Evidence.begin(
            lanes, threshold, learned.starts, learned.values[:, at], learned.sampling_sd[:, at], window_seconds
        )
        evidence = replace(evidence, waits_for=waits_for)
        seconds = {column.name: column.labels[1] for column in layout.columns if len(column.labels) == 2}  # noqa: PLR2004
        return cls(kind, streams, places, _shapes(streams, layout), seconds, tolerance, evidence)

    def update(self, scores: WindowScores, start: float) -> Self:
        """One window more."""
        values, sds = scores.values[self.places], scores.sampling_sd[self.places]
        return replace(self, evidence=self.evidence.update(values, sds, self._tolerances(scores.rows), start))

    def rebaseline(self) -> Self:
        """Take the new level into what is normal."""
        return replace(self, evidence=self.evidence.rebaseline())

    def forget_of_all(self) -> Self:
        """Begin the evidence of the streams of many columns anew, because other columns enter them from now on."""
        of_all = np.array([stream.component in OF_ALL for stream in self.streams], dtype=np.bool_)
        return replace(self, evidence=self.evidence.forget(of_all))

    def assess(self) -> KindAssessment:
        """What the evidence says after the last window, in one sentence."""
        evidence = self.evidence
        value, threshold = evidence.value, evidence.threshold
        verdict = Verdict.DRIFT if evidence.alarmed else Verdict.SUSPECTED if value >= SUSPECTED else Verdict.OK
        if evidence.is_learning:
            return KindAssessment(self.kind, Verdict.INCONCLUSIVE, value, threshold, evidence.learning or "learning")
        calm = f"nothing moved: evidence {number(value)} of {number(threshold)}"
        return KindAssessment(
            self.kind,
            verdict,
            value,
            threshold,
            calm if verdict is Verdict.OK else self._sentence(),
            leaders=() if verdict is Verdict.OK else self.leaders(),
            change_start=None if verdict is Verdict.OK else evidence.change_start(),
            crossed=evidence.crossed,
        )

    def scores(self, scores: WindowScores, start: float) -> tuple[Score, ...]:
        """The scores of the window that has something to say, with what each stream has gathered.

        Values are told beyond what windows normally do: a window of one day has one weekday, and that is no drift.
        """
        given, sds = scores.values[self.places], scores.sampling_sd[self.places]
        beyond = self.evidence.beyond_normal(given, sds, start)
        directed = np.array([stream.two_sided for stream in self.streams])
        values = np.where(directed, beyond, np.maximum(0.0, beyond))
        return tuple(
            Score(self.kind, stream.subject, stream.component, float(value), float(sd), float(own))
            for stream, value, sd, own in zip(self.streams, values, sds, self.evidence.of_streams, strict=True)
            if np.isfinite(value)
        )

    def tolerances(self, rows: int) -> dict[tuple[str, str], float]:
        """The margin of each stream in a window of so many rows, by subject and component."""
        margins = self._tolerances(rows)
        return {
            (stream.subject, stream.component): float(size) for stream, size in zip(self.streams, margins, strict=True)
        }

    def leaders(self) -> tuple[tuple[str, float], ...]:
        """The subjects that the evidence comes from, with their shares of it, largest first."""
        shares: dict[str, float] = {}
        for stream, share in zip(self.streams, self.evidence.shares, strict=True):
            shares[stream.subject] = shares.get(stream.subject, 0.0) + float(share)
        named = [(name, round(share, 4)) for name, share in shares.items() if share >= _NAMED]
        ranked = sorted(named, key=lambda leader: (not self._tells(leader[0]), -leader[1], leader[0]))
        return tuple(ranked[:_MOST_LEADERS])

    def _tells(self, subject: str) -> bool:
        """Whether a column's own evidence is enough to name it; else what all columns together show comes first."""
        gathered = self.evidence.of_streams
        own = [
            at for at, stream in enumerate(self.streams) if stream.subject == subject and stream.component not in OF_ALL
        ]
        return any(self.evidence.shares[at] > 0 and gathered[at] >= SUSPECTED for at in own)

    def _sentence(self) -> str:
        evidence = self.evidence
        first, *others = [name for name, _ in self.leaders()] or [self.streams[0].subject]
        own = np.array([stream.subject == first for stream in self.streams])
        leading = int(np.argmax(np.where(own, evidence.shares, -1.0)))
        since = max(1, evidence.since)
        more = f" (and {', '.join(others[:2])}{' and others' if len(others) > 2 else ''})" if others else ""  # noqa: PLR2004
        said = _describe_move(
            self.streams[leading], evidence.recent_mean(leading, since), self.seconds.get(first, "its second value")
        )
        return (
            f"{said}{more}: evidence {number(evidence.value)} against a threshold of "
            f"{number(evidence.threshold)}, over {format_windows(since)}"
        )

    def _tolerances(self, rows: int) -> Numbers:
        margin = np.full(len(self.streams), self.tolerance)
        chi = np.isfinite(self.shapes)
        margin[chi] = rows * self.tolerance**2 * np.sqrt(self.shapes[chi] / 2)
        for at, stream in enumerate(self.streams):
            if stream.component in {"rest", "chi_square"}:
                margin[at] = rows * self.tolerance**2 / np.sqrt(2 * self.shapes[at])
            elif stream.component == "largest":
                margin[at] = self.tolerance * np.sqrt(rows)
        return margin

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        values, arrays = self.evidence.pack()
        return values | {"streams": len(self.streams)}, arrays

    def restore_from(self, values: dict[str, object], arrays: dict[str, NDArray[Any]]) -> Self | None:
        """This, with the state that `pack` gave; None when that is of other streams."""
        if values.pop("streams") != len(self.streams):
            return None
        found = self.evidence.restore_from(values, arrays)
        return None if found is None else replace(self, evidence=found)


def _shapes(streams: tuple[Stream, ...], layout: Layout) -> Numbers:
    """About how many directions a chi-square stream looks into at once."""
    bins = {column.name: max(1, column.bins - 3) for column in layout.columns}
    pairs = max(1, len(layout.joint) * (len(layout.joint) - 1) // 2)
    of_all = {"global": 2 * len(layout.features), "together": pairs}
    looked = {"rest", "chi_square"}
    return np.array(
        [
            float(bins[stream.subject]) if stream.component in looked else float(of_all.get(stream.component, np.nan))
            for stream in streams
        ]
    )


def _describe_move(stream: Stream, amount: float, second: str) -> str:
    up = amount > 0
    said = {
        "location": f"{stream.subject} moved {'up' if up else 'down'} by {abs(amount):.2f} sd",
        "proportion": f"{stream.subject} is {second} {'more' if up else 'less'} often (by {abs(amount):.2f} sd)",
        "spread": f"{stream.subject} spreads {'wider' if up else 'less wide'} (by {abs(amount):.2f} sd)",
        "rest": f"{stream.subject} changed its shape ({amount:.1f} sds beyond chance)",
        "chi_square": f"{stream.subject} has other shares of its values ({amount:.1f} sds beyond chance)",
        "global": f"all features together moved ({amount:.1f} sds beyond chance)",
        "largest": f"a pair of features no longer moves together as it did ({amount:.1f} sds beyond chance)",
        "together": f"features no longer move together as they did ({amount:.1f} sds beyond chance)",
    }
    return said[stream.component]


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
    >>> from driftd_detectors.profile.layout import learn_layout
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
        settings.feature_threshold,
        weights=settings.feature_weights(names, importance),
        tolerance=settings.tolerance,
        window_seconds=settings.window_seconds,
        waits_for=settings.learning_windows,
    )


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
    >>> from driftd_detectors.profile.layout import learn_layout
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

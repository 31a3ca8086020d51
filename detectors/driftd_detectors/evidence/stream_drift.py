"""Drift of features and predictions: the two-sided e-detector over the streams of one kind, and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import EvidenceKind, KindAssessment, Score, Verdict, number
from driftd_detectors.columns import Numbers
from driftd_detectors.evidence.change_sentences import format_day
from driftd_detectors.evidence.evidence import SUSPECTED, Evidence, EvidenceView, StreamWeights
from driftd_detectors.evidence.sentences import StreamSentences, describe_earlier, describe_evidence, describe_stream
from driftd_detectors.profile.layout import Layout
from driftd_detectors.scores.scoring import (
    LINEAR,
    OF_ALL,
    SHARES,
    Margins,
    ReferenceScores,
    Stream,
    WindowScores,
    streams_of,
)
from driftd_detectors.serialization import JsonObject
from driftd_detectors.settings import MonitorSettings

_WORTH_SAYING = 0.1  # sds off the reference, or of 2 asin sqrt(share), that an absorbed level is told from
_LATER = 3  # windows: a feature whose change began so much later than that of a standing alarm is another change
_NAMED = 0.02  # share of the evidence from which a subject is named among the leaders
_MOST_LEADERS = 20


@dataclass(frozen=True, slots=True)
class StreamDrift(EvidenceView):
    """Evidence that the streams of one kind have left what the reference's windows were. Immutable."""

    kind: EvidenceKind
    streams: tuple[Stream, ...]
    places: NDArray[np.intp]  # of the streams among all of the layout
    margins: Margins
    sentences: StreamSentences
    tolerance: float
    evidence: Evidence
    named: frozenset[str] = frozenset()  # subjects that the standing alarm has told of
    changed_at: float | None = None  # the change that the standing alarm told of first
    newest: str | None = None  # the subject that the last window has told of, beside a standing alarm
    absorbed_at: float | None = None  # the change that was taken for normal last
    offset: Numbers | None = None  # per stream, how far the level that is normal now lies off the reference

    @classmethod
    def begin(
        cls,
        kind: EvidenceKind,
        layout: Layout,
        reference: ReferenceScores | None,
        settings: MonitorSettings,
        weights: Mapping[str, float],
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
            lanes,
            settings.feature_threshold if kind is EvidenceKind.DATA else settings.budget.threshold(kind),
            learned.starts,
            learned.values[:, at],
            learned.sampling_sd[:, at],
            settings.window_seconds,
            settings.calendar,
        )
        evidence = replace(evidence, waits_for=settings.learning_windows)
        sentences = StreamSentences.of(streams, layout)
        return cls(kind, streams, places, Margins.of(streams, layout), sentences, settings.tolerance, evidence)

    def update(self, scores: WindowScores, start: float) -> Self:
        """One window more; a subject that begins to lead while an alarm stands crosses the threshold for itself."""
        values, sds = scores.values[self.places], scores.sampling_sd[self.places]
        after = replace(
            self, evidence=self.evidence.update(values, sds, self._tolerances(scores.rows), start), newest=None
        )
        evidence = after.evidence
        if evidence.crossed or (evidence.alarmed and after.changed_at is None):
            return replace(
                after, named=frozenset(after._subjects_beyond(SUSPECTED)), changed_at=evidence.change_start()
            )
        if not evidence.alarmed:
            return replace(after, named=frozenset(), changed_at=None) if self.named else after
        return after._with_newly_find_leader()

    def rebaseline(self) -> Self:
        """Take the level of the last windows into what is normal (`Evidence.rebaseline`)."""
        after = self.evidence.rebaseline()
        shift = (after.fit.beta - self.evidence.fit.beta)[:, 0].astype(np.float64)  # the first column is of the level
        before = np.zeros(len(self.streams)) if self.offset is None else self.offset
        return replace(
            self,
            evidence=after,
            named=frozenset(),
            changed_at=None,
            newest=None,
            absorbed_at=self.evidence.change_start(),
            offset=before + shift,
        )

    @property
    def absorbed(self) -> str | None:
        """Since when the level that is normal now is so, and what of it lies furthest off the reference; or None."""
        if self.absorbed_at is None or self.offset is None:
            return None
        lasting = np.array([stream.component in LINEAR | SHARES for stream in self.streams])
        sizes = np.where(lasting & self.evidence.has_weight, np.abs(self.offset), 0.0)
        furthest = int(np.argmax(sizes))
        if sizes[furthest] < _WORTH_SAYING:
            return None
        still = self.sentences.offset(furthest, float(self.offset[furthest]), self.evidence)
        return f"as since {format_day(self.absorbed_at)}; {still}"

    def _with_newly_find_leader(self) -> Self:
        """Tell of subjects whose own evidence reaches the threshold, and whose change began later than the first's."""
        found = []
        for subject in self._subjects_beyond(self.threshold, weighted=True) - self.named:
            own = [at for at, stream in enumerate(self.streams) if stream.subject == subject]
            leading = max(own, key=lambda at: float(self.evidence.shares[at]))
            first = self.evidence.change_at(self._only(leading))
            if first - self._position(self.changed_at) >= _LATER:
                found.append((float(self.evidence.shares[leading]), subject))
        if not found:
            return self
        newest = max(found)[1]
        named = self.named | {subject for _, subject in found}
        return replace(self, newest=newest, named=named, evidence=replace(self.evidence, crossed=True))

    def _only(self, at: int) -> NDArray[np.bool_]:
        return np.asarray(np.arange(len(self.streams)) == at)

    def _position(self, start: float | None) -> int:
        return 0 if start is None else int(np.searchsorted(self.evidence.history.starts, start))

    def _subjects_beyond(self, least: float, *, weighted: bool = False) -> set[str]:
        """Subjects of which a stream has gathered so much: on its own, or as a part of all evidence."""
        gathered = self.evidence.gathered if weighted else self.evidence.of_streams
        wanted = np.flatnonzero((gathered >= least) & self.evidence.has_weight)
        return {self.streams[at].subject for at in wanted}

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
        if verdict is Verdict.OK:
            level = "" if self.absorbed is None else f" What is normal now is {self.absorbed}."
            figures = f"evidence {number(value)} of {number(threshold)}"
            return KindAssessment(self.kind, verdict, value, threshold, f"No alarm.{level}", figures=figures)
        leaders = self.leaders()
        streams = tuple(self._find_leader(name) for name, _ in leaders) or (0,)
        named = tuple((self.streams[at].subject, self.streams[at].component) for at in streams)
        return KindAssessment(
            self.kind,
            verdict,
            value,
            threshold,
            describe_stream(self.streams[streams[0]]),
            figures=self._figures(),
            streams=named,
            note=describe_earlier(None if self.newest is None else self.changed_at),
            leaders=leaders,
            change_start=evidence.change_start(),
            crossed=evidence.crossed,
        )

    def _find_leader(self, subject: str) -> int:
        """The stream of a subject that has most of the evidence."""
        own = np.array([stream.subject == subject for stream in self.streams])
        return int(np.argmax(np.where(own, self.evidence.shares, -1.0)))

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
        named = [(name, round(share, 4)) for name, share in shares.items() if share >= _NAMED or name == self.newest]
        ranked = sorted(
            named, key=lambda leader: (leader[0] != self.newest, not self._tells(leader[0]), -leader[1], leader[0])
        )
        return tuple(ranked[:_MOST_LEADERS])

    def _tells(self, subject: str) -> bool:
        """Whether a column's own evidence is enough to name it; else what all columns together show comes first."""
        gathered = self.evidence.of_streams
        own = [
            at for at, stream in enumerate(self.streams) if stream.subject == subject and stream.component not in OF_ALL
        ]
        return any(self.evidence.shares[at] > 0 and gathered[at] >= SUSPECTED for at in own)

    def _figures(self) -> str:
        """How far the leading stream moved, in its own units, and the evidence of all."""
        evidence = self.evidence
        names = [name for name, _ in self.leaders()] or [self.streams[0].subject]
        leading = self._find_leader(names[0])
        own = max(1, len(evidence.history.starts) - evidence.change_at(self._only(leading)))
        since = own if names[0] == self.newest else max(1, evidence.since)
        return describe_evidence(self.sentences.move(leading, evidence, min(since, own)), names[1:], evidence, since)

    def _tolerances(self, rows: int) -> Numbers:
        return self.margins.sizes(self.tolerance, rows)

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        values, arrays = self.evidence.pack()
        said: JsonObject = {
            "streams": len(self.streams),
            "named": sorted(self.named),
            "changed_at": self.changed_at,
            "absorbed_at": self.absorbed_at,
        }
        if self.offset is not None:
            arrays["offset"] = self.offset.astype(np.float32)
        return values | said, arrays

    def restore_from(self, values: dict[str, object], arrays: dict[str, NDArray[Any]]) -> Self | None:
        """This, with the state that `pack` gave; None when that is of other streams, or needs them to be learned.

        A state of before there were streams of shares is taken up by a detector that has learned from the reference:
        the streams of shares begin as learned, all others go on.
        """
        evidence, count = self.evidence, values["streams"]
        if count != len(self.streams):
            before = np.array([stream.component not in SHARES for stream in self.streams])
            if count != int(before.sum()) or not len(evidence.history.starts):
                return None
            lanes = evidence.lanes.only(before)
            stored = replace(evidence, lanes=lanes).restore_from(values, arrays)
            found = None if stored is None else evidence.with_stored(stored, before)
        else:
            found = evidence.restore_from(values, arrays)
        if found is None:
            return None
        offset, named = arrays.get("offset"), values.get("named")
        return replace(
            self,
            evidence=found,
            named=frozenset(named if isinstance(named, list) else ()),
            changed_at=_start(values.get("changed_at")),
            absorbed_at=_start(values.get("absorbed_at")),
            offset=None if offset is None else offset.astype(np.float64),
        )


def _start(stored: object) -> float | None:
    return stored if isinstance(stored, float) else None


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
    weights = settings.feature_weights(names, importance)
    return StreamDrift.begin(EvidenceKind.DATA, layout, reference, settings, weights)


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
    return StreamDrift.begin(EvidenceKind.PREDICTION, layout, reference, settings, {})

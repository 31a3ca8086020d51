"""All evidence of one version of a model: the only thing that the daemon's loop calls. Immutable and serialisable."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from driftd_detectors.assessment import (
    Assessment,
    EvidenceKind,
    Fault,
    Score,
    Verdict,
    summary_of,
)
from driftd_detectors.columns import Columns, Numbers, Outcomes
from driftd_detectors.evidence.changes import with_changes
from driftd_detectors.evidence.detector_drift import Calibration, DetectorDrift
from driftd_detectors.evidence.history import level_windows
from driftd_detectors.evidence.stream_drift import StreamDrift, begin_data_drift, begin_prediction_drift
from driftd_detectors.performance.betting import CertifiedPerformance
from driftd_detectors.performance.cohorts import assess_cohort, delay_in_use, end_of
from driftd_detectors.performance.harm import Harm
from driftd_detectors.performance.label_delay import Maturity
from driftd_detectors.performance.loss_reference import LossReference
from driftd_detectors.performance.losses import automatic_metric
from driftd_detectors.performance.performance import Performance, PerformancePair
from driftd_detectors.performance.segment_evidence import SHARE as SEGMENTS_SHARE
from driftd_detectors.performance.segment_evidence import SegmentPerformance, begin_segments
from driftd_detectors.performance.segments import Segment
from driftd_detectors.performance.watch import begin_estimated_loss, begin_labelled_loss
from driftd_detectors.profile.profile import Profile
from driftd_detectors.quality.checks import (
    FaultEvidence,
    Novelty,
    follow_novelty,
    quality_faults,
)
from driftd_detectors.quality.faults import QualitySettings
from driftd_detectors.reference import Reference
from driftd_detectors.schema import display_name
from driftd_detectors.scores.scoring import (
    FEWEST_ROWS,
    ReferenceScores,
    WindowScores,
    score_reference,
    score_window,
)
from driftd_detectors.serialization import JsonObject, as_array, pack, unpack
from driftd_detectors.settings import MonitorSettings

__all__ = ["Monitor", "MonitorSettings"]

_OF_LOSS = {"performance", "harm", "segments"}  # evidence that begins anew under another metric


@dataclass(frozen=True)
class Monitor:
    """What has accumulated against a version since it began to serve."""

    reference: Reference
    settings: MonitorSettings
    data: StreamDrift | None
    prediction: StreamDrift | None
    performance: Performance | CertifiedPerformance | PerformancePair | None
    maturity: Maturity
    quality: FaultEvidence
    harm: Harm | None = None
    outlying: Numbers | None = None  # (columns,): the largest share of outlying values in a window of the reference
    segments: SegmentPerformance | None = None
    detectors: DetectorDrift | None = None  # None until they are calibrated
    renewed: tuple[str, ...] = ()  # parts whose stored state could not be read, so that they began anew (`from_bytes`)

    @classmethod
    def begin(cls, reference: Reference, settings: MonitorSettings, predecessor: Monitor | None = None) -> Monitor:
        """No evidence yet: learn from the reference's windows. Raises ValueError when a setting makes no sense.

        Of a predecessor, the monitor of the version that served before, the spread of its losses is carried over.
        """
        learned = score_reference(reference.layout, reference.profile, tuple(reference.windows), settings.off)
        return _begin(reference, settings, learned, predecessor)

    def check(self, profile: Profile, start: float, labelled_at: float | None = None) -> tuple[Monitor, Assessment]:
        """Evaluate data, prediction and quality of the window that begins at `start` (epoch seconds).

        `labelled_at` is the time of the newest label of any row: values that were never seen before are drift, and no
        longer a fault, once they last and labels arrive. None: no label is known to arrive.
        """
        if profile.rows < FEWEST_ROWS:
            sentence = f"only {profile.rows} rows; {FEWEST_ROWS} are needed to say anything"
            return self, Assessment(Verdict.INCONCLUSIVE, sentence, profile.rows, learning=self._learning_sentence())
        reference, layout = self.reference.profile, self.reference.layout
        lasting = level_windows(self.settings.window_seconds)
        novelty = follow_novelty(self.quality.novelty, profile, reference, layout, start)
        quality, faults = self.quality.with_novelty(novelty, lasting, labelled_at).update(self._faults(profile))
        scores = score_window(profile, reference, layout, faults=faults, left_out=self.settings.off)
        data = None if self.data is None else self.data.update(scores, start)
        broken = any(fault.alarm for fault in faults)
        prediction = self.prediction if self.prediction is None or broken else self.prediction.update(scores, start)
        harm = self.harm if self.harm is None or broken else self.harm.update(profile, start)
        after = replace(self, data=data, prediction=prediction, quality=quality, harm=harm)
        scored = [detector.assess() for detector in (data, prediction, harm) if detector is not None]
        kinds = (*scored, quality.assess(faults))
        verdict, sentence = summary_of(kinds)
        assessment = Assessment(
            verdict,
            sentence,
            profile.rows,
            kinds,
            after._scores(scores, start),
            faults,
            after._learning_sentence(),
            {} if harm is None or broken else harm.figures(),
        )
        return after, with_changes(assessment, reference, profile, layout)

    def check_labels(
        self, outcomes: Outcomes, start: float, age: float, columns: Columns | None = None
    ) -> tuple[Monitor, Assessment]:
        """Evaluate the cohort of the window that begins at `start`, `age` seconds after the window's end.

        `columns` has the same rows as `outcomes`: those of `segment_columns`. Without them segments are not evaluated.

        An assessment that `waits` says: the labels are still coming, ask for this cohort again. An inconclusive one
        that does not wait is final: too few labels ever came.
        """
        loss = self.loss
        if self.performance is None or loss is None:
            sentence = "the reference has no labelled losses, so performance cannot be watched"
            return self, Assessment(Verdict.INCONCLUSIVE, sentence, outcomes.rows)
        performance, maturity, assessment = assess_cohort(
            self.performance,
            self.maturity,
            loss,
            outcomes,
            start,
            age,
            self.settings.window_seconds,
            self._chosen_instead(),
        )
        segments = self.segments
        if segments is not None and columns is not None and assessment.kinds:
            known_by = end_of(outcomes, start, self.settings.window_seconds) + age
            segments = segments.update(columns, outcomes, delay_in_use(self.maturity, outcomes, age), known_by, start)
            assessment = segments.complete(assessment)
        harm = self.harm
        if harm is not None and loss.metric == harm.expected.metric and "loss" in assessment.figures:
            harm = harm.with_realised_loss(start, assessment.figures["loss"], assessment.figures["labels"])
        return replace(self, performance=performance, maturity=maturity, harm=harm, segments=segments), assessment

    def calibrate_detectors(self, calibrations: Sequence[Calibration]) -> Monitor:
        """Begin the evidence of the user's detectors from their scores of the reference's windows.

        Detectors that are watched already keep what they know: an alarm of theirs stands.
        """
        if self.detectors is not None:
            return replace(self, detectors=self.detectors.with_more(calibrations))
        settings = self.settings
        begun = DetectorDrift.begin(
            calibrations,
            settings.budget.threshold(EvidenceKind.DATA),
            window_seconds=settings.window_seconds,
            waits_for=settings.learning_windows,
        )
        return replace(self, detectors=begun)

    def drop_detectors(self, keys: Collection[str]) -> Monitor:
        """Without the evidence of some of the user's detectors."""
        return self if self.detectors is None else replace(self, detectors=self.detectors.without(keys))

    def check_detectors(
        self, assessment: Assessment, scores: Mapping[str, float], start: float
    ) -> tuple[Monitor, Assessment]:
        """The assessment of a window with what the user's detectors say of it; one without a score says nothing."""
        if self.detectors is None:
            return self, assessment
        detectors = self.detectors.update(scores, start)
        return replace(self, detectors=detectors), detectors.complete(assessment)

    def learn_late_labels(self, cohorts: Sequence[Outcomes], known_by: float) -> Monitor:
        """Learn how late labels come from cohorts that were given up, oldest first, by what came until `known_by`."""
        return replace(self, maturity=self.maturity.learn_late(cohorts, known_by))

    def label_age(self) -> float | None:
        """The age in seconds at which a cohort may first be evaluated; None while the delay of labels is unknown."""
        return self.maturity.first_age

    def tolerances(self, rows: int) -> dict[tuple[str, str], float]:
        """The size up to which a score of a window of so many rows does not matter, by subject and component.

        All streams of data and prediction, in the order of the schema, also those that a window has no score of.
        """
        parts = (part for part in (self.data, self.prediction) if part is not None)
        return {named: size for part in parts for named, size in part.tolerances(rows).items()}

    def rebaseline(self, kind: EvidenceKind) -> Monitor:
        """Take an alarm that was judged benign into what is normal: its evidence is reset, the new level learned."""
        if kind is EvidenceKind.DATA:
            data, detectors = self.data, self.detectors
            data = None if data is None else data.rebaseline()
            return replace(self, data=data, detectors=None if detectors is None else detectors.rebaseline())
        if kind is EvidenceKind.PREDICTION and self.prediction is not None:
            return replace(self, prediction=self.prediction.rebaseline())
        if kind is EvidenceKind.HARM and self.harm is not None:
            return replace(self, harm=self.harm.rebaseline())
        if kind is EvidenceKind.PERFORMANCE and self.performance is not None:
            segments = None if self.segments is None else self.segments.rebaseline()
            return replace(self, performance=self.performance.rebaseline(), segments=segments)
        return self

    def absorbed_level(self, kind: EvidenceKind) -> str | None:
        """Since when the level of a kind that was absorbed is so, and how far off the reference; None at its level."""
        part = {EvidenceKind.DATA: self.data, EvidenceKind.PREDICTION: self.prediction}.get(kind)
        return None if part is None else part.absorbed

    @property
    def segment_columns(self) -> tuple[str, ...]:
        """The columns by which rows belong to the segments that are watched."""
        return () if self.segments is None else self.segments.columns

    @property
    def data_evidence(self) -> StreamDrift | DetectorDrift | None:
        """What bears the verdict on data drift: the user's detectors where their alarm stands, else the features."""
        return self.detectors if self.detectors is not None and self.detectors.alarmed else self.data

    @property
    def watched_segments(self) -> tuple[Segment, ...]:
        """The segments whose losses are watched apart."""
        return () if self.segments is None else tuple(segment for segment, _ in self.segments.parts.values())

    @property
    def alarm_span(self) -> int:
        """How many windows the average has that says most of a loss above the reference; at least one."""
        spans = [] if self.performance is None else [self.performance.span]
        return max([*spans, *([] if self.segments is None else [self.segments.span]), 1])

    @property
    def loss(self) -> LossReference | None:
        """The reference's losses under the metric that is watched."""
        return _chosen_loss(self.reference, self.settings.metric)

    def to_bytes(self) -> bytes:
        """The evidence, without the reference and the settings."""
        values: JsonObject = {
            "layout": self.reference.layout.fingerprint,
            "standing": sorted(self.quality.standing),
            "gathered": dict(self.quality.gathered),
            "off": sorted(self.settings.off),
            "novelty": {name: [seen.windows, seen.since, seen.share] for name, seen in self.quality.novelty.items()},
        }
        arrays: dict[str, NDArray[Any]] = {}
        loss = self.loss
        values["metric"] = None if loss is None else loss.metric
        for name, part in self._parts().items():
            arrays[name] = as_array(pack(*part.pack()))
        if self.detectors is not None:
            arrays["detectors"] = as_array(self.detectors.to_bytes())
        return pack(values, arrays)

    @classmethod
    def from_bytes(cls, reference: Reference, settings: MonitorSettings, stored: bytes) -> Monitor:
        """Take up what `to_bytes` wrote, under settings that may have changed since.

        Evidence that no longer fits (another layout or metric) begins anew. So does the state of a detector of an
        earlier edition; `renewed` names those parts, for the caller to tell.
        """
        values, arrays = unpack(stored)
        if values["layout"] != reference.layout.fingerprint:
            return cls.begin(reference, settings)
        bare = _begin(reference, settings, None)
        found: dict[str, Any] = {}
        renewed = []
        for name, part in bare._parts().items():
            keeps = name in arrays and (name not in _OF_LOSS or values["metric"] == _metric(bare.loss))
            found[name] = part.restore_from(*unpack(arrays[name].tobytes())) if keeps else None
            renewed += [name] if keeps and found[name] is None else []
        if any(part is None for part in found.values()):
            fresh = cls.begin(reference, settings)._parts()
            for name, part in found.items():
                begun = fresh[name]
                later = begun.restore_from(*unpack(arrays[name].tobytes())) if name in renewed else None
                found[name] = part or later or begun
                renewed = [other for other in renewed if other != name or later is None]
        if found.get("data") is not None and values.get("off", []) != sorted(settings.off):
            found["data"] = found["data"].forget_of_all()
        detectors = None
        if settings.has_detectors and "detectors" in arrays:
            threshold = settings.budget.threshold(EvidenceKind.DATA)
            detectors = DetectorDrift.from_bytes(threshold, arrays["detectors"].tobytes())
        novelty = {name: Novelty(*seen) for name, seen in values.get("novelty", {}).items()}
        standing = frozenset(values["standing"])
        quality = replace(bare.quality, gathered=values["gathered"], standing=standing, novelty=novelty)
        return replace(bare, **found, quality=quality, detectors=detectors, renewed=tuple(renewed))

    def _parts(self) -> dict[str, Any]:
        parts = {
            "data": self.data,
            "prediction": self.prediction,
            "performance": self.performance,
            "maturity": self.maturity,
            "harm": self.harm,
            "segments": self.segments,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _faults(self, profile: Profile) -> tuple[Fault, ...]:
        found = _faults(self.reference, profile, QualitySettings(certain=self.quality.certain), self.outlying)
        return tuple(fault for fault in found if fault.subject not in self.settings.off)

    def _scores(self, scores: WindowScores, start: float) -> tuple[Score, ...]:
        parts = (part.scores(scores, start) for part in (self.data, self.prediction) if part is not None)
        return tuple(score for part in parts for score in part if score.subject not in self.settings.ignore)

    def _learning_sentence(self) -> str | None:
        parts = (part.evidence for part in (self.data, self.prediction) if part is not None)
        return next((learning for learning in (part.learning for part in parts) if learning is not None), None)

    def _chosen_instead(self) -> str | None:
        wanted = self.settings.metric
        return None if wanted == "auto" or wanted in self.reference.losses else display_name(wanted)


def _begin(
    reference: Reference,
    settings: MonitorSettings,
    learned: ReferenceScores | None,
    predecessor: Monitor | None = None,
) -> Monitor:
    threshold = settings.budget.threshold(EvidenceKind.PERFORMANCE)
    loss = _chosen_loss(reference, settings.metric)
    before = None if predecessor is None else predecessor.segments
    segments = None if loss is None else begin_segments(reference.segments, settings, threshold, loss.metric, before)
    loss_before = None if predecessor is None else predecessor.performance
    of_whole = threshold if segments is None else threshold / (1 - SEGMENTS_SHARE)
    return Monitor(
        reference,
        settings,
        begin_data_drift(reference.layout, learned, settings, reference.importance),
        begin_prediction_drift(reference.layout, learned, settings),
        begin_labelled_loss(reference, settings, of_whole, loss, loss_before),
        Maturity.begin(reference.label_delay, threshold, settings.label_patience),
        FaultEvidence(
            settings.budget.threshold(EvidenceKind.QUALITY),
            len(reference.layout.columns),
            reference.summary.usual,
        ),
        begin_estimated_loss(reference, settings, loss),
        reference.summary.outlying,
        segments,
    )


def _faults(
    reference: Reference, profile: Profile, settings: QualitySettings, outlying: Numbers | None = None
) -> tuple[Fault, ...]:
    layout, whole = reference.layout, reference.profile
    return quality_faults(profile, whole, layout, settings=settings, usually_outlying=outlying)


def _chosen_loss(reference: Reference, metric: str) -> LossReference | None:
    """The chosen metric's losses; those of the automatic one where it is not defined for the reference."""
    names = (metric, automatic_metric(reference.schema.task, reference.rarer), "brier", reference.loss, "error")
    return next((reference.losses[name] for name in names if name in reference.losses), None)


def _metric(loss: LossReference | None) -> str | None:
    return None if loss is None else loss.metric

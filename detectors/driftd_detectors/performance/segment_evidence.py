"""Evidence for each segment, as for the whole, and how the two are one assessment of performance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftd_detectors.assessment import (
    Assessment,
    EvidenceKind,
    KindAssessment,
    StandingAlarm,
    Verdict,
    exchange_start,
    loudness,
)
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.evidence.evidence import SUSPECTED
from driftd_detectors.performance.cohort_loss import estimate_loss
from driftd_detectors.performance.label_delay import LabelDelay
from driftd_detectors.performance.level_averages import SpreadPrior
from driftd_detectors.performance.level_evidence import LevelEvidence
from driftd_detectors.performance.level_view import (
    alarm_sentence,
    change_sentence,
    cleared_sentence,
    level_change,
    suspicion_sentence,
)
from driftd_detectors.performance.loss_reference import take_outcomes
from driftd_detectors.performance.performance import Performance, is_too_rough, tolerance_of
from driftd_detectors.performance.segments import Segment, chosen_segments, segment_columns
from driftd_detectors.schema import display_name
from driftd_detectors.serialization import JsonObject, as_array, pack, unpack
from driftd_detectors.settings import MonitorSettings

SHARE = 0.2  # of performance's budget, that all segments have together
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class SegmentPerformance:
    """Evidence that the loss of single segments is above what the reference had there. Immutable.

    Each segment is a stream of its own, held against its own level by the method of the whole (`Performance`); of S
    segments each alarms at S / .2 times the threshold of performance, the whole at 1 / .8 times (STATISTICS 8).
    """

    parts: Mapping[str, tuple[Segment, Performance]]
    crossed: bool = False  # by the last cohort: none stood before
    ended: StandingAlarm | None = None  # by the last cohort, after which none stands
    ended_sentence: str = ""  # the sentence of the alarm that ended

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the segments ask for."""
        return segment_columns([segment for segment, _ in self.parts.values()])

    @property
    def alarmed(self) -> bool:
        """Whether an alarm of any segment stands."""
        return any(part.alarmed for _, part in self.parts.values())

    @property
    def span(self) -> int:
        """Windows of the longest average that raised an alarm which stands; 0 where none does."""
        return max((part.span for _, part in self.parts.values() if part.alarmed), default=0)

    @property
    def standing(self) -> StandingAlarm | None:
        """The alarm that stands; of several the one that was raised first."""
        alarms = [part.standing for _, part in self.parts.values() if part.standing is not None]
        return min(alarms, key=lambda alarm: alarm.raised_at, default=None)

    def update(
        self, columns: Columns, outcomes: Outcomes, delay: LabelDelay | None, known_by: float, start: float
    ) -> SegmentPerformance:
        """One cohort more: its rows with their labels, and how late labels come where some are still to come."""
        after: dict[str, tuple[Segment, Performance]] = {}
        for name, (segment, part) in self.parts.items():
            own = take_outcomes(outcomes, np.flatnonzero(segment.holds(columns)))
            estimate = estimate_loss(own, part.reference, delay, known_by) if own.labelled.any() else None
            after[name] = segment, part if estimate is None else part.update(estimate, start)
        updated = replace(self, parts=after, crossed=False, ended=None)
        ends = [name for name, (_, part) in after.items() if part.cleared]
        if self.alarmed and not updated.alarmed and ends:
            part = after[ends[0]][1]
            return replace(
                updated, ended=part.ended, ended_sentence=f"{ends[0]}: {_format_sentence(part, cleared_sentence)}"
            )
        return replace(updated, crossed=updated.alarmed and not self.alarmed)

    def rebaseline(self) -> SegmentPerformance:
        """Take the losses since the change for what is promised from now on, in the segments whose alarm stands."""
        parts = {
            name: (segment, part.rebaseline() if part.alarmed else part) for name, (segment, part) in self.parts.items()
        }
        return SegmentPerformance(parts)

    def successor_priors(self) -> dict[str, SpreadPrior]:
        """What the detectors of the next version begin with, by segment."""
        return {name: part.successor_prior() for name, (_, part) in self.parts.items()}

    def leaders(self) -> list[str]:
        """The segments whose alarm stands, or whose evidence is suspected, most first."""
        said = {
            name: part for name, (_, part) in self.parts.items() if part.alarmed or self._portion(name) >= SUSPECTED
        }
        return sorted(said, key=lambda name: (said[name].alarmed, said[name].value), reverse=True)

    def complete(self, assessment: Assessment) -> Assessment:
        """The assessment of a cohort with what its segments say."""
        whole = assessment.kinds[0]
        kind = self.join(whole)
        if kind is whole:
            return assessment
        sentence = exchange_start(assessment.sentence, whole.sentence, kind.sentence)
        return replace(assessment, verdict=kind.verdict, sentence=sentence, kinds=(kind,))

    def join(self, whole: KindAssessment) -> KindAssessment:
        """The assessment of performance: of the whole, or of a segment where that says more."""
        own = self._assess(whole)
        if own is None:
            return whole
        leads = loudness(own.verdict) > loudness(whole.verdict)
        leading = own if leads or (own.verdict is Verdict.OK and own.cleared and not whole.cleared) else whole
        others = [] if leads or own.verdict is not Verdict.DRIFT else self.leaders()[:_MOST_NAMED]
        more = f" Also beyond what is tolerated: {', '.join(others)}." if others else ""
        alarms = [alarm for alarm in (whole.standing, own.standing) if alarm is not None]
        standing = min(alarms, key=lambda alarm: alarm.raised_at, default=None)
        return replace(
            leading,
            sentence=leading.sentence + more,
            leaders=(*leading.leaders, *((name, 0.0) for name in others)),
            crossed=(whole.crossed or own.crossed) and not self._stood_before(whole, own),
            standing=standing,
            cleared=None if standing is not None else whole.cleared or own.cleared,
        )

    def _assess(self, whole: KindAssessment) -> KindAssessment | None:
        """The segment of most evidence, on the scale of the whole's threshold; None where nothing is to be said."""
        names = self.leaders()
        if not names:
            if self.ended is None:
                return None
            return replace(
                whole, verdict=Verdict.OK, sentence=self.ended_sentence, leaders=(), crossed=False, cleared=self.ended
            )
        segment, part = self.parts[names[0]]
        name = segment.name
        verdict = Verdict.DRIFT if part.alarmed else Verdict.SUSPECTED
        said = _format_sentence(part, alarm_sentence if part.alarmed else suspicion_sentence)
        change = level_change(part.evidence, part.reference.metric, segment=name)
        return KindAssessment(
            EvidenceKind.PERFORMANCE,
            verdict,
            part.value / part.threshold * whole.threshold,
            whole.threshold,
            change_sentence(part.evidence, change),
            figures=f"{name}: {said}",
            changes=(change,),
            leaders=tuple((other, 1.0 if other == name else 0.0) for other in names[:_MOST_NAMED]),
            change_start=part.change_start,
            crossed=self.crossed,
            standing=self.standing,
            cleared=self.ended,
        )

    @staticmethod
    def _stood_before(whole: KindAssessment, own: KindAssessment) -> bool:
        """Whether an alarm of the other stood already when one was raised."""
        return (whole.standing is not None and not whole.crossed) or (own.standing is not None and not own.crossed)

    def _portion(self, name: str) -> float:
        """The evidence of a segment on the scale on which five is suspected."""
        return self.parts[name][1].value * SHARE / len(self.parts)

    def pack(self) -> tuple[JsonObject, dict[str, NDArray[Any]]]:
        """The state as JSON-ready values and arrays, without what follows from the settings."""
        arrays = {name: as_array(pack(*part.pack())) for name, (_, part) in self.parts.items()}
        return {"segments": list(self.parts)}, arrays

    def restore_from(self, values: dict[str, object], arrays: dict[str, NDArray[Any]]) -> SegmentPerformance | None:
        """This, with the state that `pack` gave; a segment that it does not have begins anew."""
        if "segments" not in values:
            return None
        parts = {}
        for name, (segment, part) in self.parts.items():
            stored = arrays.get(name)
            found = None if stored is None else part.restore_from(*unpack(np.asarray(stored).tobytes()))
            parts[name] = segment, part if found is None else found
        return replace(self, parts=parts)


def begin_segments(
    segments: Sequence[Segment],
    settings: MonitorSettings,
    threshold: float,
    metric: str,
    before: SegmentPerformance | None,
) -> SegmentPerformance | None:
    """Nothing live is known yet; None where no segment that the settings choose can be watched by that metric.

    `threshold` is that of performance; of `before`, the segments of the version that served before, the spread of
    losses is carried over. A segment whose losses are so rare that even 64 windows say too little of them is left out.
    """
    known = [segment for segment in chosen_segments(segments, settings.segments) if metric in segment.losses]
    watched = [segment for segment in known if not is_too_rough(segment.losses[metric])]
    priors = {} if before is None else before.successor_priors()
    parts = {
        segment.name: (
            segment,
            Performance.begin(
                segment.losses[metric],
                threshold * len(watched) / SHARE,
                tolerated=tolerance_of(segment.losses[metric], settings.tolerated_loss),
                window_seconds=settings.window_seconds,
                waits_for=settings.learning_windows,
                prior=priors.get(segment.name),
            ),
        )
        for segment in watched
    }
    return SegmentPerformance(parts) if parts else None


def _format_sentence(part: Performance, sentence: Callable[[LevelEvidence, str, str], str]) -> str:
    metric = part.reference.metric
    said = sentence(part.evidence, metric, display_name(metric))
    return said[:1].lower() + said[1:]

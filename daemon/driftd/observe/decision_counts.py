"""Counts the decisions of a model: builds by outcome, swaps, rollbacks, gate decisions. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftd.actions import DecisionFigures
from driftd.decisions import meaning_of
from driftd.events import BuildOutcome, Event, GateDecision, RollbackCause, Trigger
from driftd.observe import model_families
from driftd.observe.metric_family import Family
from driftd.observe.model_families import DECISIONS, OUTCOMES, PURPOSES, ROLLBACK_OUTCOMES, ROLLBACK_TRIGGERS
from driftd_detectors.assessment import EvidenceKind

REFUSED = (BuildOutcome.REJECTED, BuildOutcome.INCONCLUSIVE)
Count = tuple[Family, tuple[str, ...]]


@dataclass(slots=True)
class DecisionEvent:
    """One line of a model's history, as much of it as counting needs."""

    event: str
    at: float
    figures: DecisionFigures
    phase_from: str
    phase_to: str


@dataclass(slots=True)
class DecisionCounts:
    """The counts of one model's history so far, and what its last build, swap and judgement were."""

    counts: dict[Count, int] = field(default_factory=dict)
    phase: str = ""
    phase_since: float | None = None
    swapped_at: float | None = None
    last_outcome: str | None = None
    last_build_at: float | None = None
    rolled_back_at: dict[str, float] = field(default_factory=dict)  # by outcome
    taken_back_at: float | None = None
    refusals: int = 0  # builds that did not get through the gate since the last one that did
    gain: tuple[float, float, float] | None = None  # of the last judgement, with its band
    _trigger: dict[int, str] = field(default_factory=dict)  # of the builds under way, by their version
    _rollback: RollbackCause = RollbackCause.PROBATION

    def __post_init__(self) -> None:
        """Begin every count whose labels are known at zero."""
        self.counts |= {(model_families.TRANSITIONS, (event,)): 0 for event in Event}
        self.counts |= {(model_families.BUILDS_STARTED, (trigger,)): 0 for trigger in Trigger}
        self.counts |= {(model_families.BUILDS_ENDED, (trigger, end)): 0 for trigger in Trigger for end in OUTCOMES}
        self.counts |= {(model_families.GATE, (decision,)): 0 for decision in DECISIONS}
        self.counts |= {(model_families.SWAPS, (purpose,)): 0 for purpose in PURPOSES}
        self.counts |= {(model_families.ROLLBACKS, (t, end)): 0 for t in ROLLBACK_TRIGGERS for end in ROLLBACK_OUTCOMES}
        self.counts |= {(model_families.ALARMS, (kind,)): 0 for kind in EvidenceKind}

    def take(self, happened: DecisionEvent) -> None:
        """Count one decision."""
        self._count(model_families.TRANSITIONS, happened.event)
        if happened.phase_to != self.phase:
            self.phase, self.phase_since = happened.phase_to, happened.at
        if happened.event == Event.ALARM:
            self._count(model_families.ALARMS, str(happened.figures.kind))
        if happened.event == Event.HAND_OVER_TAKEN_BACK:
            self.taken_back_at = happened.at
        self._take_build(happened)
        self._take_gate(happened)
        self._take_swap(happened)

    def _take_build(self, happened: DecisionEvent) -> None:
        version = happened.figures.version
        if happened.event in (Event.BUILD_STARTED, Event.BUILD_RETRIED):
            for superseded in list(self._trigger):
                self._count_end(superseded, BuildOutcome.SUPERSEDED, happened.at)
            self._trigger[version or 0] = str(happened.figures.trigger)
            self._count(model_families.BUILDS_STARTED, str(happened.figures.trigger))
        elif (outcome := _outcome(happened)) is not None and version in self._trigger:
            self._count_end(version, outcome, happened.at)

    def _count_end(self, version: int, outcome: BuildOutcome, at: float) -> None:
        self._count(model_families.BUILDS_ENDED, self._trigger.pop(version), outcome)
        self.last_outcome, self.last_build_at = outcome, at
        if outcome is BuildOutcome.PROMOTED:
            self.refusals = 0
        elif outcome in REFUSED:
            self.refusals += 1

    def _take_gate(self, happened: DecisionEvent) -> None:
        figures = happened.figures
        if figures.decision is None:
            return
        self._count(model_families.GATE, figures.decision)
        if figures.gain is not None and figures.lower is not None and figures.upper is not None:
            self.gain = figures.gain, figures.lower, figures.upper

    def _take_swap(self, happened: DecisionEvent) -> None:
        meaning = meaning_of(happened.event)
        if happened.event == Event.ROLLBACK_STARTED:
            self._rollback = happened.figures.rollback_cause
        if meaning.rollback is not None:
            self._count(model_families.ROLLBACKS, self._rollback, meaning.rollback)
            self.rolled_back_at[meaning.rollback] = happened.at
        before, after = happened.figures.from_version, happened.figures.version
        is_swap = meaning.swap is not None and before not in (None, after)  # a pin of what serves already is none
        if is_swap and meaning.swap is not None:
            self._count(model_families.SWAPS, meaning.swap)
        if is_swap or happened.event == Event.ADOPTED:
            self.swapped_at = happened.at

    def _count(self, family: Family, *labels: str) -> None:
        self.counts[family, labels] = self.counts.get((family, labels), 0) + 1


def _outcome(happened: DecisionEvent) -> BuildOutcome | None:
    """How a build ended; None for a line that ends none."""
    outcome = meaning_of(happened.event).build
    if happened.event == Event.TESTS_FAILED:
        return outcome
    if outcome is BuildOutcome.REJECTED and happened.figures.decision is not GateDecision.REJECT:
        return BuildOutcome.TURNED_DOWN  # no gate said so: a person did
    return outcome

"""Counts the decisions of a model: builds by outcome, swaps, rollbacks, gate decisions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftd.observe import families
from driftd.observe.families import DECISIONS, OUTCOMES, PURPOSES, ROLLBACK_OUTCOMES, ROLLBACK_TRIGGERS
from driftd.observe.metric_family import Family
from driftd.records import Trigger
from driftd_detectors.assessment import EvidenceKind

EVENTS = (
    "adopted",
    "alarm",
    "approval_wanted",
    "build_failed",
    "build_started",
    "build_wanted",
    "challenger_inconclusive",
    "challenger_rejected",
    "confirmed",
    "gate_inconclusive",
    "judged_again",
    "override_began",
    "override_changed",
    "override_ended",
    "paused",
    "pin_refused",
    "pin_started",
    "pinned",
    "promoted",
    "quality_fault",
    "quality_restored",
    "report_failed",
    "request_refused",
    "restored",
    "resumed",
    "rollback_refused",
    "rollback_started",
    "rolled_back",
    "shadow_failed",
    "swap_started",
    "unpinned",
)
PURPOSE_OF = {"promoted": "promote", "rolled_back": "rollback", "pinned": "pin"}
ENDS = {"promoted": "promoted", "build_failed": "failed", "challenger_inconclusive": "inconclusive"}
REFUSED = ("rejected", "inconclusive")
Count = tuple[Family, tuple[str, ...]]


@dataclass(slots=True)
class DecisionEvent:
    """One line of a model's history, as much of it as counting needs."""

    event: str
    at: float
    figures: Mapping[str, Any]
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
    refusals: int = 0  # builds that did not get through the gate since the last one that did
    gain: tuple[float, float, float] | None = None  # of the last judgement, with its band
    _trigger: dict[int, str] = field(default_factory=dict)  # of the builds under way, by their version
    _rollback: str = "probation"

    def __post_init__(self) -> None:
        """Begin every count whose labels are known at zero."""
        self.counts |= {(families.TRANSITIONS, (event,)): 0 for event in EVENTS}
        self.counts |= {(families.BUILDS_STARTED, (trigger,)): 0 for trigger in Trigger}
        self.counts |= {(families.BUILDS_ENDED, (trigger, end)): 0 for trigger in Trigger for end in OUTCOMES}
        self.counts |= {(families.GATE, (decision,)): 0 for decision in DECISIONS}
        self.counts |= {(families.SWAPS, (purpose,)): 0 for purpose in PURPOSES}
        self.counts |= {(families.ROLLBACKS, (t, end)): 0 for t in ROLLBACK_TRIGGERS for end in ROLLBACK_OUTCOMES}
        self.counts |= {(families.ALARMS, (kind,)): 0 for kind in EvidenceKind}

    def take(self, happened: DecisionEvent) -> None:
        """Count one decision."""
        self._count(families.TRANSITIONS, happened.event)
        if happened.phase_to != self.phase:
            self.phase, self.phase_since = happened.phase_to, happened.at
        if happened.event == "alarm":
            self._count(families.ALARMS, str(happened.figures.get("kind")))
        self._take_build(happened)
        self._take_gate(happened)
        self._take_swap(happened)

    def _take_build(self, happened: DecisionEvent) -> None:
        version = happened.figures.get("version")
        if happened.event == "build_started":
            for superseded in list(self._trigger):
                self._count_end(superseded, "superseded", happened.at)
            self._trigger[int(version or 0)] = str(happened.figures.get("trigger"))
            self._count(families.BUILDS_STARTED, str(happened.figures.get("trigger")))
        elif (outcome := _outcome(happened)) is not None and version in self._trigger:
            self._count_end(int(version), outcome, happened.at)

    def _count_end(self, version: int, outcome: str, at: float) -> None:
        self._count(families.BUILDS_ENDED, self._trigger.pop(version), outcome)
        self.last_outcome, self.last_build_at = outcome, at
        if outcome == "promoted":
            self.refusals = 0
        elif outcome in REFUSED:
            self.refusals += 1

    def _take_gate(self, happened: DecisionEvent) -> None:
        decision, figures = happened.figures.get("decision"), happened.figures
        if decision not in DECISIONS:
            return
        self._count(families.GATE, str(decision))
        band = tuple(figures.get(name) for name in ("gain", "lower", "upper"))
        if all(isinstance(bound, int | float) for bound in band):
            gain, lower, upper = (float(bound) for bound in band if bound is not None)
            self.gain = gain, lower, upper

    def _take_swap(self, happened: DecisionEvent) -> None:
        match happened.event:
            case "rollback_started":
                self._rollback = "person" if "who" in happened.figures else "probation"
            case "rolled_back" | "rollback_refused":
                outcome = "done" if happened.event == "rolled_back" else "refused"
                self._count(families.ROLLBACKS, self._rollback, outcome)
                self.rolled_back_at[outcome] = happened.at
        before, after = (happened.figures.get(name) for name in ("from", "version"))
        is_swap = happened.event in PURPOSE_OF and before not in (None, after)  # a pin of what serves already is none
        if is_swap:
            self._count(families.SWAPS, PURPOSE_OF[happened.event])
        if is_swap or happened.event == "adopted":
            self.swapped_at = happened.at

    def _count(self, family: Family, *labels: str) -> None:
        self.counts[family, labels] = self.counts.get((family, labels), 0) + 1


def _outcome(happened: DecisionEvent) -> str | None:
    """How a build ended; None for a line that ends none."""
    if happened.event == "challenger_rejected":
        return "rejected" if happened.figures.get("decision") == "reject" else "turned_down"
    return ENDS.get(happened.event)

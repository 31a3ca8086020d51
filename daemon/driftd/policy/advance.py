"""The road of every finding to its transition."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy import builds, operator, swaps, triggers
from driftd.policy.inputs import (
    AlarmRaised,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    ProbationResult,
    QualityFault,
    QualityOk,
    StepDone,
    StepFailed,
)
from driftd.records import Event, ModelState, Phase, Transition


def advance(  # noqa: PLR0911 - one return for each kind of finding
    state: ModelState, finding: Finding, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Decide what follows from a finding.

    Pure. Invariants, tested over every pair of phase and finding: the champion changes only by a finished swap; no
    swap is intended for a challenger without a gate's `promote`, a person's approval or a pin; at most one build and
    one swap are under way; a fault of the pipeline starts nothing; every event has a reason.
    """
    given, override = override, override.in_force(now)
    match finding:
        case AlarmRaised():
            return triggers.alarmed(state, finding, settings, now)
        case QualityFault():
            return _faulted(state, finding)
        case QualityOk():
            return _cleared(state, finding)
        case StepDone():
            return builds.step_done(state, finding, facts, settings, override, now)
        case StepFailed():
            return builds.step_failed(state, finding, settings, now)
        case ProbationResult():
            return swaps.shadowed(state, finding)
        case OperatorRequest():
            return operator.asked(state, finding, facts, now)
        case ClockTick():
            noted = operator.noted(state, facts, given, override, now)
            return noted or _ticked(state, facts, settings, override, now)


def _ticked(state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float) -> Transition:
    decided = operator.overridden(state, facts, override, now)
    if decided is not None:
        return decided
    match state.phase:
        case Phase.STEADY:
            return triggers.consider(state, facts, settings, override, now)
        case Phase.RETRAINING:
            return builds.collect(state, facts, settings, override, now)
        case Phase.PROBATION:
            return swaps.look(state, facts, settings, now)
        case Phase.AWAITING_APPROVAL:
            return builds.release(state, settings, override)
        case Phase.PAUSED:
            return Transition(state, f"paused by the override: {override.reason}")


def _faulted(state: ModelState, fault: QualityFault) -> Transition:
    """A fault of a window's rows is what is said to block builds; one of the labels is said while there is no other."""
    sentence = fault.sentence
    if fault.of == "labels":
        said = sentence if state.blocked in (None, state.label_fault) else state.blocked
        blocked = replace(state, label_fault=sentence, blocked=said)
    else:
        blocked = replace(state, blocked=sentence)
    if state.blocked is not None:
        return Transition(blocked, sentence)
    return Transition(blocked, f"the pipeline is broken, no build may start: {sentence}", Event.QUALITY_FAULT)


def _cleared(state: ModelState, cleared: QualityOk) -> Transition:
    """Builds are blocked until rows and labels are both whole."""
    if cleared.of == "labels":
        blocked = None if state.blocked == state.label_fault else state.blocked
        whole = replace(state, label_fault=None, blocked=blocked)
    else:
        whole = replace(state, blocked=state.label_fault)
    if state.blocked is None or whole.blocked is not None:
        return Transition(whole, whole.blocked or "no fault of the pipeline")
    return Transition(whole, f"the pipeline is whole again; it was: {state.blocked}", Event.QUALITY_RESTORED)

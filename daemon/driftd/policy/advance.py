"""The road of every finding to its transition."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy import building, judging, operating, overriding, wanting, watching
from driftd.policy.findings import (
    Alarmed,
    Asked,
    Cleared,
    Facts,
    Faulted,
    Finding,
    Shadowed,
    StepDone,
    StepFailed,
    Ticked,
)
from driftd.policy.settings import Override, PolicySettings
from driftd.records import ModelState, Phase, Transition


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
        case Alarmed():
            return wanting.alarmed(state, finding, settings, now)
        case Faulted(sentence):
            return _faulted(state, sentence)
        case Cleared():
            return _cleared(state)
        case StepDone():
            return building.step_done(state, finding, facts, settings, override, now)
        case StepFailed():
            return building.step_failed(state, finding, settings, now)
        case Shadowed():
            return watching.shadowed(state, finding)
        case Asked():
            return operating.asked(state, finding, facts, now)
        case Ticked():
            noted = overriding.noted(state, facts, given, override, now)
            return noted or _ticked(state, facts, settings, override, now)


def _ticked(state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float) -> Transition:
    decided = overriding.overridden(state, facts, override, now)
    if decided is not None:
        return decided
    match state.phase:
        case Phase.STEADY:
            return wanting.consider(state, facts, settings, override, now)
        case Phase.RETRAINING:
            return judging.collect(state, facts, settings, override, now)
        case Phase.PROBATION:
            return watching.look(state, facts, settings, now)
        case Phase.AWAITING_APPROVAL:
            return judging.release(state, settings, override)
        case Phase.PAUSED:
            return Transition(state, f"paused by the override: {override.reason}")


def _faulted(state: ModelState, sentence: str) -> Transition:
    blocked = replace(state, blocked=sentence)
    if state.blocked is not None:
        return Transition(blocked, sentence)
    return Transition(blocked, f"the pipeline is broken, no build may start: {sentence}", "quality_fault")


def _cleared(state: ModelState) -> Transition:
    if state.blocked is None:
        return Transition(state, "no fault of the pipeline")
    return Transition(
        replace(state, blocked=None), f"the pipeline is whole again; it was: {state.blocked}", "quality_restored"
    )

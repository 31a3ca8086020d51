"""Passes each finding to the function that decides on it."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy import alarms, builds, hand_over, operator, orders, registry, review, swaps, triggers
from driftd.policy.inputs import (
    AlarmCleared,
    AlarmRaised,
    AlarmStanding,
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
from driftd.records import BuildStep, Event, ModelState, Phase, Transition

_Decided = StepDone | StepFailed | ProbationResult | OperatorRequest | ClockTick


def advance(
    state: ModelState, finding: Finding, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Decide what follows from a finding.

    Pure. Invariants, tested over every pair of phase and finding: the champion changes only by a finished swap; no
    swap is intended but to a challenger with a gate's `promote`, to the version that a refresh chose (its own, or an
    older one that is surely better), by a person's approval or a pin, or back; at most one build and one swap are under
    way; a fault of the pipeline starts nothing; every event has a reason.
    """
    match finding:  # what a check finds swaps nothing: it concerns no hand-over
        case AlarmRaised() | AlarmStanding() | AlarmCleared():
            return triggers.apply_alarm(state, finding, settings, override.with_orders(state.orders, now), now)
        case QualityFault():
            return _block_builds(state, finding)
        case QualityOk():
            return _unblock_builds(state, finding)
    own = hand_over.apply_to_hand_over(state, finding, facts, settings, now)
    own = own or registry.apply_to_registry(state, finding, facts, settings, override, now)
    return own or _decide_with_registry(state, finding, facts, settings, override, now)


def _decide_with_registry(
    state: ModelState, finding: _Decided, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Decide; a promotion waits for the alias of a registry, and what is owed there is done at a tick."""
    released = registry.release_for(state, finding, facts, settings)
    decided = _decide(released, finding, hand_over.count_as_swap(state, facts), settings, override, now)
    if released is not state and decided.event is Event.REQUEST_REFUSED:
        return replace(decided, state=state)
    decided = hand_over.divert_swap(state, finding, decided, facts, settings, now)
    decided = registry.hold_promotion(decided, settings)
    if not isinstance(finding, ClockTick) or decided.event is not None or decided.actions:
        return decided
    in_force = override.with_orders(decided.state.orders, now)
    return registry.settle_registry(decided.state, facts, settings, in_force, now) or decided


def _decide(
    state: ModelState,
    finding: _Decided,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    configured, in_force = override, override.in_force(now)
    override = override.with_orders(state.orders, now)
    match finding:
        case StepDone():
            return builds.finish_step(state, finding, facts, settings, override, now)
        case StepFailed():
            return builds.fail_step(state, finding, settings, now)
        case ProbationResult():
            return swaps.apply_comparison(state, finding, facts)
        case OperatorRequest():
            return operator.answer_request(state, finding, facts, settings, in_force, now)
        case ClockTick():
            changed = operator.record_override_change(state, facts, configured, in_force, now)
            decided = (
                changed or orders.lapse_orders(state, now) or _decide_on_tick(state, facts, settings, override, now)
            )
            if facts.clock_fault is not None:  # how long an alarm has stood is not known
                return decided
            return alarms.report_unattended(decided, settings, override, now)


def _decide_on_tick(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    state = alarms.without_acknowledged(state, override, now)
    applied = operator.apply_override(state, facts, settings, override, now)
    if applied is not None:
        return applied
    if facts.clock_fault is not None and not _is_asked(state):
        waits = facts.clock_fault if state.want is not None else state.waits
        return Transition(replace(state, waits=waits), f"nothing is decided by the clock: {facts.clock_fault}")
    decided = _decide_in_phase(state, facts, settings, override, now)
    if decided.event is not None or decided.actions or not _is_watched(decided.state, facts):
        return decided
    return swaps.compare_versions(decided.state, facts, settings, now)


def _decide_in_phase(  # noqa: PLR0911 - one return for each phase
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    match state.phase:
        case Phase.STEADY if not settings.can_train and (state.want is None or state.want.submission is None):
            return hand_over.ask_for_version(state, facts, settings, override, now)
        case Phase.STEADY:
            return triggers.consider_build(state, facts, settings, override, now)
        case Phase.RETRAINING:
            return builds.collect_rows(state, facts, settings, override, now)
        case Phase.PROBATION if state.probation is not None and state.probation.previous in facts.logged:
            return hand_over.watch_alone(state, facts, settings, now)
        case Phase.PROBATION:
            if state.probation is not None and not state.probation.until_refresh:
                return Transition(state, "probation is under way")
            return triggers.consider_build(state, facts, settings, override, now)
        case Phase.AWAITING_APPROVAL:
            return review.release_challenger(state, facts, settings, override, now)
        case Phase.PAUSED:
            pause = override.pause_of("checks")
            return Transition(state, "paused" if pause is None else f"paused by {orders.describe_pause(pause)}")


def _is_asked(state: ModelState) -> bool:
    """Whether what is next is a person's doing, which waits for no clock: a build asked for, an approval, a pause."""
    asked = state.want is not None and triggers.is_of_person(state.want)
    return asked or state.phase in (Phase.AWAITING_APPROVAL, Phase.PAUSED)


def _is_watched(state: ModelState, facts: Facts) -> bool:
    """Whether the champion is on probation, and nothing under way hinders that it is compared with the one before."""
    if state.probation is not None and state.probation.previous in facts.logged:
        return False  # that one cannot predict
    if state.phase is Phase.PROBATION:
        return True
    is_idle = state.build is not None and state.build.step is BuildStep.COLLECT
    waits = state.phase is Phase.AWAITING_APPROVAL or (state.phase is Phase.RETRAINING and is_idle)
    return state.probation is not None and waits


def _block_builds(state: ModelState, fault: QualityFault) -> Transition:
    """A fault of a window's rows is what is said to block builds; one of the labels is said while there is no other."""
    sentence = fault.sentence
    if fault.of == "labels":
        said = sentence if state.blocked in (None, state.label_fault) else state.blocked
        blocked = replace(state, label_fault=sentence, blocked=said)
    else:
        blocked = replace(state, blocked=sentence, level_fault=sentence if fault.is_level else None)
    if state.blocked is not None:
        return Transition(blocked, sentence)
    return Transition(blocked, f"the pipeline is broken, no build may start: {sentence}", Event.QUALITY_FAULT)


def _unblock_builds(state: ModelState, cleared: QualityOk) -> Transition:
    """Builds are blocked until rows and labels are both whole."""
    if cleared.of == "labels":
        blocked = None if state.blocked == state.label_fault else state.blocked
        whole = replace(state, label_fault=None, blocked=blocked)
    else:
        whole = replace(state, blocked=state.label_fault, level_fault=None)
    if state.blocked is None or whole.blocked is not None:
        return Transition(whole, whole.blocked or "no fault of the pipeline")
    return Transition(whole, f"the pipeline is whole again; it was: {state.blocked}", Event.QUALITY_RESTORED)

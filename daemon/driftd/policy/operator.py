"""What an operator asks by the config's override or by the CLI, and the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from driftd.policy.formatting import PIN_AGAIN, moment
from driftd.policy.inputs import Facts, OperatorRequest, Override
from driftd.policy.swaps import promote, refused, swap_action, unwatched
from driftd.policy.triggers import by_hand, gives_way
from driftd.records import (
    ActionKind,
    Build,
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    Phase,
    RollbackCause,
    SwapPurpose,
    Transition,
)

ACTOR = "config"
ASKED_KEPT = 100  # retrain texts that are remembered, so that none builds twice


def noted(state: ModelState, facts: Facts, given: Override, override: Override, now: float) -> Transition | None:
    """A line of history when what the override asks of this model began, changed or ended; None when it is as before.

    `given` is what the config says, `override` what of it is in force now.
    """
    asks = None if override.is_empty else f"{described(override)} ({override.reason})"
    if asks == state.override:
        return None
    changed = replace(state, override=asks)
    if state.pin_refused is not None:
        changed = replace(changed, pinned=None, pin_refused=None)  # whatever changed, the pin is tried anew
    if asks is None:
        lapsed = given.expires is not None and given.expires <= now
        how = f"expired at {moment(given.expires)}" if lapsed and given.expires is not None else "was lifted"
        return Transition(changed, f"the override {how}; it was: {state.override}", Event.OVERRIDE_ENDED, actor=ACTOR)
    event = Event.OVERRIDE_BEGAN if state.override is None else Event.OVERRIDE_CHANGED
    until = f", until {moment(override.expires)}" if override.expires is not None else ""
    notes = "".join(f"; {note}" for note in _without_effect(state, facts, override))
    return Transition(
        changed, f"the override holds: {asks}{until}{notes}", event, (), DecisionFigures(asks=asks), actor=ACTOR
    )


def described(override: Override) -> str:
    """What an override asks, as one clause after the other."""
    return "; ".join(_clauses(override))


def _clauses(override: Override) -> Iterator[str]:
    if override.pause:
        yield f"{', '.join(sorted(override.pause))} paused"
    if override.pin is not None:
        yield f"version {override.pin} pinned"
    for feature, until in sorted(override.silence.items()):
        yield f"{feature} silent until {moment(until)}"
    if override.retrain is not None:
        yield f"a build asked for: {override.retrain}"
    if override.approve is not None:
        yield f"version {override.approve} approved"
    if override.reject is not None:
        yield f"version {override.reject} rejected"


def _without_effect(state: ModelState, facts: Facts, override: Override) -> Iterator[str]:
    """What is asked and cannot have its effect now: a change of the config never does nothing without a word."""
    waiting = state.build.number if state.phase is Phase.AWAITING_APPROVAL and state.build is not None else None
    for version in (override.approve, override.reject):
        if version is not None and version != waiting:
            yield f"version {version} does not wait for approval now ({_waiting(state, waiting)})"
    if waiting is not None and waiting == override.approve and override.pin is not None:
        yield f"version {waiting} cannot be promoted while version {override.pin} is pinned"
    if override.retrain is not None and override.retrain in state.asked:
        yield f"the build {override.retrain!r} was begun before; another text is another build"
    elif override.retrain is not None and state.build is not None and not gives_way(state.build):
        yield f"build {state.build.number} is under way ({state.build.step}); the one asked for begins after it"
    unknown = sorted(set(override.silence) - facts.features) if facts.features is not None else []
    if unknown and facts.features is not None:
        yield f"there is no feature {', '.join(unknown)} (there are: {', '.join(sorted(facts.features))})"


def _waiting(state: ModelState, waiting: int | None) -> str:
    return f"version {waiting} does" if waiting is not None else f"the model is {state.phase}"


def overridden(state: ModelState, facts: Facts, override: Override, now: float) -> Transition | None:
    """The first thing in which the model differs from what the override asks, mended; None when it is as asked."""
    for mend in (_paused, _pinned, _judged):
        transition = mend(state, facts, override)
        if transition is not None:
            return transition
    if override.retrain is not None and override.retrain not in state.asked and gives_way(state.build):
        asked = replace(state, asked=(*state.asked[-ASKED_KEPT + 1 :], override.retrain))
        wanted = by_hand(asked, f"the override asks for a build: {override.retrain}", "the override", now)
        return replace(wanted, actor=ACTOR)
    return None


def _paused(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    del facts
    if "checks" in override.pause and state.phase is not Phase.PAUSED:
        paused = replace(state, phase=Phase.PAUSED, resumes=state.phase)
        return Transition(paused, f"checks are paused by the override: {override.reason}", Event.PAUSED, actor=ACTOR)
    if "checks" not in override.pause and state.phase is Phase.PAUSED:
        resumed = replace(state, phase=state.resumes or Phase.STEADY, resumes=None)
        return Transition(resumed, "the override no longer pauses the checks", Event.RESUMED, actor=ACTOR)
    return None


def _pinned(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    if override.pin is None:
        return None if state.pinned is None else _unpinned(state)
    if override.pin == state.pinned or ActionKind.SWAP in facts.working:
        return None  # held already, or tried and refused: only another pin is tried again
    held = replace(state, pinned=override.pin, pin_refused=None)
    why = f"the override pins version {override.pin}: {override.reason}"
    figures = DecisionFigures(version=override.pin, from_version=state.champion)
    if override.pin == state.champion:
        return Transition(_settled(held), f"{why}; it serves already", Event.PINNED, (), figures, actor=ACTOR)
    if override.pin not in facts.versions:
        known = ", ".join(map(str, sorted(facts.versions))) or "none"
        refusal = (
            f"{why}; but there is no such version (there are: {known}); version {state.champion} serves on; {PIN_AGAIN}"
        )
        return Transition(replace(held, pin_refused=refusal), refusal, Event.PIN_REFUSED, (), figures, actor=ACTOR)
    if held.build is not None and override.pin == held.build.number:
        held = _without_build(held)
    action = swap_action(held, override.pin, SwapPurpose.PIN)
    return Transition(held, why, Event.PIN_STARTED, (action,), figures, actor=ACTOR)


def _without_build(state: ModelState) -> ModelState:
    """A challenger that is pinned is no challenger any more: what its judge still says is put aside."""
    resumes = None if state.resumes is None else Phase.STEADY
    phase = state.phase if state.phase is Phase.PAUSED else Phase.STEADY
    return replace(state, phase=phase, resumes=resumes, build=None, want=None, waits=None)


def _settled(state: ModelState) -> ModelState:
    """A version that is pinned is served whatever a comparison says: its probation is over."""
    resumes = state.resumes and unwatched(state.resumes)
    return replace(state, phase=unwatched(state.phase), resumes=resumes, probation=None)


def _unpinned(state: ModelState) -> Transition:
    goes_on = f"version {state.champion} goes on serving"
    sentence = f"version {state.pinned} is no longer pinned; {goes_on}"
    return Transition(replace(state, pinned=None, pin_refused=None), sentence, Event.UNPINNED, actor=ACTOR)


def _judged(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    """Approve or reject the challenger that waits; a pin goes before an approval."""
    del facts
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None:
        return None
    if override.approve == build.number and state.pinned is None:
        by = f"version {build.number} is approved by the override: {override.reason}"
        return replace(promote(state, build, by, DecisionFigures(version=build.number)), actor=ACTOR)
    if override.reject == build.number:
        return replace(
            refused(state, f"version {build.number} is rejected by the override: {override.reason}"), actor=ACTOR
        )
    return None


NO_TARGET = "there is no earlier version to go back to; name one with --to"
REQUEST_LASTS = 86_400.0  # seconds; what was asked before the daemon was down for days may be wrong by now


def asked(state: ModelState, finding: OperatorRequest, facts: Facts, now: float) -> Transition:
    """Answer a request of the CLI; the transition's reason is the answer."""
    if finding.at is not None and now - finding.at > REQUEST_LASTS:
        stale = f"{finding.kind} was asked at {moment(finding.at)}, and nothing could answer until now"
        return Transition(state, f"{stale}: ask again if it still holds", Event.REQUEST_REFUSED)
    match finding.kind:
        case "retrain":
            return _retrain(state, finding, now)
        case "approve" | "reject":
            return _judged_by_person(state, finding)
        case "rollback":
            return _roll_back(state, finding, facts)
        case _:
            return Transition(
                state,
                f"there is no request {finding.kind!r}; there are retrain, approve, reject, rollback",
                Event.REQUEST_REFUSED,
            )


def _retrain(state: ModelState, finding: OperatorRequest, now: float) -> Transition:
    if state.build is not None and not gives_way(state.build):
        return Transition(
            state, f"build {state.build.number} is already under way ({state.build.step})", Event.REQUEST_REFUSED
        )
    return by_hand(state, f"{finding.who} asks for a build: {finding.text or 'no reason given'}", finding.who, now)


def _judged_by_person(state: ModelState, finding: OperatorRequest) -> Transition:
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None:
        return Transition(state, f"nothing awaits approval (the model is {state.phase})", Event.REQUEST_REFUSED)
    if finding.version is not None and finding.version != build.number:
        return Transition(
            state, f"version {build.number} awaits approval, not {finding.version}", Event.REQUEST_REFUSED
        )
    if finding.kind == "approve" and state.pinned is not None:
        return Transition(
            state, f"the override pins version {state.pinned}; change the override first", Event.REQUEST_REFUSED
        )
    text = f": {finding.text}" if finding.text else ""
    if finding.kind == "approve":
        figures = DecisionFigures(version=build.number, who=finding.who)
        return promote(state, build, f"version {build.number} is approved by {finding.who}{text}", figures)
    return refused(state, f"version {build.number} is rejected by {finding.who}{text}")


def _roll_back(state: ModelState, finding: OperatorRequest, facts: Facts) -> Transition:
    target = finding.version if finding.version is not None else state.previous
    refusal = _rollback_refusal(state, target, facts)
    if target is None or refusal is not None:
        return Transition(state, refusal or NO_TARGET, Event.REQUEST_REFUSED)
    action = swap_action(state, target, SwapPurpose.ROLLBACK)
    text = f": {finding.text}" if finding.text else ""
    reason = f"{finding.who} rolls back from version {state.champion} to {target}{text}"
    figures = DecisionFigures(version=target, who=finding.who, cause=RollbackCause.PERSON)
    return Transition(state, reason, Event.ROLLBACK_STARTED, (action,), figures)


def _rollback_refusal(state: ModelState, target: int | None, facts: Facts) -> str | None:
    if target is None:
        return NO_TARGET
    if target not in facts.versions:
        return f"there is no version {target}; there are {', '.join(map(str, sorted(facts.versions)))}"
    if target == state.champion:
        return f"version {target} serves already"
    if state.pinned is not None:
        return f"the override pins version {state.pinned}; change the override first"
    return _building_refusal(state.build, target, facts)


def _building_refusal(build: Build | None, target: int, facts: Facts) -> str | None:
    if (build is not None and build.step is BuildStep.SWAP) or ActionKind.SWAP in facts.working:
        return "a swap is under way; ask again when it is done"
    if build is not None and target == build.number:
        return f"version {target} is the challenger of a build under way ({build.step}): it has not served yet"
    return None

"""The operator's hand: what the override and the CLI ask for."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.building import promote
from driftd.policy.findings import Asked, Facts
from driftd.policy.settings import Override
from driftd.records import Action, ActionKind, BuildStep, ModelState, Phase, Transition, Trigger, Want


def overridden(state: ModelState, facts: Facts, override: Override, now: float) -> Transition | None:
    """The first thing in which the model differs from what the override asks, mended; None when it is as asked."""
    for mend in (_paused, _pinned, _approved, _rejected):
        transition = mend(state, facts, override)
        if transition is not None:
            return transition
    if override.retrain is not None and override.retrain not in state.asked:
        asked = replace(state, asked=(*state.asked[-99:], override.retrain))
        return _wanted(asked, f"the override asks for a build: {override.retrain}", "the override", now)
    return None


def _paused(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    del facts
    if "checks" in override.pause and state.phase is not Phase.PAUSED:
        paused = replace(state, phase=Phase.PAUSED, resumes=state.phase)
        return Transition(paused, f"checks are paused by the override: {override.reason}", "paused")
    if "checks" not in override.pause and state.phase is Phase.PAUSED:
        resumed = replace(state, phase=state.resumes or Phase.STEADY, resumes=None)
        return Transition(resumed, "the override no longer pauses the checks", "resumed")
    return None


def _pinned(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    if override.pin is None:
        if state.pinned is None:
            return None
        return Transition(
            replace(state, pinned=None), f"version {state.pinned} is no longer pinned; it goes on serving", "unpinned"
        )
    if override.pin == state.pinned or ActionKind.SWAP in facts.working:
        return None  # held already, or tried and refused: only another pin is tried again
    held = replace(state, pinned=override.pin)
    why = f"the override pins version {override.pin}: {override.reason}"
    if override.pin == state.champion:
        return Transition(held, f"{why}; it serves already", "pinned", (), {"version": override.pin})
    if override.pin not in facts.versions:
        known = ", ".join(map(str, sorted(facts.versions))) or "none"
        return Transition(held, f"{why}; but there is no such version (there are: {known})", "pin_refused")
    action = Action(ActionKind.SWAP, {"version": override.pin, "purpose": "pin", "from": state.champion})
    return Transition(held, why, "pin_started", (action,), {"version": override.pin})


def _approved(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    del facts
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None or override.approve != build.number:
        return None
    return promote(state, build, f"version {build.number} is approved by the override: {override.reason}", {})


def _rejected(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    del facts
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None or override.reject != build.number:
        return None
    return _refused(state, f"version {build.number} is rejected by the override: {override.reason}")


def asked(state: ModelState, finding: Asked, facts: Facts, now: float) -> Transition:
    """Answer a request of the CLI; the transition's reason is the answer."""
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
                "request_refused",
            )


def _retrain(state: ModelState, finding: Asked, now: float) -> Transition:
    if state.build is not None:
        return Transition(
            state, f"build {state.build.number} is already under way ({state.build.step})", "request_refused"
        )
    return _wanted(state, f"{finding.who} asks for a build: {finding.text or 'no reason given'}", finding.who, now)


def _wanted(state: ModelState, reason: str, who: str, now: float) -> Transition:
    wanted = replace(state, want=Want(Trigger.MANUAL, reason, now, who=who))
    return Transition(wanted, reason, "build_wanted", (), {"trigger": Trigger.MANUAL})


def _judged_by_person(state: ModelState, finding: Asked) -> Transition:
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None:
        return Transition(state, f"nothing awaits approval (the model is {state.phase})", "request_refused")
    if finding.version is not None and finding.version != build.number:
        return Transition(state, f"version {build.number} awaits approval, not {finding.version}", "request_refused")
    text = f": {finding.text}" if finding.text else ""
    if finding.kind == "approve":
        return promote(state, build, f"version {build.number} is approved by {finding.who}{text}", {"who": finding.who})
    return _refused(state, f"version {build.number} is rejected by {finding.who}{text}")


def _refused(state: ModelState, reason: str) -> Transition:
    number = state.build.number if state.build is not None else 0
    refused = replace(state, phase=Phase.STEADY, build=None, want=None, barred=(*state.barred, number))
    return Transition(refused, reason, "challenger_rejected", (), {"version": number})


def _roll_back(state: ModelState, finding: Asked, facts: Facts) -> Transition:
    target = finding.version if finding.version is not None else state.previous
    refusal = _rollback_refusal(state, target, facts)
    if refusal is not None:
        return Transition(state, refusal, "request_refused")
    action = Action(ActionKind.SWAP, {"version": target, "purpose": "rollback", "from": state.champion})
    text = f": {finding.text}" if finding.text else ""
    reason = f"{finding.who} rolls back from version {state.champion} to {target}{text}"
    return Transition(state, reason, "rollback_started", (action,), {"version": target, "who": finding.who})


def _rollback_refusal(state: ModelState, target: int | None, facts: Facts) -> str | None:
    if target is None:
        return "there is no earlier version to go back to; name one with --to"
    if target not in facts.versions:
        return f"there is no version {target}; there are {', '.join(map(str, sorted(facts.versions)))}"
    if target == state.champion:
        return f"version {target} serves already"
    if state.pinned is not None:
        return f"the override pins version {state.pinned}; change the override first"
    swapping = state.build is not None and state.build.step is BuildStep.SWAP
    if swapping or ActionKind.SWAP in facts.working:
        return "a swap is under way; ask again when it is done"
    return None

"""What a person asks by the CLI, and the answer."""

from __future__ import annotations

from driftd.policy.findings import Asked, Facts
from driftd.policy.swapping import promote, refused
from driftd.policy.wanting import by_hand, gives_way
from driftd.policy.wording import moment
from driftd.records import Action, ActionKind, Build, BuildStep, ModelState, Phase, Transition

REQUEST_LASTS = 86_400.0  # seconds; what was asked before the daemon was down for days may be wrong by now


def asked(state: ModelState, finding: Asked, facts: Facts, now: float) -> Transition:
    """Answer a request of the CLI; the transition's reason is the answer."""
    if finding.at is not None and now - finding.at > REQUEST_LASTS:
        stale = f"{finding.kind} was asked at {moment(finding.at)}, and nothing could answer until now"
        return Transition(state, f"{stale}: ask again if it still holds", "request_refused")
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
    if state.build is not None and not gives_way(state.build):
        return Transition(
            state, f"build {state.build.number} is already under way ({state.build.step})", "request_refused"
        )
    return by_hand(state, f"{finding.who} asks for a build: {finding.text or 'no reason given'}", finding.who, now)


def _judged_by_person(state: ModelState, finding: Asked) -> Transition:
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None:
        return Transition(state, f"nothing awaits approval (the model is {state.phase})", "request_refused")
    if finding.version is not None and finding.version != build.number:
        return Transition(state, f"version {build.number} awaits approval, not {finding.version}", "request_refused")
    if finding.kind == "approve" and state.pinned is not None:
        return Transition(
            state, f"the override pins version {state.pinned}; change the override first", "request_refused"
        )
    text = f": {finding.text}" if finding.text else ""
    if finding.kind == "approve":
        return promote(state, build, f"version {build.number} is approved by {finding.who}{text}", {"who": finding.who})
    return refused(state, f"version {build.number} is rejected by {finding.who}{text}")


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
    return _building_refusal(state.build, target, facts)


def _building_refusal(build: Build | None, target: int, facts: Facts) -> str | None:
    if (build is not None and build.step is BuildStep.SWAP) or ActionKind.SWAP in facts.working:
        return "a swap is under way; ask again when it is done"
    if build is not None and target == build.number:
        return f"version {target} is the challenger of a build under way ({build.step}): it has not served yet"
    return None

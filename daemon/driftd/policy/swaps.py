"""From the decision for a version to the version that serves, and the probation after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from driftd.policy.formatting import moment
from driftd.policy.inputs import Facts, PolicySettings, ProbationResult
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildRequest,
    BuildStep,
    ModelState,
    Phase,
    Probation,
    Transition,
    Trigger,
)

FOLLOW_UP = 10  # a build from few rows after a change is repeated with so many times the rows


def promote(state: ModelState, build: Build, reason: str, figures: dict[str, Any]) -> Transition:
    """Intend the swap to a challenger."""
    swapping = replace(state, phase=Phase.RETRAINING, build=replace(build, step=BuildStep.SWAP))
    action = Action(ActionKind.SWAP, {"version": build.number, "purpose": "promote", "from": state.champion})
    return Transition(swapping, reason, "swap_started", (action,), {"version": build.number, **figures})


def refused(state: ModelState, reason: str) -> Transition:
    """A person turned the waiting challenger down."""
    number = state.build.number if state.build is not None else 0
    steady = replace(state, phase=Phase.STEADY, build=None, want=None, barred=(*state.barred, number))
    return Transition(steady, reason, "challenger_rejected", (), {"version": number})


def swapped(state: ModelState, arguments: Mapping[str, Any], settings: PolicySettings, now: float) -> Transition:
    """Another version serves: what that means depends on the purpose of the swap."""
    version, before = int(arguments["version"]), state.champion
    figures = {"version": version, "from": before}
    served = replace(state, champion=version, cooldown_until=now + settings.cooldown)
    if arguments.get("purpose") == "promote":
        return _promoted(served, before, figures, now)
    settled = replace(
        served, phase=unwatched(served.phase), resumes=served.resumes and unwatched(served.resumes), probation=None
    )
    if arguments.get("purpose") == "rollback":
        barred = (*state.barred, before) if before is not None and before != version else state.barred
        want = settled.want if settled.want is not None and settled.want.trigger is Trigger.MANUAL else None
        back = replace(settled, previous=None, want=want, barred=barred)
        return Transition(back, f"version {version} serves again instead of {before}", "rolled_back", (), figures)
    pinned = replace(settled, previous=before)
    return Transition(pinned, f"version {version} serves because the override pins it", "pinned", (), figures)


def unwatched(phase: Phase) -> Phase:
    """A rollback or a pin ends a probation; every other phase goes on."""
    return Phase.STEADY if phase is Phase.PROBATION else phase


def _promoted(served: ModelState, before: int | None, figures: dict[str, Any], now: float) -> Transition:
    build = served.build
    clean = replace(served, build=None, want=_follow_up(build, now), failures=0, backoff_until=0.0, waits=None)
    if before is None:
        steady = replace(clean, phase=Phase.STEADY)
        return Transition(steady, f"version {served.champion} serves as the first champion", "promoted", (), figures)
    watched = replace(clean, phase=Phase.PROBATION, previous=before, probation=Probation(before, now))
    decision = build.decision if build is not None else ""
    reason = f"version {served.champion} serves instead of {before} and is on probation: {decision}"
    return Transition(watched, reason, "promoted", (), figures)


def _follow_up(build: Build | None, now: float) -> BuildRequest | None:
    """A build from few rows after a change is worth repeating when many more are there (STATISTICS 9)."""
    if build is None or build.change_at is None or build.rows_since_change == 0 or build.is_follow_up:
        return None
    needed = FOLLOW_UP * build.rows_since_change
    reason = (
        f"version {build.number} was built from {build.rows_since_change} rows after the change; {needed} are awaited"
    )
    return BuildRequest(build.trigger, reason, now, change_at=build.change_at, labels_needed=needed, is_follow_up=True)


LOOKS = 4  # about so many looks at the labels while the least number comes in; the test allows any number


def look(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Have the two versions compared when enough new labels came, or when the span is over."""
    probation = state.probation
    if probation is None:
        return Transition(replace(state, phase=Phase.STEADY), "no probation is under way")
    if facts.working & {ActionKind.SHADOW, ActionKind.SWAP}:
        return Transition(state, probation.sentence or "the comparison is being made")
    missing = _missing(probation, facts.labels, settings, now)
    if missing is not None:
        return Transition(state, missing)
    looking = replace(state, probation=replace(probation, looked_at=now, seen=facts.labels))
    arguments = {"new": state.champion, "old": probation.previous, "since": probation.since}
    action = Action(ActionKind.SHADOW, arguments)
    return Transition(looking, f"comparing version {state.champion} with {probation.previous}", None, (action,))


def _missing(probation: Probation, labels: int, settings: PolicySettings, now: float) -> str | None:
    """What the next comparison waits for: labels, or, once the span is over, time for the labels to mature."""
    step = max(1, settings.probation_min_labels // LOOKS, probation.seen // LOOKS)
    if labels - probation.seen >= step:
        return None
    if now - probation.since < settings.probation_span:
        return f"{labels} labelled rows since the swap, the next comparison at {probation.seen + step}"
    next_look = probation.looked_at + settings.probation_span / LOOKS
    return (
        None
        if now >= next_look
        else f"{labels} labelled rows since the swap, the next comparison at {moment(next_look)}"
    )


def shadowed(state: ModelState, finding: ProbationResult) -> Transition:
    """Confirm, roll back or go on watching."""
    probation = state.probation
    of_another = finding.version not in (None, state.champion)
    if state.phase is not Phase.PROBATION or probation is None or of_another:
        return Transition(state, "a comparison that nobody waits for any more is put aside")
    watched = replace(state, probation=replace(probation, labels=finding.labels, sentence=finding.sentence))
    figures = {"version": state.champion, "previous": probation.previous, "labels": finding.labels}
    match finding.decision:
        case "confirm":
            steady = replace(state, phase=Phase.STEADY, probation=None)
            return Transition(
                steady, f"version {state.champion} is confirmed: {finding.sentence}", "confirmed", (), figures
            )
        case "roll_back":
            action = Action(
                ActionKind.SWAP, {"version": probation.previous, "purpose": "rollback", "from": state.champion}
            )
            reason = f"version {state.champion} is worse than {probation.previous}, going back: {finding.sentence}"
            return Transition(watched, reason, "rollback_started", (action,), figures)
        case _:
            return Transition(watched, finding.sentence)

"""Probation: watch a new champion beside the old one, confirm it or go back."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.findings import Facts, Shadowed
from driftd.policy.settings import PolicySettings
from driftd.policy.wording import moment
from driftd.records import Action, ActionKind, ModelState, Phase, Probation, Transition

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


def shadowed(state: ModelState, finding: Shadowed) -> Transition:
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

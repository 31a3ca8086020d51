"""Probation: watch a new champion beside the old one, confirm it or go back."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.findings import Facts, Shadowed
from driftd.policy.settings import PolicySettings
from driftd.records import Action, ActionKind, ModelState, Phase, Transition

LOOKS = 8  # about so many looks at the labels while the least number comes in; the test allows any number


def look(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Have the two versions compared when enough new labels came, or when the span is over."""
    probation = state.probation
    if probation is None:
        return Transition(replace(state, phase=Phase.STEADY), "no probation is under way")
    if facts.working & {ActionKind.SHADOW, ActionKind.SWAP}:
        return Transition(state, probation.sentence or "the comparison is being made")
    more = facts.labels - probation.labels
    step = max(1, settings.probation_min_labels // LOOKS, probation.labels // LOOKS)
    over = now - probation.since >= settings.probation_span
    if more < step and not (over and (more > 0 or now - probation.since >= 10 * settings.probation_span)):
        waiting = f"{facts.labels} labelled rows since the swap, the next comparison at {probation.labels + step}"
        return Transition(state, waiting)
    arguments = {"new": state.champion, "old": probation.previous, "since": probation.since}
    return Transition(
        state,
        f"comparing version {state.champion} with {probation.previous}",
        None,
        (Action(ActionKind.SHADOW, arguments),),
    )


def shadowed(state: ModelState, finding: Shadowed) -> Transition:
    """Confirm, roll back or go on watching."""
    probation = state.probation
    if state.phase is not Phase.PROBATION or probation is None:
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

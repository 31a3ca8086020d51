"""Swaps of the served version, and the probation that follows a promotion."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.alarms import pending_request
from driftd.policy.inputs import Facts, PolicySettings, ProbationResult
from driftd.policy.triggers import next_request
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildRequest,
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    Phase,
    Probation,
    ProbationDecision,
    RollbackCause,
    ShadowArguments,
    SwapArguments,
    SwapPurpose,
    Transition,
    Trigger,
)

FOLLOW_UP = 10  # a build from few rows after a change is repeated with so many times the rows


def promote(state: ModelState, build: Build, reason: str, figures: DecisionFigures) -> Transition:
    """Intend the swap to a challenger."""
    swapping = replace(state, phase=Phase.RETRAINING, build=replace(build, step=BuildStep.SWAP))
    action = swap_action(state, build.candidate, SwapPurpose.PROMOTE)
    return Transition(swapping, reason, Event.SWAP_STARTED, (action,), figures)


def swap_action(state: ModelState, version: int, purpose: SwapPurpose) -> Action:
    """Have another version served instead of the champion."""
    return Action(SwapArguments(version=version, purpose=purpose, from_version=state.champion))


def reject_challenger(state: ModelState, reason: str, settings: PolicySettings, now: float) -> Transition:
    """End the build of the waiting challenger because a person rejects it."""
    number = state.build.number if state.build is not None else 0
    want = None if state.build is None else next_request(state, state.build, now)
    steady = replace(
        state,
        phase=resting_phase(state),
        build=None,
        want=want,
        cooldown_until=now + settings.cooldown,
        barred=(*state.barred, number),
    )
    return Transition(steady, reason, Event.CHALLENGER_REJECTED, (), DecisionFigures(version=number))


def finish_swap(state: ModelState, arguments: SwapArguments, settings: PolicySettings, now: float) -> Transition:
    """Apply a finished swap, by its purpose."""
    version, before = arguments.version, state.champion
    figures = DecisionFigures(version=version, from_version=before)
    alarms = state.open_alarms if version == before else ()  # evidence begins anew against another version
    served = replace(
        state,
        champion=version,
        cooldown_until=now + settings.cooldown,
        open_alarms=alarms,
        served=_served_after(state, version),
    )
    if arguments.purpose is SwapPurpose.PROMOTE:
        return _begin_probation(served, before, figures, now)
    settled = replace(
        served,
        phase=phase_without_probation(served.phase),
        resumes=served.resumes and phase_without_probation(served.resumes),
        probation=None,
    )
    if arguments.purpose is SwapPurpose.ROLLBACK:
        barred = (*state.barred, before) if before is not None and before != version else state.barred
        want = settled.want if settled.want is not None and settled.want.trigger is Trigger.MANUAL else None
        back = replace(settled, previous=None, want=want, barred=barred)
        return Transition(back, f"version {version} serves again instead of {before}", Event.ROLLED_BACK, (), figures)
    pinned = replace(settled, previous=before)
    return Transition(pinned, f"version {version} serves because the override pins it", Event.PINNED, (), figures)


KEPT_SERVED = 16  # versions that served last: so many, because short windows or late labels can judge only older ones


def _served_after(state: ModelState, version: int) -> tuple[int, ...]:
    before = state.served or (() if state.champion is None else (state.champion,))
    return (*(other for other in before if other != version), version)[-KEPT_SERVED:]


def resting_phase(state: ModelState) -> Phase:
    """The phase where no build is under way."""
    return Phase.STEADY if state.probation is None else Phase.PROBATION


def phase_without_probation(phase: Phase) -> Phase:
    """The phase after a rollback or a pin, which end a probation."""
    return Phase.STEADY if phase is Phase.PROBATION else phase


def _begin_probation(served: ModelState, before: int | None, figures: DecisionFigures, now: float) -> Transition:
    build = served.build
    pending = pending_request(served)
    by_person = pending is not None and pending.trigger is Trigger.MANUAL
    want = pending if by_person else _follow_up(build, now)
    clean = replace(served, build=None, want=want, failures=0, backoff_until=0.0, waits=None)
    if before is None:
        steady = replace(clean, phase=Phase.STEADY)
        return Transition(
            steady, f"version {served.champion} serves as the first champion", Event.PROMOTED, (), figures
        )
    probation = Probation(before, now, until_refresh=build is not None and build.is_refresh)
    watched = replace(clean, phase=Phase.PROBATION, previous=before, probation=probation)
    unasked = served.hand_over.reason if served.hand_over is not None else ""
    decision = build.decision if build is not None else unasked
    reason = f"version {served.champion} serves instead of {before} and is on probation: {decision}"
    return Transition(watched, reason, Event.PROMOTED, (), figures)


def _follow_up(build: Build | None, now: float) -> BuildRequest | None:
    """A build from few rows after a change is worth repeating when many more are there (STATISTICS 9)."""
    if (
        build is None
        or build.is_refresh
        or build.change_at is None
        or build.rows_since_change == 0
        or build.is_follow_up
    ):
        return None
    needed = FOLLOW_UP * build.rows_since_change
    reason = (
        f"version {build.number} was built from {build.rows_since_change} rows after the change; {needed} are awaited"
    )
    return BuildRequest(
        build.trigger,
        reason,
        now,
        change_at=build.change_at,
        labels_needed=needed,
        is_follow_up=True,
        alarm=build.alarm,
    )


LOOKS = 4  # about so many looks at the labels while the least number comes in; the test allows any number


def compare_versions(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Compare the two versions when enough new labels have arrived, or when the span is over."""
    probation = state.probation
    if probation is None or state.champion is None:
        return Transition(replace(state, phase=Phase.STEADY), "no probation is under way")
    if facts.working & {ActionKind.SHADOW, ActionKind.SWAP}:
        return Transition(state, probation.sentence or "the comparison is being made")
    labels = facts.labels if facts.labels_of_probation is None else facts.labels_of_probation
    missing = _awaited_labels(probation, labels, settings, now)
    if missing is None and probation.until_refresh and facts.window <= probation.window:
        missing = f"{labels} labelled rows since the swap, the next comparison after this window"
    if missing is not None:
        return Transition(state, missing)
    looked = replace(probation, looked_at=now, seen=labels, window=facts.window)
    looking = replace(state, probation=looked)
    until_refresh = probation.until_refresh and settings.refresh is not None
    action = Action(
        ShadowArguments(new=state.champion, old=probation.previous, since=probation.since, until_refresh=until_refresh)
    )
    return Transition(looking, f"comparing version {state.champion} with {probation.previous}", None, (action,))


def _awaited_labels(probation: Probation, labels: int, settings: PolicySettings, now: float) -> str | None:
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
        else f"{labels} labelled rows since the swap, the next comparison at {format_time(next_look)}"
    )


def apply_comparison(state: ModelState, finding: ProbationResult, facts: Facts) -> Transition:
    """Apply a comparison: confirm the champion, roll back, or continue the probation."""
    probation = state.probation
    of_another = finding.version not in (None, state.champion)
    if probation is None or of_another or ActionKind.SWAP in facts.working:
        return Transition(state, "a comparison that nobody waits for any more is put aside")
    watched = replace(state, probation=replace(probation, labels=finding.labels, sentence=finding.sentence))
    cause = RollbackCause.PROBATION if finding.decision is ProbationDecision.ROLL_BACK else None
    figures = DecisionFigures(version=state.champion, previous=probation.previous, labels=finding.labels, cause=cause)
    match finding.decision:
        case ProbationDecision.CONFIRM:
            steady = replace(state, phase=phase_without_probation(state.phase), probation=None)
            return Transition(
                steady, f"version {state.champion} is confirmed: {finding.sentence}", Event.CONFIRMED, (), figures
            )
        case ProbationDecision.ROLL_BACK:
            action = swap_action(state, probation.previous, SwapPurpose.ROLLBACK)
            reason = f"version {state.champion} is worse than {probation.previous}, going back: {finding.sentence}"
            return Transition(watched, reason, Event.ROLLBACK_STARTED, (action,), figures)
        case _:
            return Transition(watched, finding.sentence)

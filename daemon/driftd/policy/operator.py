"""Applies the override of the config and answers the requests of people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.alarms import acknowledge, open_numbers, pending_request, reset_evidence
from driftd.policy.inputs import PIN_AGAIN, THE_OVERRIDE, Facts, OperatorRequest, Override, PolicySettings
from driftd.policy.orders import describe_order, describe_pause, end_orders, give_orders
from driftd.policy.recovery import without_future_times
from driftd.policy.retry import retry_build
from driftd.policy.review import apply_configured_approval, approve
from driftd.policy.swaps import phase_without_probation, reject_challenger, resting_phase, swap_action
from driftd.policy.triggers import is_interruptible, request_build, request_submission
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


def record_override_change(
    state: ModelState, facts: Facts, configured: Override, override: Override, now: float
) -> Transition | None:
    """Record that the override of this model began, changed or ended; None when it is as before.

    `configured` is what the config says, `override` what of it is in force now.
    """
    reasons = (override.reason, override.acknowledge_reason, *(order.reason for order in override.orders))
    why = "; ".join(dict.fromkeys(filter(None, reasons)))
    asks = None if override.is_empty else f"{describe_override(override)} ({why})"
    if asks == state.override:
        return None
    after = replace(state, override=asks)
    if state.pin_refused is not None:
        after = replace(after, pinned=None, pin_refused=None)  # whatever changed, the pin is tried anew
    if asks is None:
        lapsed = max((end for end in configured.ends if end <= now), default=None)
        is_over = lapsed is not None and not configured.is_empty  # what the config still says has no effect any more
        how = f"expired at {format_time(lapsed)}" if is_over and lapsed is not None else "was lifted"
        return Transition(after, f"the override {how}; it was: {state.override}", Event.OVERRIDE_ENDED, actor=ACTOR)
    event = Event.OVERRIDE_BEGAN if state.override is None else Event.OVERRIDE_CHANGED
    until = f", until {format_time(override.expires)}" if override.expires is not None else ""
    notes = "".join(f"; {note}" for note in _without_effect(state, facts, override))
    return Transition(
        after, f"the override holds: {asks}{until}{notes}", event, (), DecisionFigures(asks=asks), actor=ACTOR
    )


def describe_override(override: Override) -> str:
    """What an override asks, in one sentence."""
    return "; ".join(_clauses(override))


def _clauses(override: Override) -> Iterator[str]:
    if override.pause:
        yield f"{', '.join(sorted(override.pause))} paused"
    if override.pin is not None:
        yield f"version {override.pin} pinned"
    yield from map(describe_order, override.orders)
    for feature, until in sorted(override.silence.items()):
        yield f"{feature} silent until {format_time(until)}"
    for number, until in sorted(override.acknowledge.items()):
        yield f"alarm {number} acknowledged until {format_time(until)}"
    if override.retrain is not None:
        yield f"a build asked for: {override.retrain}"
    if override.approve is not None:
        yield f"version {override.approve} approved"
    if override.reject is not None:
        yield f"version {override.reject} rejected"


def _without_effect(state: ModelState, facts: Facts, override: Override) -> Iterator[str]:
    """The parts of the override that have no effect now, as clauses for the history."""
    waiting = state.build.candidate if state.phase is Phase.AWAITING_APPROVAL and state.build is not None else None
    for version in (override.approve, override.reject):
        if version is not None and version != waiting:
            yield f"version {version} does not wait for approval now ({_other_wait(state, waiting)})"
    if waiting is not None and waiting == override.approve and override.pin is not None:
        yield f"version {waiting} cannot be promoted while version {override.pin} is pinned"
    if override.retrain is not None and override.retrain in state.asked:
        yield f"the build {override.retrain!r} was begun before; another text is another build"
    elif override.retrain is not None and state.build is not None and not is_interruptible(state.build):
        yield f"build {state.build.number} is under way ({state.build.step}); the one asked for begins after it"
    for number in sorted(set(override.acknowledge) - open_numbers(state)):
        yield f"alarm {number} does not stand now"
    unknown = sorted(override.silenced - facts.features) if facts.features is not None else []
    if unknown and facts.features is not None:
        yield f"there is no feature {', '.join(unknown)} (there are: {', '.join(sorted(facts.features))})"


def _other_wait(state: ModelState, waiting: int | None) -> str:
    return f"version {waiting} does" if waiting is not None else f"the model is {state.phase}"


def apply_override(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition | None:
    """Correct the first difference between the model and the override; None when there is none."""
    applied = (
        _apply_pause(state, override)
        or _apply_pin(state, facts, override)
        or _judge_challenger(state, settings, override, now)
    )
    if applied is not None:
        return applied
    if override.retrain is not None and override.retrain not in state.asked and is_interruptible(state.build):
        remembered = replace(state, asked=(*state.asked[-ASKED_KEPT + 1 :], override.retrain))
        wanted = request_build(remembered, f"the override asks for a build: {override.retrain}", "the override", now)
        return replace(wanted, actor=ACTOR)
    return None


def _apply_pause(state: ModelState, override: Override) -> Transition | None:
    pause = override.pause_of("checks")
    if pause is not None and state.phase is not Phase.PAUSED:
        paused = replace(state, phase=Phase.PAUSED, resumes=state.phase)
        actor = ACTOR if pause.who == THE_OVERRIDE else pause.who
        return Transition(paused, f"checks are paused by {describe_pause(pause)}", Event.PAUSED, actor=actor)
    if pause is None and state.phase is Phase.PAUSED:
        resumed = replace(state, phase=state.resumes or Phase.STEADY, resumes=None)
        return Transition(resumed, "nothing pauses the checks any more", Event.RESUMED, actor=ACTOR)
    return None


def _apply_pin(state: ModelState, facts: Facts, override: Override) -> Transition | None:
    if override.pin is None:
        return None if state.pinned is None else _unpin(state)
    if override.pin == state.pinned or ActionKind.SWAP in facts.working:
        return None  # held already, or tried and refused: only another pin is tried again
    held = replace(state, pinned=override.pin, pin_refused=None)
    why = f"the override pins version {override.pin}: {override.reason}"
    figures = DecisionFigures(version=override.pin, from_version=state.champion)
    if override.pin == state.champion:
        return Transition(_end_probation(held), f"{why}; it serves already", Event.PINNED, (), figures, actor=ACTOR)
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
    resumes = None if state.resumes is None else resting_phase(state)
    phase = state.phase if state.phase is Phase.PAUSED else resting_phase(state)
    return replace(state, phase=phase, resumes=resumes, build=None, want=pending_request(state), waits=None)


def _end_probation(state: ModelState) -> ModelState:
    """A version that is pinned is served whatever a comparison says: its probation is over."""
    resumes = state.resumes and phase_without_probation(state.resumes)
    return replace(state, phase=phase_without_probation(state.phase), resumes=resumes, probation=None)


def _unpin(state: ModelState) -> Transition:
    goes_on = f"version {state.champion} goes on serving"
    reason = f"version {state.pinned} is no longer pinned; {goes_on}"
    return Transition(replace(state, pinned=None, pin_refused=None), reason, Event.UNPINNED, actor=ACTOR)


def _judge_challenger(state: ModelState, settings: PolicySettings, override: Override, now: float) -> Transition | None:
    """Approve or reject the challenger that waits; a pin goes before an approval."""
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None:
        return None
    if override.approve == build.candidate and state.pinned is None:
        return apply_configured_approval(state, build, override.reason, settings, ACTOR)
    if override.reject == build.candidate:
        return replace(
            reject_challenger(
                state, f"version {build.candidate} is rejected by the override: {override.reason}", settings, now
            ),
            actor=ACTOR,
        )
    return None


NO_TARGET = "there is no earlier version to go back to; name one with --to"
REQUEST_LASTS = 86_400.0  # seconds; what was asked before the daemon was down for days may be wrong by now


def answer_request(
    state: ModelState,
    finding: OperatorRequest,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Answer a request of a person; the transition's reason is the answer. `override` is what the config asks for."""
    if finding.at is not None and now - finding.at > REQUEST_LASTS:
        stale = f"{finding.kind} was asked at {format_time(finding.at)}, and nothing could answer until now"
        return Transition(state, f"{stale}: ask again if it still holds", Event.REQUEST_REFUSED)
    if finding.obstacle:
        return Transition(state, finding.obstacle, Event.REQUEST_REFUSED)
    match finding.kind:
        case "pause" | "silence":
            return give_orders(state, finding, facts, override, now)
        case "resume":
            return end_orders(state, finding, override)
        case "retry":
            return retry_build(state, finding, facts, settings, override.with_orders(state.orders, now), now)
        case _:
            return _answer(state, finding, facts, settings, now)


def _answer(  # noqa: PLR0911 - one return for each kind of request
    state: ModelState, finding: OperatorRequest, facts: Facts, settings: PolicySettings, now: float
) -> Transition:
    match finding.kind:
        case "retrain":
            return _retrain(state, finding, now)
        case "submit":
            return _submit(state, finding, settings, now)
        case "approve" | "reject":
            return _approve_or_reject(state, finding, settings, now)
        case "rollback":
            return _roll_back(state, finding, facts)
        case "acknowledge":
            return acknowledge(state, finding, now)
        case "reset-cursor" | "reset-evidence" | "prune-checks":
            return _change_what_is_kept(state, finding, facts, now)
        case _:
            return Transition(
                state,
                f"there is no request {finding.kind!r}; there are retrain, retry, approve, reject, rollback, "
                "acknowledge, pause, silence, resume, reset-evidence, reset-cursor, prune-checks, submit",
                Event.REQUEST_REFUSED,
            )


def _reset_cursor(state: ModelState, finding: OperatorRequest, facts: Facts, now: float) -> Transition:
    """What a clock that was ahead left in the state; `text` says what the loop found and mended of the windows."""
    mended = without_future_times(state, facts.window, now)
    if mended == state and not finding.text:
        return Transition(
            state, "no window, check or time of this model lies ahead of the clock: is the clock right?",
            Event.REQUEST_REFUSED,
        )  # fmt: skip
    times = "" if mended == state else "; what was to wait for a time ahead of the clock waits no more"
    return Transition(
        mended,
        f"{finding.who} resets the cursor: {finding.text or 'no window is concerned'}{times}",
        Event.CURSOR_RESET,
    )


def _change_what_is_kept(state: ModelState, finding: OperatorRequest, facts: Facts, now: float) -> Transition:
    if finding.kind == "reset-evidence":
        return reset_evidence(state, finding, now)
    return (
        _reset_cursor(state, finding, facts, now) if finding.kind == "reset-cursor" else _forget_checks(state, finding)
    )


def _forget_checks(state: ModelState, finding: OperatorRequest) -> Transition:
    """Have checks deleted that are over their age; `text` says what the loop found of them."""
    if not finding.text:
        return Transition(state, "no check is older than retention.checks", Event.REQUEST_REFUSED)
    return Transition(state, f"{finding.who} has {finding.text} deleted", Event.CHECKS_FORGOTTEN)


def _retrain(state: ModelState, finding: OperatorRequest, now: float) -> Transition:
    if state.build is not None and not is_interruptible(state.build):
        return Transition(
            state, f"build {state.build.number} is already under way ({state.build.step})", Event.REQUEST_REFUSED
        )
    source = "" if finding.snapshot is None else f" from snapshot {finding.snapshot[:12]}"
    reason = f"{finding.who} asks for a build{source}: {finding.text or 'no reason given'}"
    return request_build(state, reason, finding.who, now, finding.snapshot)


def _submit(state: ModelState, finding: OperatorRequest, settings: PolicySettings, now: float) -> Transition:
    if state.build is not None and not is_interruptible(state.build):
        busy = f"build {state.build.number} is under way ({state.build.step}): submit it again when that has ended"
        return Transition(state, busy, Event.REQUEST_REFUSED)
    pending = pending_request(state)
    if pending is not None and pending.submission not in (None, finding.submission):
        waits = f"{pending.reason}: that one waits already; `driftd retrain` asks for a build in its place"
        return Transition(state, waits, Event.REQUEST_REFUSED)
    return request_submission(state, finding, settings, now)


def _approve_or_reject(state: ModelState, finding: OperatorRequest, settings: PolicySettings, now: float) -> Transition:
    build = state.build
    if state.phase is not Phase.AWAITING_APPROVAL or build is None:
        return Transition(state, f"nothing awaits approval (the model is {state.phase})", Event.REQUEST_REFUSED)
    if finding.version is not None and finding.version != build.candidate:
        return Transition(
            state, f"version {build.candidate} awaits approval, not {finding.version}", Event.REQUEST_REFUSED
        )
    if finding.kind == "approve" and state.pinned is not None:
        return Transition(
            state, f"the override pins version {state.pinned}; change the override first", Event.REQUEST_REFUSED
        )
    text = f": {finding.text}" if finding.text else ""
    if finding.kind == "approve":
        return approve(state, build, finding.who, text, settings)
    return reject_challenger(state, f"version {build.candidate} is rejected by {finding.who}{text}", settings, now)


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

"""Hands a version over to the system that serves, where that is not driftd: told, confirmed in time, or taken back.

A swap of such a model becomes a hand-over. The champion changes only once it is confirmed, by a person or by
predictions of the version; until then the version before is what serves.
"""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_duration, format_time
from driftd.policy.builds import fail_step
from driftd.policy.inputs import (
    PIN_AGAIN,
    ClockTick,
    Facts,
    Finding,
    OperatorRequest,
    Override,
    PolicySettings,
    StepDone,
    StepFailed,
)
from driftd.policy.triggers import consider_build, find_obstacle
from driftd.records import (
    Action,
    ActionKind,
    DecisionFigures,
    Event,
    HandOver,
    HandOverAction,
    HandOverArguments,
    HandOverResult,
    HandOverStage,
    ModelState,
    Phase,
    SwapArguments,
    SwapPurpose,
    Transition,
    VersionRequest,
)

AWAITED = (HandOverStage.DELIVER, HandOverStage.AWAIT)  # stages in which a confirmation is awaited
UNWATCHED_AFTER = 10  # spans of probation without enough labels, after which a version stays all the same
NO_TRAINER = "no trainer is configured (trainer: null): the new version is to be made where the model is trained"


def apply_to_hand_over(  # noqa: PLR0911 - one return for each finding
    state: ModelState, finding: Finding, facts: Facts, settings: PolicySettings, now: float
) -> Transition | None:
    """Apply what a finding means for a hand-over; None where it concerns none."""
    match finding:
        case StepDone(HandOverArguments() as arguments, result):
            return _finish_tell(state, arguments, result if isinstance(result, HandOverResult) else HandOverResult(""))
        case StepFailed(HandOverArguments() as arguments, error):
            return _fail_tell(state, arguments, error, settings, now)
        case StepFailed(SwapArguments(), error) if state.hand_over is not None:
            return _take_back(state, state.hand_over, f"it cannot be watched: {error}", settings, now)
        case OperatorRequest(kind="confirm"):
            return _confirm_by_person(state, finding, facts, settings)
        case OperatorRequest(kind="reject") if _is_awaited(state) and finding.version in (None, _version(state)):
            assert state.hand_over is not None
            because = f": {finding.text}" if finding.text else ""
            return _take_back(state, state.hand_over, f"{finding.who} rejects it{because}", settings, now)
        case ClockTick():
            return _follow_time(state, facts, settings, now)
        case _:
            return None


def count_as_swap(state: ModelState, facts: Facts) -> Facts:
    """The facts for the rest of policy: a hand-over under way is a swap under way."""
    return facts if state.hand_over is None else replace(facts, working=facts.working | {ActionKind.SWAP})


def divert_swap(
    before: ModelState, finding: Finding, decided: Transition, facts: Facts, settings: PolicySettings, now: float
) -> Transition:
    """Make an intended swap of a model that is served elsewhere a hand-over; every other decision stays as it is."""
    if isinstance(finding, StepDone) and isinstance(finding.arguments, SwapArguments):
        since = now if settings.is_external else 0.0
        return replace(decided, state=replace(decided.state, hand_over=None, version_request=None, served_since=since))
    swap = next((action.arguments for action in decided.actions if isinstance(action.arguments, SwapArguments)), None)
    if swap is None or not settings.is_external:
        return decided
    if swap.version in facts.logged:
        return _refuse_logged(before, finding, decided, swap)
    begun = HandOver(
        swap.version,
        swap.purpose,
        HandOverStage.DELIVER,
        now,
        now + settings.confirm_within,
        decided.reason,
        swap.from_version,
    )
    others = tuple(action for action in decided.actions if action.arguments is not swap)
    reason = f"{decided.reason}; it is handed over to the system that serves"
    figures = _with_until(decided.figures, begun.until)
    state = replace(decided.state, hand_over=begun)
    return replace(decided, state=state, reason=reason, actions=(*others, _tell(begun)), figures=figures)


def _with_until(figures: DecisionFigures, until: float) -> DecisionFigures:
    """The figures with the end of the time in which a hand-over must be confirmed."""
    return DecisionFigures.from_dict({**figures.to_dict(), "until": until})


def _refuse_logged(before: ModelState, finding: Finding, decided: Transition, swap: SwapArguments) -> Transition:
    """A version of which there are only logged predictions cannot be handed over: say what a person can do."""
    model, version = before.model, swap.version
    way = (
        f"version {version} is what served before driftd: there is no artefact of it to hand over. Have your system "
        f"serve it again, then say `driftd confirm {model} {version}`"
    )
    if swap.purpose is SwapPurpose.PIN:
        refusal = f"{decided.reason}; but {way}; {PIN_AGAIN}"
        pinned = replace(decided.state, pin_refused=refusal)
        return replace(decided, state=pinned, reason=refusal, event=Event.PIN_REFUSED, actions=())
    event = Event.REQUEST_REFUSED if isinstance(finding, OperatorRequest) else Event.ROLLBACK_REFUSED
    return Transition(before, way, event, (), decided.figures)


def _tell(hand_over: HandOver) -> Action:
    """Tell the other system what the stage of the hand-over says."""
    back = hand_over.stage is HandOverStage.TAKE_BACK
    forward = HandOverAction.ROLL_BACK if hand_over.purpose is SwapPurpose.ROLLBACK else HandOverAction.DEPLOY
    version, instead = hand_over.version, hand_over.from_version
    return Action(
        HandOverArguments(
            action=HandOverAction.TAKE_BACK if back else forward,
            version=instead if back else version,
            from_version=version if back else instead,
            reason=hand_over.error if back else hand_over.reason,
            until=None if back else hand_over.until,
            attempt=hand_over.attempts,
        )
    )


def _is_own(hand_over: HandOver | None, arguments: HandOverArguments) -> bool:
    """Whether an action belongs to this hand-over as it stands."""
    if hand_over is None or hand_over.stage not in (HandOverStage.DELIVER, HandOverStage.TAKE_BACK):
        return False
    expected = _tell(hand_over).arguments
    assert isinstance(expected, HandOverArguments)
    given, wanted = ((a.action, a.version, a.from_version, a.attempt) for a in (arguments, expected))
    return given == wanted


def _finish_tell(state: ModelState, arguments: HandOverArguments, result: HandOverResult) -> Transition:
    """The other system was told: a version awaits its confirmation from here on, unless that was read back at once."""
    hand_over, sentence = state.hand_over, result.sentence
    if arguments.action is HandOverAction.ASK:
        return Transition(state, f"a new version was asked for{_clause(sentence)}")
    if hand_over is None or not _is_own(hand_over, arguments):
        return Transition(state, f"what came of an abandoned {arguments.action} is put aside")
    if arguments.action is HandOverAction.TAKE_BACK:
        return Transition(replace(state, hand_over=None), f"the take-back was told{_clause(sentence)}")
    awaited = replace(hand_over, stage=HandOverStage.AWAIT, delivery=sentence, retry_at=None, error="")
    if result.serves:
        return _confirm(state, awaited, f"it was read back that it serves{_clause(sentence)}", DecisionFigures())
    version = hand_over.version
    reason = f"version {version} is handed over{_clause(sentence)}; {describe_wait(state.model, awaited)}"
    figures = DecisionFigures(version=version, from_version=hand_over.from_version, until=hand_over.until)
    return Transition(replace(state, hand_over=awaited), reason, Event.HANDED_OVER, (), figures)


def describe_wait(model: str, hand_over: HandOver) -> str:
    """What an awaited hand-over waits for."""
    version, until = hand_over.version, format_time(hand_over.until)
    return (
        f"`driftd confirm {model} {version}` or a prediction of version {version} confirms it, "
        f"else it is taken back at {until}"
    )


def _clause(sentence: str) -> str:
    return f" ({sentence})" if sentence else ""


def _fail_tell(
    state: ModelState, arguments: HandOverArguments, error: str, settings: PolicySettings, now: float
) -> Transition:
    """Tell the other system again after a pause that doubles; a take-back is given up in the end, and that is told."""
    retry_at = now + min(settings.backoff_most, settings.backoff_first * 2 ** min(arguments.attempt - 1, 30))
    figures = DecisionFigures(
        version=arguments.version, from_version=arguments.from_version, failures=arguments.attempt
    )
    again = f"next try at {format_time(retry_at)}"
    if arguments.action is HandOverAction.ASK:
        return _fail_request(state, arguments, f"a new version could not be asked for: {error}", retry_at, settings)
    hand_over = state.hand_over
    if hand_over is None or not _is_own(hand_over, arguments):
        return Transition(state, f"the failure of an abandoned {arguments.action} is put aside: {error}")
    if arguments.action is not HandOverAction.TAKE_BACK:
        waiting = replace(hand_over, retry_at=retry_at, error=error)
        reason = f"version {hand_over.version} could not be handed over: {error}; {again}, taken back at"
        reason = f"{reason} {format_time(hand_over.until)} unless it is confirmed"
        return Transition(replace(state, hand_over=waiting), reason, Event.HAND_OVER_FAILED, (), figures)
    reason = f"the take-back of version {hand_over.version} could not be told: {error}"
    if arguments.attempt >= settings.most_failures:
        reason = f"{reason}; it is given up after {arguments.attempt} tries: see that version {state.champion} serves"
        return Transition(replace(state, hand_over=None), reason, Event.HAND_OVER_FAILED, (), figures)
    waiting = replace(hand_over, retry_at=retry_at)
    return Transition(replace(state, hand_over=waiting), f"{reason}; {again}", Event.HAND_OVER_FAILED, (), figures)


def _fail_request(
    state: ModelState, arguments: HandOverArguments, reason: str, retry_at: float, settings: PolicySettings
) -> Transition:
    request = state.version_request
    figures = DecisionFigures(failures=arguments.attempt)
    if request is None or arguments.attempt >= settings.most_failures:
        return Transition(state, f"{reason}; no further try", Event.HAND_OVER_FAILED, (), figures)
    waiting = replace(state, version_request=replace(request, retry_at=retry_at))
    return Transition(waiting, f"{reason}; next try at {format_time(retry_at)}", Event.HAND_OVER_FAILED, (), figures)


def _follow_time(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> Transition | None:
    """What is due of a hand-over: it is confirmed by its predictions, told again, or taken back."""
    hand_over = state.hand_over
    if hand_over is None or state.phase is Phase.PAUSED or hand_over.stage is HandOverStage.CONFIRMED:
        return None
    if hand_over.stage in AWAITED and facts.is_seen:
        return _confirm(state, hand_over, f"predictions of version {hand_over.version} have come", DecisionFigures())
    if ActionKind.HAND_OVER in facts.working:
        return None  # what is being told ends first: its time is limited
    if hand_over.stage in AWAITED and now >= hand_over.until and facts.clock_fault is None:
        late = f"nobody confirmed it within {format_duration(settings.confirm_within)}"
        return _take_back(state, hand_over, f"{late}{_last_error(hand_over)}", settings, now)
    if hand_over.retry_at is None or now < hand_over.retry_at:
        return None
    again = replace(hand_over, attempts=hand_over.attempts + 1, retry_at=None)
    reason = f"version {hand_over.version}: telling the system that serves again (try {again.attempts})"
    return Transition(replace(state, hand_over=again), reason, None, (_tell(again),))


def _last_error(hand_over: HandOver) -> str:
    return f" (the last try: {hand_over.error})" if hand_over.error else ""


def _confirm(state: ModelState, hand_over: HandOver, reason: str, figures: DecisionFigures) -> Transition:
    """The other system serves the version: driftd takes that up."""
    confirmed = replace(hand_over, stage=HandOverStage.CONFIRMED, retry_at=None)
    version = hand_over.version
    swap = Action(SwapArguments(version=version, purpose=hand_over.purpose, from_version=state.champion))
    after = replace(state, hand_over=confirmed, barred=tuple(barred for barred in state.barred if barred != version))
    figures = DecisionFigures(version=version, from_version=state.champion, who=figures.who)
    return Transition(after, f"version {version} is confirmed: {reason}", Event.HAND_OVER_CONFIRMED, (swap,), figures)


def _confirm_by_person(
    state: ModelState, finding: OperatorRequest, facts: Facts, settings: PolicySettings
) -> Transition:
    """A person says which version the other system serves."""
    hand_over, version = state.hand_over, finding.version
    is_back = hand_over is not None and hand_over.stage is HandOverStage.TAKE_BACK and version == state.champion
    if is_back and settings.is_external:
        ended = f"{finding.who} says that version {version} serves again: it need not be told any more"
        return Transition(replace(state, hand_over=None), ended)
    refusal = _confirmation_refusal(state, finding, facts, settings)
    if refusal is not None:
        return Transition(state, refusal, Event.REQUEST_REFUSED)
    text = f": {finding.text}" if finding.text else ""
    reason, figures = f"{finding.who} says that it serves{text}", DecisionFigures(who=finding.who)
    if hand_over is not None and hand_over.version == version and hand_over.stage in AWAITED:
        return _confirm(state, hand_over, reason, figures)
    assert version is not None
    assert state.champion is not None
    purpose = SwapPurpose.ROLLBACK if version < state.champion else SwapPurpose.PROMOTE
    at = finding.at or 0.0
    unasked = HandOver(version, purpose, HandOverStage.AWAIT, at, at, reason, state.champion)
    return _confirm(state, unasked, reason, figures)


def _confirmation_refusal(  # noqa: PLR0911 - one return for each refusal
    state: ModelState, finding: OperatorRequest, facts: Facts, settings: PolicySettings
) -> str | None:
    version, hand_over, build = finding.version, state.hand_over, state.build
    if not settings.is_external:
        return "driftd serves this model itself: there is nothing to confirm (serving: embedded)"
    if version is None or version not in facts.versions:
        return f"there is no version {version}; there are {', '.join(map(str, sorted(facts.versions)))}"
    if version == state.champion:
        return f"version {version} is what serves already, as far as driftd knows"
    if hand_over is not None and hand_over.stage is HandOverStage.CONFIRMED:
        return f"version {hand_over.version} was just confirmed and is being taken up; ask again when it is done"
    if hand_over is not None and hand_over.stage in AWAITED:
        if version == hand_over.version:
            return None
        back = f"`driftd reject {state.model} {hand_over.version}` takes it back"
        return f"version {hand_over.version} is being handed over, not {version}; {back}"
    if build is not None and version >= build.number:
        return f"version {version} is the challenger of a build under way ({build.step}): it was not handed over"
    if build is not None and version > (state.champion or 0):
        return f"build {build.number} is under way ({build.step}); ask again when it has ended"
    return None


def _take_back(state: ModelState, hand_over: HandOver, why: str, settings: PolicySettings, now: float) -> Transition:
    """End a hand-over: the champion stays, and the other system is told to serve it."""
    back = replace(hand_over, stage=HandOverStage.TAKE_BACK, attempts=1, retry_at=None, error=why)
    actions = (_tell(back),) if settings.can_tell else ()
    version, champion = hand_over.version, state.champion
    figures = DecisionFigures(version=version, from_version=champion)
    ended = replace(state, hand_over=back if actions else None)
    if hand_over.purpose is SwapPurpose.ROLLBACK:
        reason = f"the rollback to version {version} is taken back: {why}; version {champion} stays"
        return Transition(ended, reason, Event.ROLLBACK_REFUSED, actions, figures)
    if hand_over.purpose is SwapPurpose.PIN:
        reason = f"version {version}, which is pinned, is taken back: {why}; version {champion} stays; {PIN_AGAIN}"
        return Transition(replace(ended, pin_refused=reason), reason, Event.PIN_REFUSED, actions, figures)
    failed = fail_step(ended, StepFailed(_own_arguments(hand_over), why), settings, now)
    reason = f"the hand-over of version {version} is taken back: {why}; version {champion} stays"
    if state.build is not None and failed.state.build is None:
        reason = f"{reason}; no build begins before {format_time(failed.state.backoff_until)}"
    return Transition(failed.state, reason, Event.HAND_OVER_TAKEN_BACK, actions, figures)


def _own_arguments(hand_over: HandOver) -> HandOverArguments:
    return HandOverArguments(action=HandOverAction.DEPLOY, version=hand_over.version, reason=hand_over.reason)


def _is_awaited(state: ModelState) -> bool:
    return state.hand_over is not None and state.hand_over.stage in AWAITED


def _version(state: ModelState) -> int | None:
    return None if state.hand_over is None else state.hand_over.version


def ask_for_version(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Without a trainer: ask for a new version where a build would begin, once for each request, and say so."""
    asked, want = state.version_request, state.want
    if asked is not None and asked.retry_at is not None and now >= asked.retry_at:
        again = replace(asked, attempts=asked.attempts + 1, retry_at=None)
        return Transition(replace(state, version_request=again), "asking again", None, (_ask(again),))
    if want is None:
        return consider_build(state, facts, settings, override, now)
    if asked is None or asked.since != want.since:
        obstacle = find_obstacle(state, replace(want, labels_needed=0), facts, settings, override, now)
        if obstacle is not None:
            return Transition(replace(state, waits=obstacle), f"a new version is requested and waits: {obstacle}")
        request = VersionRequest(want.since, want.reason)
        stays = any(alarm.number == want.alarm for alarm in state.open_alarms)
        after = replace(state, version_request=request, waits=NO_TRAINER, want=want if stays else None)
        figures = DecisionFigures(trigger=want.trigger, alarm=want.alarm)
        actions = (_ask(request),) if settings.can_tell else ()
        return Transition(
            after, f"a new version is asked for: {want.reason}; {NO_TRAINER}", Event.VERSION_WANTED, actions, figures
        )
    return Transition(replace(state, waits=NO_TRAINER), f"a new version is requested ({want.reason}): {NO_TRAINER}")


def _ask(request: VersionRequest) -> Action:
    return Action(HandOverArguments(action=HandOverAction.ASK, reason=request.reason, attempt=request.attempts))


def watch_alone(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Probation where the version before cannot predict: the evidence against the version's own reference decides."""
    probation, version = state.probation, state.champion
    if probation is None or version is None:
        return Transition(replace(state, phase=Phase.STEADY), "no probation is under way")
    if ActionKind.SWAP in facts.working:
        return Transition(state, "another version is being handed over")
    labels = facts.labels if facts.labels_of_probation is None else facts.labels_of_probation
    before, passed = probation.previous, now - probation.since
    how = f"version {before} predicts none of these rows, so the evidence against its own reference alone watches it"
    alarm = next((alarm for alarm in state.open_alarms if alarm.kind == "performance"), None)
    figures = DecisionFigures(version=version, previous=before, labels=labels)
    ended = replace(state, phase=Phase.STEADY, probation=None)
    if alarm is not None:
        back = f"have your system serve version {before} again and say `driftd confirm {state.model} {before}`"
        reason = f"version {version} is worse than its reference: {alarm.sentence}; version {before} cannot be handed"
        reason = f"{reason} over, because there is no artefact of it: {back}, or let the next build replace it"
        return Transition(ended, reason, Event.PROBATION_ENDED, (), figures)
    if passed >= settings.probation_span and labels >= settings.probation_min_labels:
        reason = f"version {version} is confirmed: {how}; {labels} labelled rows, and no alarm of performance"
        return Transition(ended, reason, Event.CONFIRMED, (), figures)
    if passed >= UNWATCHED_AFTER * settings.probation_span:
        reason = f"version {version} stays, but it was hardly watched: only {labels} labels came; {how}"
        return Transition(ended, reason, Event.CONFIRMED, (), figures)
    sentence = f"{how}: {labels} of {settings.probation_min_labels} labels, {format_duration(passed)} of "
    sentence = f"{sentence}{format_duration(settings.probation_span)}"
    return Transition(replace(state, probation=replace(probation, labels=labels, sentence=sentence)), sentence)

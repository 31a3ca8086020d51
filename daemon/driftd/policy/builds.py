"""The steps of a build, from the snapshot to the gate's decision and what follows from it."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_duration, format_time
from driftd.policy.alarms import open_numbers, pending_request, request_for_alarm
from driftd.policy.inputs import PIN_AGAIN, Facts, Override, PolicySettings, StepDone, StepFailed
from driftd.policy.orders import describe_pause
from driftd.policy.refresh import after_refresh
from driftd.policy.swaps import FOLLOW_UP, finish_swap, promote, resting_phase
from driftd.policy.triggers import consider_refresh, find_obstacle, next_request, request_again, start
from driftd.records import (
    Action,
    ActionArguments,
    Build,
    BuildRequest,
    BuildStep,
    DecisionFigures,
    Event,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    Phase,
    RefreshArguments,
    RefreshResult,
    ReportArguments,
    ShadowArguments,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainArguments,
    TrainResult,
    Transition,
)

MORE_ROWS = 1.5  # an inconclusive gate is asked again when so many times the rows are there


def judge(state: ModelState, build: Build) -> Action:
    """Have the challenger compared with the champion."""
    return Action(JudgeArguments(version=build.number, champion=state.champion, trigger=build.trigger))


def _judge_again(state: ModelState, build: Build, why: str) -> Transition:
    """Compare the challenger with the version that serves now: its judgement was against another champion."""
    difference = f"it was compared with version {build.judged_against}, and version {state.champion} serves now"
    judging = replace(state, phase=Phase.RETRAINING, build=replace(build, step=BuildStep.JUDGE))
    figures = DecisionFigures(version=build.number, champion=state.champion)
    return Transition(
        judging, f"{why}: {difference}; judging again", Event.JUDGED_AGAIN, (judge(state, build),), figures
    )


def apply_judgement(
    state: ModelState,
    build: Build,
    arguments: JudgeArguments,
    result: JudgeResult,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Apply the decision of the gate. A judgement against another champion than the one that serves is repeated."""
    against = state.champion if arguments.champion is None else arguments.champion
    build = replace(build, judged_against=against)
    if build.judged_against != state.champion:
        return _judge_again(state, build, f"the judgement of version {build.number} is put aside")
    sentence = result.sentence
    build = replace(
        build,
        judged_rows=result.rows or 0,
        judged_labels=facts.labels,
        judgements=build.judgements + 1,
        decision=sentence,
        hold=result.champion_fault or "",
    )
    build = replace(build, hold="; ".join(reason for reason in (result.champion_fault, result.class_change) if reason))
    figures = _gate_figures(build, result)
    match result.decision:
        case GateDecision.PROMOTE:
            return _promote_or_hold(replace(state, build=build), build, settings, override, figures)
        case GateDecision.REJECT:
            return _end_build(
                state,
                build,
                settings,
                now,
                Event.CHALLENGER_REJECTED,
                f"version {build.number} is refused: {sentence}",
                figures,
            )
        case _:
            waiting = replace(state, build=replace(build, step=BuildStep.COLLECT))
            unclear = f"not yet clear whether version {build.number} is better: {sentence}"
            reason = f"{unclear}; the champion stays while rows are collected"
            return Transition(waiting, reason, Event.GATE_INCONCLUSIVE, (), figures)


def apply_refresh(
    state: ModelState,
    build: Build,
    arguments: RefreshArguments,
    result: RefreshResult,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Apply what a refresh built and judged: serve it, or an older version that is surely better, or keep the champion.

    It is put aside where a person had another version served meanwhile.
    """
    build = replace(
        build, decision=result.sentence, judgements=1, judged_rows=result.judged, hold=result.class_change or ""
    )
    figures = DecisionFigures(
        version=build.number,
        champion=state.champion,
        gain=result.gain,
        lower=result.lower,
        upper=result.upper,
        rows=result.judged,
        blocks=result.blocks,
        labels=result.rows,
        recipe=result.recipe,
    )
    if arguments.champion != state.champion:
        aside = f"version {build.number} is put aside: version {state.champion} serves since it was begun"
        return _end_build(state, build, settings, now, Event.CHAMPION_KEPT, aside, figures)
    state = replace(state, refresh=after_refresh(state, build, result, facts, settings))
    if result.is_broken:
        refused = f"version {build.number} is refused: {result.sentence}"
        return _end_build(state, build, settings, now, Event.REFIT_REFUSED, refused, figures)
    if result.serves == state.champion:
        kept = f"version {state.champion} serves on, and not the refreshed {build.number}: {result.sentence}"
        return _end_build(state, build, settings, now, Event.CHAMPION_KEPT, kept, figures)
    build = replace(build, serves=None if result.serves == build.number else result.serves)
    return _promote_or_hold(replace(state, build=build), build, settings, override, figures)


def _gate_figures(build: Build, result: JudgeResult) -> DecisionFigures:
    return DecisionFigures(
        version=build.number,
        decision=result.decision,
        gain=result.gain,
        lower=result.lower,
        upper=result.upper,
        rows=result.rows,
        blocks=result.blocks,
    )


def _promote_or_hold(
    state: ModelState, build: Build, settings: PolicySettings, override: Override, figures: DecisionFigures
) -> Transition:
    hold = build.hold or _hold(state, settings, override)
    if hold is not None:
        reason = f"version {build.candidate} {_merit(build)} ({build.decision}) and waits for a person: {hold}"
        return Transition(
            replace(state, phase=Phase.AWAITING_APPROVAL, build=build), reason, Event.APPROVAL_WANTED, (), figures
        )
    return promote(state, build, f"version {build.candidate} {_merit(build)}: {build.decision}", figures)


def _merit(build: Build) -> str:
    if not build.is_refresh:
        return "won its gate"
    return "is refreshed" if build.serves is None else f"serves rather than the refreshed {build.number}"


def _hold(state: ModelState, settings: PolicySettings, override: Override) -> str | None:
    if state.pinned is not None:
        return f"the override pins version {state.pinned}"
    pause = override.pause_of("promotion")
    if pause is not None:
        return f"promotion is paused by {describe_pause(pause)}"
    return "promote.approval is manual" if settings.approval == "manual" else None


def release_challenger(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Promote a challenger that only the override held back, once the override lets go of it.

    What a refresh built gives way to the next refresh: a person is always asked about the newest.
    """
    build = state.build
    hold = (build.hold if build is not None else "") or _hold(state, settings, override)
    if build is None or hold is not None:
        newer = (
            consider_refresh(state, facts, settings, override, now) if build is not None and build.is_refresh else None
        )
        return newer or Transition(state, f"a challenger waits for approval: {hold}")
    if build.judged_against not in (None, state.champion):
        return _judge_again(state, build, f"nothing holds version {build.number} back any more")
    reason = f"nothing holds version {build.candidate} back any more, which {_merit(build)}: {build.decision}"
    return promote(state, build, reason, DecisionFigures(version=build.candidate))


def collect_rows(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Advance a build that collects rows. At every other step the build waits for its action."""
    build = state.build
    if build is None:
        return Transition(state, "the build is at its step nothing")
    pause = override.pause_of("retraining")
    if build.step is not BuildStep.SWAP and pause is not None:
        held = f"build {build.number} is held at its step {build.step}"
        return Transition(state, f"{held}: retraining is paused by {describe_pause(pause)}")
    if build.step is not BuildStep.COLLECT:
        return Transition(state, f"the build is at its step {build.step}")
    urgent = request_for_alarm(state, settings, override, now)
    if urgent is not None:
        return request_again(state, urgent)
    want = pending_request(state)
    if want is None:
        begun = consider_refresh(state, facts, settings, override, now)
    elif (obstacle := find_obstacle(state, want, facts, settings, override, now)) is None:
        begun = start(state, want, facts, settings, now)
    else:
        begun, state = None, replace(state, waits=obstacle)
    if begun is not None and begun.event is not None:
        return begun
    return _judge_or_rebuild(state, build, facts, settings, now)


def _judge_or_rebuild(
    state: ModelState, build: Build, facts: Facts, settings: PolicySettings, now: float
) -> Transition:
    """While the gate is inconclusive: judge again with more rows, build again with many more, or give up in time."""
    new_labels = facts.labels - build.judged_labels
    wanted = max(settings.min_labels, int(build.judged_rows * (MORE_ROWS - 1)))
    if now - build.started_at > settings.collect_for:
        time = format_duration(settings.collect_for)
        reason = f"version {build.number} never became clearly better within {time}: {build.decision}"
        return _end_build(
            state, build, settings, now, Event.CHALLENGER_INCONCLUSIVE, reason, DecisionFigures(version=build.number)
        )
    if build.rows_since_change and facts.labels >= FOLLOW_UP * build.rows_since_change:
        reason = f"{facts.labels} labelled rows since the change instead of {build.rows_since_change}; {build.reason}"
        want = BuildRequest(build.trigger, reason, now, change_at=build.change_at, alarm=build.alarm)
        return start(state, want, facts, settings, now)
    if new_labels < wanted:
        lacking = f"{new_labels} of {wanted} more labelled rows for the next judgement of version {build.number}"
        return Transition(state, lacking)
    again = f"{new_labels} more labelled rows: judging version {build.number} again"
    return advance_build(state, replace(build, step=BuildStep.JUDGE), judge(state, build), again)


def _end_build(
    state: ModelState,
    build: Build,
    settings: PolicySettings,
    now: float,
    event: Event,
    reason: str,
    figures: DecisionFigures,
) -> Transition:
    ended = replace(
        state,
        phase=resting_phase(state),
        build=None,
        want=next_request(state, build, now),
        waits=None,
        cooldown_until=now + settings.cooldown,
        barred=(*state.barred, build.number),
        failures=0,
        backoff_until=0.0,
    )
    return Transition(ended, reason, event, (), figures)


def advance_build(state: ModelState, build: Build, action: Action, reason: str) -> Transition:
    """Save the progress of a build and perform its next action."""
    return Transition(replace(state, build=build), reason, None, (action,), DecisionFigures(version=build.number))


def finish_step(  # noqa: PLR0911 - one return for each kind of step
    state: ModelState, done: StepDone, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Apply the result of a finished action."""
    if isinstance(done.arguments, SwapArguments):
        return finish_swap(state, done.arguments, settings, now)
    build = _build_of(state, done.arguments)
    if build is None:
        return Transition(state, f"the result of an abandoned {done.kind} is put aside")
    match done.arguments, done.result:
        case _, SnapshotResult() as result:
            return _train(state, build, result)
        case _, TrainResult() as result:
            judging = replace(build, step=BuildStep.JUDGE)
            reason = f"version {build.number} is trained on {result.rows} rows ({result.data})"
            return advance_build(state, judging, judge(state, build), reason)
        case JudgeArguments() as arguments, JudgeResult() as result:
            return apply_judgement(state, build, arguments, result, facts, settings, override, now)
        case RefreshArguments() as arguments, RefreshResult() as result:
            return apply_refresh(state, build, arguments, result, facts, settings, override, now)
        case _:
            return Transition(state, f"{done.kind} done")


def _build_of(state: ModelState, arguments: ActionArguments) -> Build | None:
    """The build under way, where an action belongs to it."""
    build = state.build
    if build is None or isinstance(arguments, ShadowArguments | ReportArguments):
        return None
    own = build.candidate if isinstance(arguments, SwapArguments) else build.number
    return build if arguments.version == own else None


def _train(state: ModelState, build: Build, result: SnapshotResult) -> Transition:
    since_change = result.rows_since_change or 0
    arguments = TrainArguments(
        version=build.number,
        snapshot=result.digest,
        trigger=build.trigger,
        reason=build.reason,
        change_at=build.change_at,
        parent=state.champion,
        submission=build.submission,
        trained_until=build.trained_until,
    )
    further = replace(build, step=BuildStep.TRAIN, snapshot=result.digest, rows_since_change=since_change)
    after = f", {since_change} of them since the change" if build.change_at is not None else ""
    reason = f"snapshot {result.digest[:12]} holds {result.rows} labelled rows{after}"
    return advance_build(state, further, Action(arguments), reason)


def fail_step(state: ModelState, failed: StepFailed, settings: PolicySettings, now: float) -> Transition:
    """Apply the failure of an action. The champion stays."""
    match failed.arguments:
        case SwapArguments(purpose=SwapPurpose.ROLLBACK | SwapPurpose.PIN) as swap:
            return _refuse_swap(state, swap, failed.error)
        case ReportArguments():
            return Transition(state, f"{failed.kind} failed: {failed.error}", Event.REPORT_FAILED)
        case ShadowArguments():
            return Transition(state, f"{failed.kind} failed: {failed.error}", Event.SHADOW_FAILED)
    build = _build_of(state, failed.arguments)
    if build is None:
        return Transition(state, f"the failure of an abandoned {failed.kind} is put aside: {failed.error}")
    return _fail_build(state, build, failed, settings, now)


def _refuse_swap(state: ModelState, swap: SwapArguments, error: str) -> Transition:
    reason = f"version {swap.version} cannot be served ({swap.purpose} refused): {error}"
    if swap.purpose is SwapPurpose.ROLLBACK:
        return Transition(state, reason, Event.ROLLBACK_REFUSED)
    reason = f"{reason}; {PIN_AGAIN}"
    return Transition(replace(state, pin_refused=reason), reason, Event.PIN_REFUSED)


def _fail_build(
    state: ModelState, build: Build, failed: StepFailed, settings: PolicySettings, now: float
) -> Transition:
    """End a build that failed, and try its request again after a pause that doubles.

    A request is dropped after `most_failures` tries, unless its alarm still stands.
    """
    failures = state.failures + 1
    pause = min(settings.backoff_most, settings.backoff_first * 2 ** min(failures - 1, 30))
    want = pending_request(state)
    if want is None and state.want is not None:
        want = replace(state.want, failures=state.want.failures + 1)
        if want.submission is not None:
            want, failures = None, 0  # it would fail again: whoever made it hands in a better one
        elif want.failures >= settings.most_failures and want.alarm not in open_numbers(state):
            want, failures = None, 0
    is_tried_again = want is not None or state.open_alarms
    after = f"next try at {format_time(now + pause)}" if is_tried_again else "no further try until a new alarm or wish"
    back = replace(
        state,
        phase=resting_phase(state),
        build=None,
        failures=failures,
        backoff_until=now + pause,
        want=want,
        barred=(*state.barred, build.number),
    )
    reason = f"build {build.number} failed at {failed.kind}: {failed.error}; the champion still serves; {after}"
    figures = DecisionFigures(version=build.number, step=failed.kind, failures=state.failures + 1)
    return Transition(back, reason, Event.BUILD_FAILED, (), figures)

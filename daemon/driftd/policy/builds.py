"""The steps of a build, from the snapshot to the gate's decision and what follows from it."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_duration
from driftd.policy.alarms import pending_request, request_for_alarm
from driftd.policy.build_start import start
from driftd.policy.build_steps import (
    advance_build,
    apply_check,
    apply_snapshot,
    end_build,
    fail_build,
    judge,
    judge_again,
    refuse_tested,
    test,
)
from driftd.policy.inputs import PIN_AGAIN, Facts, Override, PolicySettings, StepDone, StepFailed
from driftd.policy.orders import describe_pause
from driftd.policy.refresh import after_refresh
from driftd.policy.review import promote_or_hold
from driftd.policy.swaps import FOLLOW_UP, finish_swap
from driftd.policy.triggers import consider_refresh, find_obstacle, request_again
from driftd.records import (
    ActionArguments,
    Build,
    BuildRequest,
    BuildStep,
    CheckDataResult,
    DecisionFigures,
    Event,
    GateDecision,
    JudgeArguments,
    JudgeResult,
    ModelState,
    ModelTestArguments,
    ModelTestResult,
    RefreshArguments,
    RefreshResult,
    ReportArguments,
    ShadowArguments,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainResult,
    Transition,
)

MORE_ROWS = 1.5  # an inconclusive gate is asked again when so many times the rows are there


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
        return judge_again(state, build, f"the judgement of version {build.number} is put aside")
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
            return promote_or_hold(replace(state, build=build), build, settings, override, figures, now)
        case GateDecision.REJECT:
            return end_build(
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
        build,
        decision=result.sentence,
        judgements=1,
        judged_rows=result.judged,
        judged_against=arguments.champion,
        hold=result.class_change or "",
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
        return end_build(state, build, settings, now, Event.CHAMPION_KEPT, aside, figures)
    state = replace(state, refresh=after_refresh(state, build, result, facts, settings))
    if result.is_broken:
        refused = f"version {build.number} is refused: {result.sentence}"
        return end_build(state, build, settings, now, Event.REFIT_REFUSED, refused, figures)
    if result.serves == state.champion:
        kept = f"version {state.champion} serves on, and not the refreshed {build.number}: {result.sentence}"
        return end_build(state, build, settings, now, Event.CHAMPION_KEPT, kept, figures)
    build = replace(build, serves=None if result.serves == build.number else result.serves)
    if settings.has_tests:
        testing = replace(build, step=BuildStep.TEST)
        return advance_build(
            state, testing, test(state, testing), f"version {build.candidate} is tested before it serves"
        )
    return promote_or_hold(replace(state, build=build), build, settings, override, figures, now)


def apply_tests(
    state: ModelState,
    build: Build,
    arguments: ModelTestArguments,
    result: ModelTestResult,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Apply what the user's tests say: refuse the version, or have it judged. A refresh has judged its own already."""
    if not result.passed:
        return refuse_tested(state, build, result.sentence, facts, settings, now)
    passed = f"version {build.candidate} passes its tests: {result.sentence}"
    if not build.is_refresh:
        return advance_build(state, replace(build, step=BuildStep.JUDGE), judge(state, build), passed)
    figures = DecisionFigures(version=build.number, champion=state.champion)
    if arguments.champion != state.champion:
        aside = f"version {build.candidate} is put aside: version {state.champion} serves since it was tested"
        return end_build(state, build, settings, now, Event.CHAMPION_KEPT, aside, figures)
    return promote_or_hold(state, build, settings, override, figures, now)


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
        return end_build(
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
            return apply_snapshot(state, build, result, settings)
        case _, CheckDataResult() as result:
            return apply_check(state, build, result, settings, now)
        case _, TrainResult() as result:
            step, action = (BuildStep.TEST, test) if settings.has_tests else (BuildStep.JUDGE, judge)
            reason = f"version {build.number} is trained on {result.rows} rows ({result.data})"
            return advance_build(state, replace(build, step=step), action(state, build), reason)
        case ModelTestArguments() as arguments, ModelTestResult() as result:
            return apply_tests(state, build, arguments, result, facts, settings, override, now)
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
    return fail_build(state, build, failed, settings, now)


def _refuse_swap(state: ModelState, swap: SwapArguments, error: str) -> Transition:
    reason = f"version {swap.version} cannot be served ({swap.purpose} refused): {error}"
    if swap.purpose is SwapPurpose.ROLLBACK:
        return Transition(state, reason, Event.ROLLBACK_REFUSED)
    reason = f"{reason}; {PIN_AGAIN}"
    return Transition(replace(state, pin_refused=reason), reason, Event.PIN_REFUSED)

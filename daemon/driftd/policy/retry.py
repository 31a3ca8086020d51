"""The retry of a build that failed, from the stage where it did or an earlier one, with what is still there of it."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.build_steps import check_data, judge, take_data, test, train
from driftd.policy.inputs import Facts, OperatorRequest, Override, PolicySettings
from driftd.policy.orders import describe_pause
from driftd.policy.refresh import refresh_action
from driftd.policy.triggers import is_interruptible
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    Phase,
    Transition,
)

STEP_OF = {  # the stages of `driftd.events.Stage` that a build can begin with again, in their order
    "take_data": BuildStep.SNAPSHOT,
    "check_data": BuildStep.CHECK_DATA,
    "train": BuildStep.TRAIN,
    "refresh": BuildStep.REFRESH,
    "test": BuildStep.TEST,
    "judge": BuildStep.JUDGE,
    "deploy": BuildStep.SWAP,
}
STAGE_OF = {step: stage for stage, step in STEP_OF.items()} | {BuildStep.COLLECT: "judge"}
MADE_BEFORE = ("test", "judge", "deploy")  # what these work on is the version


def retry_build(
    state: ModelState,
    finding: OperatorRequest,
    facts: Facts,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Begin a failed build again from a stage: the one where it failed, unless the person names another."""
    build = state.failed
    if build is None:
        none = "no build has failed since the last one began: `driftd retrain` asks for a new one"
        return _refuse(state, none)
    stage = finding.stage or STAGE_OF[build.step]
    refusal = _obstacle(state, override, facts) or _stage_refusal(state, build, stage, facts, settings)
    if refusal is not None:
        return _refuse(state, refusal)
    retried = _again(build, stage, facts, now)
    idle = "" if state.build is None else f"; build {state.build.number} only collected rows, and ends"
    text = f": {finding.text}" if finding.text else ""
    number = "" if retried.number == build.number else f" as build {retried.number}"
    reason = f"{finding.who} retries build {build.number}{number} from {_words(stage)}{text}{idle}"
    begun = replace(
        state,
        phase=Phase.AWAITING_APPROVAL if stage == "deploy" else Phase.RETRAINING,
        build=retried,
        failed=None,
        waits=None,
        build_starts=(*(at for at in state.build_starts if at > now - settings.budget_per), now),
        barred=tuple(version for version in state.barred if version != retried.number),
        spec=state.spec if stage in MADE_BEFORE else facts.spec or state.spec,  # what is made anew is of today's code
    )
    figures = DecisionFigures(version=retried.number, trigger=retried.trigger, who=finding.who, alarm=retried.alarm)
    # What is deployed again is released at the next tick, unless something holds it back by now.
    actions = () if stage == "deploy" else (_action(begun, retried, stage),)
    return Transition(begun, reason, Event.BUILD_RETRIED, actions, figures)


def retry_stages(state: ModelState, build: Build, facts: Facts, settings: PolicySettings) -> list[str]:
    """From which stages a failed build can be retried now, in their order."""
    return [stage for stage in STEP_OF if _stage_refusal(state, build, stage, facts, settings, listed=False) is None]


def _refuse(state: ModelState, sentence: str) -> Transition:
    return Transition(state, sentence, Event.REQUEST_REFUSED)


def _words(stage: str) -> str:
    return stage.replace("_", " ")


def _obstacle(state: ModelState, override: Override, facts: Facts) -> str | None:
    """Why nothing may be retried now, from whatever stage."""
    pause = override.pause_of("retraining")
    if state.phase is Phase.PAUSED:
        return "checks are paused: `driftd resume` ends that"
    if pause is not None:
        return f"retraining is paused by {describe_pause(pause)}"
    if state.build is not None and not is_interruptible(state.build):
        return f"build {state.build.number} is under way ({state.build.step})"
    if ActionKind.SWAP in facts.working or state.hand_over is not None:
        return "a swap is under way; ask again when it is done"
    if state.probation is not None and not state.probation.until_refresh:
        return f"version {state.champion} is on probation; ask again when that is over"
    return None


def _stage_refusal(
    state: ModelState, build: Build, stage: str, facts: Facts, settings: PolicySettings, *, listed: bool = True
) -> str | None:
    """Why a build cannot be retried from a stage; with the stages from which it can be."""
    lacking = _find_lack(state, build, stage, facts, settings)
    if lacking is None:
        return None
    can = ", ".join(retry_stages(state, build, facts, settings)) if listed else ""
    return f"build {build.number} cannot be retried from {_words(stage)}: {lacking}; it can be from: {can or 'none'}"


def _find_lack(state: ModelState, build: Build, stage: str, facts: Facts, settings: PolicySettings) -> str | None:  # noqa: PLR0911 - one return for each reason
    step = STEP_OF.get(stage)
    is_of_refresh = stage == "refresh"
    if step is None or (stage in ("train", "judge", "refresh") and is_of_refresh is not build.is_refresh):
        return "it has no such stage" if step is None or build.is_refresh else "it is no refresh"
    order = list(STEP_OF)
    if order.index(stage) > order.index(STAGE_OF[build.step]):
        return f"it did not come further than {_words(STAGE_OF[build.step])}"
    if stage in ("check_data", "test") and not _is_configured(stage, settings):
        return f"the config has no stages.{stage} any more"
    if stage == "take_data" and state.blocked is not None:
        return f"the pipeline is broken: {state.blocked}"
    needs_rows = stage in ("check_data", "train") or (stage == "refresh" and settings.has_checks)
    if needs_rows and (build.snapshot is None or not facts.has_snapshot):
        return "its rows are not there any more"
    if stage in MADE_BEFORE and not {build.number, build.candidate} <= facts.versions:
        return f"version {build.candidate} is not there any more"
    is_judged = stage == "deploy" or (stage == "test" and build.is_refresh)
    if is_judged and build.judged_against != state.champion:
        return f"it was compared with version {build.judged_against}, and version {state.champion} serves now"
    return None


def _is_configured(stage: str, settings: PolicySettings) -> bool:
    return settings.has_checks if stage == "check_data" else settings.has_tests


def _again(build: Build, stage: str, facts: Facts, now: float) -> Build:
    """The build at the step to begin with; under another number where it makes a version that is there already."""
    is_made_anew = stage not in MADE_BEFORE and build.number in facts.versions
    number = facts.next_version if is_made_anew else build.number
    step, has_rows = STEP_OF[stage], facts.has_snapshot and stage != "take_data"
    if stage == "deploy":
        judged = BuildStep.REFRESH if build.is_refresh else BuildStep.JUDGE
        return replace(build, step=judged, started_at=now, review_since=0.0)
    if stage in MADE_BEFORE:
        return replace(build, step=step, started_at=now, approved_by=(), is_approved=False)
    return replace(
        build,
        number=number,
        step=step,
        started_at=now,
        approved_by=(),
        is_approved=False,
        serves=None,
        judged_against=None,
        snapshot=build.snapshot if has_rows else None,
        rows_until=build.rows_until if has_rows else None,
    )


def _action(state: ModelState, build: Build, stage: str) -> Action:
    match stage:
        case "take_data":
            return take_data(build)
        case "check_data":
            return check_data(build)
        case "train":
            return train(state, build)
        case "refresh":
            return refresh_action(state, build)
        case "test":
            return test(state, build)
        case _:
            return judge(state, build)

"""Keeps how each stage of a build ended: its time, its result, its sentence, its log."""

from __future__ import annotations

from driftd.config.stage_schema import Stages
from driftd.events import Event, HandOverAction, Stage, StageResult
from driftd.paths import Places
from driftd.policy import Finding, StepDone, StepFailed
from driftd.records import (
    ActionKind,
    CheckDataResult,
    GateDecision,
    HandOverArguments,
    HandOverStage,
    JudgeResult,
    ModelState,
    ModelTestResult,
    Phase,
    RefreshResult,
    SnapshotResult,
    SwapArguments,
    SwapPurpose,
    TrainResult,
    Transition,
)
from driftd.store.state.records import StoredAction
from driftd.store.state.stages import STAGE_OF, StageRun, log_of
from driftd.store.state.writer import StateStore

_LOOKED_BACK = 50  # actions, for what told another system to serve a version
_SPARE_SECONDS = 300.0  # that a job of tests has beyond their own time, to start and to tell
NOT_CONFIGURED = {  # what is passed over before a stage, and why
    Stage.TRAIN: ((Stage.CHECK_DATA, "stages.check_data expects nothing"),),
    Stage.REFRESH: ((Stage.CHECK_DATA, "stages.check_data expects nothing"),),
    Stage.JUDGE: ((Stage.TEST, "stages.test has no tests"),),
    Stage.DEPLOY: (
        (Stage.TEST, "stages.test has no tests"),
        (Stage.REVIEW, "nothing held the version back: promote.approval is auto"),
    ),
}


def stage_arguments(stages: Stages, kind: ActionKind) -> dict[str, object]:
    """What the job of a stage is told besides its action: how long it may take, where the config says so."""
    if kind is ActionKind.TEST:
        return {"wall_seconds": stages.test.timeout + _SPARE_SECONDS}
    if kind is ActionKind.CHECK_DATA and stages.check_data.timeout is not None:
        return {"wall_seconds": stages.check_data.timeout}
    return {}


def has_snapshot(places: Places, state: ModelState) -> bool:
    """Whether the rows of the build that failed last are still there."""
    failed = state.failed
    return failed is not None and failed.snapshot is not None and places.snapshot(state.model, failed.snapshot).is_dir()


def record_action(store: StateStore, state: ModelState, action: StoredAction, finding: Finding, now: float) -> None:
    """Keep how an action of a build ended; call it in the transaction that applies it. `state` is that of before."""
    arguments, build = action.typed_arguments, state.build
    stage = STAGE_OF.get(action.kind)
    if stage is None or build is None:
        return
    if isinstance(arguments, SwapArguments) and arguments.purpose is not SwapPurpose.PROMOTE:
        return
    if getattr(arguments, "version", None) not in (build.number, build.candidate):
        return  # of a build that ended before
    if _is_handed_over(state):
        return  # what follows from this says how the hand-over ended
    _skip_unconfigured(store, state.model, build.number, stage, now)
    result, sentence, details = describe_finding(finding)
    store.save_stage(
        StageRun(
            state.model,
            build.number,
            stage,
            action.intended_at if action.started_at is None else action.started_at,
            now,
            result,
            sentence,
            log=log_of(state.model, action.id, action.kind),
            details=details,
        )
    )


def _skip_unconfigured(store: StateStore, model: str, version: int, stage: Stage, now: float) -> None:
    """Keep as skipped what the config does not ask for before a stage."""
    for other, why in NOT_CONFIGURED.get(stage, ()):
        if not store.count_stages(model, version, other):
            store.save_stage(StageRun(model, version, other, now, now, StageResult.SKIPPED, why))


def describe_finding(finding: Finding) -> tuple[StageResult, str, dict[str, object]]:  # noqa: PLR0911 - one return for each kind of result
    """How an action ended as a stage: its result, what it says, and what else is kept of it."""
    if isinstance(finding, StepFailed):
        return StageResult.FAILED, finding.error, {}
    match finding.result if isinstance(finding, StepDone) else None:
        case SnapshotResult(digest, rows):
            return StageResult.PASSED, f"snapshot {digest[:12]} holds {rows} labelled rows", {}
        case CheckDataResult(passed, sentence, expectations):
            return _result(passed=passed), sentence, {"expectations": expectations}
        case TrainResult(rows, data):
            return StageResult.PASSED, f"trained on {rows} rows ({data})", {}
        case ModelTestResult(passed, sentence, failures, output):
            return _result(passed=passed), sentence, {"failures": failures, "output": output}
        case JudgeResult(decision=GateDecision.INCONCLUSIVE, sentence=sentence):
            return StageResult.UNDECIDED, sentence, {}
        case JudgeResult(decision=decision, sentence=sentence):
            return _result(passed=decision is GateDecision.PROMOTE), sentence, {}
        case RefreshResult(is_broken=is_broken, sentence=sentence):
            return _result(passed=not is_broken), sentence, {}
        case _:
            return StageResult.PASSED, "", {}


def _result(*, passed: bool) -> StageResult:
    return StageResult.PASSED if passed else StageResult.FAILED


_APPROVED = (Event.SWAP_STARTED, Event.HANDED_OVER)
_REFUSED = (Event.CHALLENGER_REJECTED, Event.REVIEW_EXPIRED)


def record_transition(store: StateStore, before: ModelState, transition: Transition, now: float) -> None:
    """Keep that a review, a hand-over or a probation ended: what no job does, or not one alone."""
    after, event = transition.state, transition.event
    build, probation = before.build, before.probation
    if build is not None and _is_reviewed(before) and not _is_reviewed(after):
        result = _ends_review(event)
        since = build.review_since or now
        store.save_stage(StageRun(before.model, build.number, Stage.REVIEW, since, now, result, transition.reason))
    if build is not None and _is_handed_over(before) and not _is_handed_over(after):
        _record_hand_over(store, before, build.number, transition, now)
    if probation is not None and before.champion is not None and _since(after) != probation.since:
        result = StageResult.SKIPPED
        if event in (Event.CONFIRMED, Event.PROMOTED):
            result = StageResult.PASSED
        elif event is Event.ROLLED_BACK:
            result = StageResult.FAILED
        store.save_stage(
            StageRun(before.model, before.champion, Stage.WATCH, probation.since, now, result, transition.reason)
        )


def _record_hand_over(store: StateStore, before: ModelState, version: int, transition: Transition, now: float) -> None:
    """Keep how the deployment ended of a version that another system serves: it began when that was told first."""
    assert before.hand_over is not None
    since, log = before.hand_over.since, _log_of_delivery(store, before)
    _skip_unconfigured(store, before.model, version, Stage.DEPLOY, now)
    result = StageResult.PASSED if transition.event is Event.PROMOTED else StageResult.FAILED
    run = StageRun(before.model, version, Stage.DEPLOY, since, now, result, transition.reason, log=log)
    store.save_stage(run)


def _log_of_delivery(store: StateStore, before: ModelState) -> str | None:
    """The log of the newest job that told the other system to serve the version."""
    assert before.hand_over is not None
    wanted = HandOverAction.DEPLOY, before.hand_over.version
    for action in store.actions(before.model, _LOOKED_BACK):
        given = action.typed_arguments
        if isinstance(given, HandOverArguments) and (given.action, given.version) == wanted:
            return log_of(before.model, action.id, action.kind)
    return None


def _is_handed_over(state: ModelState) -> bool:
    """Whether the version of the build under way is being handed over, confirmed or not."""
    build, hand_over = state.build, state.hand_over
    if build is None or hand_over is None or hand_over.stage is HandOverStage.TAKE_BACK:
        return False
    return hand_over.purpose is SwapPurpose.PROMOTE and hand_over.version == build.candidate


def _ends_review(event: Event | None) -> StageResult:
    if event in _APPROVED:
        return StageResult.PASSED
    return StageResult.FAILED if event in _REFUSED else StageResult.SKIPPED


def _is_reviewed(state: ModelState) -> bool:
    return state.build is not None and Phase.AWAITING_APPROVAL in (state.phase, state.resumes)


def _since(state: ModelState) -> float | None:
    return None if state.probation is None else state.probation.since

"""Requests for builds: by an alarm, the schedule, new labels, changed code or a person; and what each waits for."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.formatting import moment
from driftd.policy.inputs import AlarmRaised, Facts, Override, PolicySettings
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
    ReportArguments,
    SnapshotArguments,
    Transition,
    Trigger,
)

TRIGGER_OF_KIND = {
    "performance": Trigger.PERFORMANCE,
    "harm": Trigger.HARM,
    "data": Trigger.DATA_DRIFT,
    "prediction": Trigger.DATA_DRIFT,
}


def record_alarm(state: ModelState, finding: AlarmRaised, settings: PolicySettings, now: float) -> Transition:
    """Record an alarm, render its report, and request a build where `retrain.on` names its kind."""
    alarm = finding.alarm
    report = Action(ReportArguments(alarm=finding.number, sentence=alarm.sentence))
    figures = DecisionFigures(alarm=finding.number, kind=alarm.kind, evidence=alarm.evidence, threshold=alarm.threshold)
    wanting, consequence = _consequence(state, finding, settings, now)
    return Transition(wanting, f"{alarm.sentence}; {consequence}", Event.ALARM, (report,), figures)


def _consequence(
    state: ModelState, finding: AlarmRaised, settings: PolicySettings, now: float
) -> tuple[ModelState, str]:
    alarm = finding.alarm
    trigger = TRIGGER_OF_KIND.get(alarm.kind)
    if trigger is None:
        return state, "a fault of the pipeline never builds"
    if trigger not in settings.retrain_on:
        return state, f"this informs only ({trigger} is not in retrain.on)"
    if state.phase is Phase.RETRAINING and state.build is not None:
        return state, f"build {state.build.number} is already under way"
    standing = state.want
    if standing is not None and not standing.is_follow_up and standing.trigger is not Trigger.DATA_DRIFT:
        return state, f"a build is already wanted since {moment(standing.since)}"
    want = BuildRequest(
        trigger,
        alarm.sentence,
        now,
        change_at=alarm.change_start,
        labels_needed=settings.min_labels,
        alarm=finding.number,
    )
    first = "a build is wanted"
    if state.phase is Phase.PROBATION:
        first = "a build is wanted once probation has decided between this version and the one before"
    return replace(state, want=want), first


def consider_build(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Start the requested build, or record what it waits for."""
    state = state if state.code is not None or facts.code is None else replace(state, code=facts.code)
    if state.want is None:
        return _request_without_alarm(state, facts, settings, now)
    obstacle = _obstacle(state, state.want, facts, settings, override, now)
    if obstacle is not None:
        return Transition(
            replace(state, waits=obstacle), f"a build is wanted ({state.want.reason}) and waits: {obstacle}"
        )
    return start(state, state.want, facts, settings, now)


def _request_without_alarm(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Request a build by the schedule, by new labels or by changed code."""
    trigger, reason = None, ""
    if facts.schedule_due and Trigger.SCHEDULE in settings.retrain_on:
        trigger, reason = Trigger.SCHEDULE, "the schedule is due"
    elif facts.code != state.code and state.code is not None and Trigger.CODE_CHANGED in settings.retrain_on:
        trigger, reason = Trigger.CODE_CHANGED, "the trainer's source changed since the last build"
    elif facts.labels_since_build >= settings.new_labels and Trigger.NEW_LABELS in settings.retrain_on:
        trigger = Trigger.NEW_LABELS
        reason = f"{facts.labels_since_build} labels came since the last build (new_labels: {settings.new_labels})"
    if facts.schedule_due:
        state = replace(state, last_schedule=now)
    if trigger is None:
        return Transition(replace(state, waits=None), "nothing to do")
    want = BuildRequest(trigger, reason, now)
    return Transition(replace(state, want=want), reason, Event.BUILD_WANTED, figures=DecisionFigures(trigger=trigger))


def request_build(state: ModelState, reason: str, who: str, now: float) -> Transition:
    """Request a build for a person. It ignores the cool-down, the budget and the labels needed."""
    wanted = replace(state, want=BuildRequest(Trigger.MANUAL, reason, now, who=who))
    return Transition(wanted, reason, Event.BUILD_WANTED, (), DecisionFigures(trigger=Trigger.MANUAL))


def is_interruptible(build: Build | None) -> bool:
    """Whether a new build may begin now: there is none, or it only collects rows."""
    return build is None or build.step is BuildStep.COLLECT


def _obstacle(
    state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> str | None:
    for standing in (_always_obstacle(state, facts, override), _passing_obstacle(state, want, facts, settings, now)):
        if standing is not None:
            return standing
    return None


def _always_obstacle(state: ModelState, facts: Facts, override: Override) -> str | None:
    if "retraining" in override.pause:
        return f"retraining is paused by the override: {override.reason}"
    if state.blocked is not None:
        return f"the pipeline is broken: {state.blocked}"
    if ActionKind.SWAP in facts.working:
        return "a swap is under way"
    return None


def _passing_obstacle(
    state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, now: float
) -> str | None:
    if want.trigger is Trigger.MANUAL:
        return None
    recent = [at for at in state.build_starts if at > now - settings.budget_per]
    if facts.labels < want.labels_needed:
        since = f" since {moment(want.change_at)}" if want.change_at is not None else ""
        return f"{facts.labels} of {want.labels_needed} labelled rows{since}"
    if now < state.cooldown_until:
        return f"the cool-down ends at {moment(state.cooldown_until)}"
    if now < state.backoff_until:
        return f"{state.failures} builds failed in a row; next try at {moment(state.backoff_until)}"
    if len(recent) >= settings.budget_builds:
        free_at = min(recent) + settings.budget_per
        return f"the budget of {settings.budget_builds} builds is used up until {moment(free_at)}"
    return None


def start(state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Begin a build with its snapshot."""
    build = Build(
        facts.next_version,
        want.trigger,
        want.reason,
        BuildStep.SNAPSHOT,
        now,
        change_at=want.change_at,
        is_follow_up=want.is_follow_up,
        alarm=want.alarm,
    )
    recent = tuple(at for at in state.build_starts if at > now - settings.budget_per)
    building = replace(
        state,
        phase=Phase.RETRAINING,
        build=build,
        waits=None,
        build_starts=(*recent, now),
        code=facts.code or state.code,
    )
    action = Action(SnapshotArguments(version=build.number, change_at=want.change_at))
    reason = f"building version {build.number} because of {want.trigger.replace('_', ' ')}: {want.reason}"
    figures = DecisionFigures(
        version=build.number,
        trigger=want.trigger,
        labels=facts.labels,
        change_at=want.change_at,
        alarm=want.alarm,
    )
    return Transition(building, reason, Event.BUILD_STARTED, (action,), figures)

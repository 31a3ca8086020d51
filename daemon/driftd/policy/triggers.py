"""Requests for builds: by an alarm, the schedule, new labels, changed code or a person; and what each waits for."""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_time
from driftd.policy.alarms import (
    LEVELS,
    actionable,
    clear_alarm,
    keep_open,
    open_alarm,
    open_numbers,
    pending_request,
    request_for_alarm,
)
from driftd.policy.inputs import (
    AlarmCleared,
    AlarmRaised,
    AlarmStanding,
    Facts,
    OperatorRequest,
    Override,
    PolicySettings,
)
from driftd.policy.orders import describe_pause
from driftd.policy.refresh import (
    describe_wait,
    due_request,
    find_refresh_obstacle,
    first_step,
    is_refresh,
    refresh_action,
    with_refresh,
)
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildRequest,
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    OpenAlarm,
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


def apply_alarm(
    state: ModelState,
    finding: AlarmRaised | AlarmStanding | AlarmCleared,
    settings: PolicySettings,
    override: Override,
    now: float,
) -> Transition:
    """Apply what a check says of an alarm: it is raised, still stands, or its evidence fell."""
    match finding:
        case AlarmRaised():
            return record_alarm(state, finding, settings, override, now)
        case AlarmStanding():
            return keep_open(state, finding, now)
        case AlarmCleared():
            return clear_alarm(state, finding)


def record_alarm(
    state: ModelState, finding: AlarmRaised, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Record an alarm, render its report, and request a build where `retrain.on` names its kind."""
    alarm = finding.alarm
    report = Action(ReportArguments(alarm=finding.number, sentence=alarm.sentence))
    figures = DecisionFigures(alarm=finding.number, kind=alarm.kind, evidence=alarm.evidence, threshold=alarm.threshold)
    if alarm.kind in LEVELS:
        state = open_alarm(state, alarm, finding.number, now)
    wanting, consequence = _consequence(state, finding, settings, override, now)
    actions = (report,) if settings.has_rows else ()
    return Transition(wanting, f"{alarm.sentence}; {consequence}", Event.ALARM, actions, figures)


def _consequence(
    state: ModelState, finding: AlarmRaised, settings: PolicySettings, override: Override, now: float
) -> tuple[ModelState, str]:
    alarm = finding.alarm
    trigger = TRIGGER_OF_KIND.get(alarm.kind)
    if trigger is None:
        return state, "a fault of the pipeline never builds"
    if trigger not in settings.retrain_on:
        return state, f"this informs only ({trigger} is not in retrain.on)"
    want = (
        request_for_alarm(state, settings, override, now)
        if alarm.kind in LEVELS
        else _request_for_drift(state, finding, settings, now)
    )
    if want is None:
        return state, _standing_consequence(state)
    first = "a refresh is brought forward" if is_refresh(want, settings) else "a build is wanted"
    if state.phase is Phase.PROBATION and not (state.probation is not None and state.probation.until_refresh):
        first = "a build is wanted once probation has decided between this version and the one before"
    return replace(state, want=want), first


def _request_for_drift(
    state: ModelState, finding: AlarmRaised, settings: PolicySettings, now: float
) -> BuildRequest | None:
    """The request of an alarm of data drift; None where a build is requested or under way."""
    want = state.want
    if state.build is not None or (want is not None and not want.is_follow_up and want.trigger != Trigger.DATA_DRIFT):
        return None
    alarm = finding.alarm
    return BuildRequest(
        Trigger.DATA_DRIFT,
        alarm.sentence,
        now,
        change_at=alarm.change_start,
        labels_needed=settings.min_labels,
        alarm=finding.number,
    )


def _standing_consequence(state: ModelState) -> str:
    if state.build is not None:
        return f"build {state.build.number} is already under way"
    return (
        f"a build is already wanted since {format_time(state.want.since)}"
        if state.want is not None
        else "it is acknowledged"
    )


def consider_build(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Start the requested build, or record what it waits for."""
    state = state if state.code is not None or facts.code is None else replace(state, code=facts.code)
    urgent = request_for_alarm(state, settings, override, now)
    if urgent is not None:
        return request_again(state, urgent)
    state = with_refresh(state, facts, settings)
    if state.want is None:
        refreshed = consider_refresh(state, facts, settings, override, now)
        return refreshed or _request_without_alarm(state, facts, settings, override, now)
    obstacle = find_obstacle(state, state.want, facts, settings, override, now)
    if obstacle is not None:
        return Transition(
            replace(state, waits=obstacle), f"a build is wanted ({state.want.reason}) and waits: {obstacle}"
        )
    return start(state, state.want, facts, settings, now)


def consider_refresh(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition | None:
    """Start the refresh that is due, or record what it waits for; None where none is due."""
    want = due_request(state, facts, settings, _standing(state, settings, override, now), now)
    if want is None:
        return None
    obstacle = find_obstacle(state, want, facts, settings, override, now)
    if obstacle is None:
        return start(state, want, facts, settings, now)
    return Transition(replace(state, waits=obstacle), f"a refresh is due ({want.reason}) and waits: {obstacle}")


def _standing(state: ModelState, settings: PolicySettings, override: Override, now: float) -> OpenAlarm | None:
    """The alarm of performance that something is to be done about."""
    standing = actionable(state, settings, override, now)
    return next((alarm for alarm in standing if alarm.kind == "performance"), None)


def _request_without_alarm(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
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
        standing = _standing(state, settings, override, now)
        waits = describe_wait(state, facts, settings, standing)
        waited_for = None if standing is None else waits  # without an alarm nobody waits for a refresh
        return Transition(replace(state, waits=waited_for), waits or "nothing to do")
    want = BuildRequest(trigger, reason, now)
    return Transition(replace(state, want=want), reason, Event.BUILD_WANTED, figures=DecisionFigures(trigger=trigger))


def request_again(state: ModelState, want: BuildRequest) -> Transition:
    """Request a build for an alarm that still stands, though no build is requested or under way for it."""
    figures = DecisionFigures(trigger=want.trigger, alarm=want.alarm)
    reason = f"alarm {want.alarm} still stands: {want.reason}"
    return Transition(replace(state, want=want), reason, Event.BUILD_WANTED, (), figures)


AFTER_REFUSAL = 2  # a refused build is tried again with so many times the labels, while its cause stands


def next_request(state: ModelState, build: Build, now: float) -> BuildRequest | None:
    """What is requested after a build was refused: what waits already, or the same again with twice the labels.

    The cause of a performance or harm build still stands after a refusal, unless its alarm has been cleared.
    """
    pending = pending_request(state)
    is_cleared = build.alarm is not None and build.alarm not in open_numbers(state)
    if pending is not None or build.is_refresh or build.trigger not in LEVELS.values() or is_cleared:
        return pending
    reason = f"version {build.number} was refused with {build.judged_labels} labels; {build.reason}"
    return BuildRequest(
        build.trigger,
        reason,
        now,
        change_at=build.change_at,
        labels_needed=AFTER_REFUSAL * max(build.judged_labels, 1),
        is_follow_up=True,
        alarm=build.alarm,
    )


def request_build(state: ModelState, reason: str, who: str, now: float) -> Transition:
    """Request a build for a person. It ignores the cool-down, the budget and the labels needed."""
    wanted = replace(state, want=BuildRequest(Trigger.MANUAL, reason, now, who=who))
    return Transition(wanted, reason, Event.BUILD_WANTED, (), DecisionFigures(trigger=Trigger.MANUAL))


def request_submission(state: ModelState, finding: OperatorRequest, settings: PolicySettings, now: float) -> Transition:
    """Take in a version that somebody made elsewhere: it is judged by rows that it has not seen, as any challenger.

    Where nobody says until when it was trained, that is now.
    """
    until = min(finding.trained_until or now, now)
    text = f": {finding.text}" if finding.text else ""
    reason = f"{finding.who} submits a version that was trained until {format_time(until)}{text}"
    want = BuildRequest(
        Trigger.SUBMITTED,
        reason,
        now,
        change_at=until,
        labels_needed=settings.min_labels,
        who=finding.who,
        submission=finding.submission,
        trained_until=until,
    )
    figures = DecisionFigures(trigger=Trigger.SUBMITTED, who=finding.who)
    return Transition(replace(state, want=want), reason, Event.BUILD_WANTED, (), figures)


def is_of_person(want: BuildRequest) -> bool:
    """Whether a person asked for a build, or handed a version in: no cool-down and no budget holds it up."""
    return want.trigger in (Trigger.MANUAL, Trigger.SUBMITTED)


def is_interruptible(build: Build | None) -> bool:
    """Whether a new build may begin now: there is none, or it only collects rows."""
    return build is None or build.step is BuildStep.COLLECT


def find_obstacle(
    state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> str | None:
    """Why a requested build cannot start now, in one sentence; None when nothing stands in its way."""
    return (
        _always_obstacle(state, want, facts, override)
        or (find_refresh_obstacle(state, facts) if is_refresh(want, settings) else None)
        or _passing_obstacle(state, want, facts, settings, now)
    )


def _always_obstacle(state: ModelState, want: BuildRequest, facts: Facts, override: Override) -> str | None:
    pause = override.pause_of("retraining")
    if pause is not None:
        return f"retraining is paused by {describe_pause(pause)}"
    if state.blocked is not None and not _passes_fault(state, want):
        return f"the pipeline is broken: {state.blocked}"
    if ActionKind.SWAP in facts.working:
        return "a swap is under way"
    return None


def _passes_fault(state: ModelState, want: BuildRequest) -> bool:
    """Whether a person asked, and all that is wrong are values that were never seen: they may know these are right."""
    is_level = state.level_fault is not None and state.label_fault is None
    return want.trigger is Trigger.MANUAL and is_level


def _passing_obstacle(
    state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, now: float
) -> str | None:
    state = without_endless_waits(state, now, cooldown=settings.cooldown, backoff=settings.backoff_most)
    if now < state.backoff_until and (want.failures or not is_of_person(want)):
        return f"{state.failures} builds failed in a row; next try at {format_time(state.backoff_until)}"
    if want.trigger is Trigger.MANUAL:
        return None
    labels = facts.labels if facts.labels_of_request is None else facts.labels_of_request
    if labels < want.labels_needed:
        since = f" since {format_time(want.change_at)}" if want.change_at is not None else ""
        return f"{labels} of {want.labels_needed} labelled rows{since}"
    return None if want.submission is not None else _restraint(state, settings, now)


def _restraint(state: ModelState, settings: PolicySettings, now: float) -> str | None:
    """What keeps builds apart that nobody asked for: the cool-down and the budget."""
    recent = [at for at in state.build_starts if abs(now - at) < settings.budget_per]  # not those of a clock ahead
    if now < state.cooldown_until:
        return f"the cool-down ends at {format_time(state.cooldown_until)}"
    if len(recent) >= settings.budget_builds:
        free_at = min(recent) + settings.budget_per
        return f"the budget of {settings.budget_builds} builds is used up until {format_time(free_at)}"
    return None


LONGEST_WAIT = 14 * 86_400.0  # seconds that a pause of builds is believed to last, unless the config has a longer one


def without_endless_waits(
    state: ModelState, now: float, *, cooldown: float = LONGEST_WAIT, backoff: float = LONGEST_WAIT
) -> ModelState:
    """The state without pauses of builds that end later than one that begins now: a clock that was ahead began them.

    `cooldown` and `backoff` are the longest that the config has, in seconds. Pure.
    """
    cooldown_ends, backoff_ends = now + max(cooldown, LONGEST_WAIT), now + max(backoff, LONGEST_WAIT)
    return replace(
        state,
        cooldown_until=state.cooldown_until if state.cooldown_until <= cooldown_ends else now,
        backoff_until=state.backoff_until if state.backoff_until <= backoff_ends else now,
    )


def start(state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Begin a build with its snapshot."""
    build = Build(
        facts.next_version,
        want.trigger,
        want.reason,
        first_step(want, settings),
        now,
        change_at=None if want.submission is not None else want.change_at,
        is_follow_up=want.is_follow_up,
        alarm=want.alarm,
        requested_at=want.since,
        is_refresh=is_refresh(want, settings),
        submission=want.submission,
        trained_until=want.trained_until,
    )
    pending = pending_request(state)
    recent = tuple(at for at in state.build_starts if at > now - settings.budget_per)
    building = replace(
        state,
        phase=Phase.RETRAINING,
        build=build,
        want=want if pending is None else pending,
        waits=None,
        build_starts=(*recent, now),
        code=facts.code or state.code,
    )
    action = Action(SnapshotArguments(version=build.number, change_at=build.change_at))
    if build.is_refresh:
        action = refresh_action(state, build)
    reason = f"building version {build.number} because of {want.trigger.replace('_', ' ')}: {want.reason}"
    if state.blocked is not None:
        reason = f"{reason}; warning: the pipeline may be broken ({state.blocked}), rows of such windows are left out"
    if state.build is not None:
        idle = "waited for a person" if state.phase is Phase.AWAITING_APPROVAL else "only collected rows"
        reason = f"{reason}; build {state.build.number} {idle}, and ends"
    figures = DecisionFigures(
        version=build.number,
        trigger=want.trigger,
        labels=facts.fresh_labels if build.is_refresh else facts.labels,
        change_at=want.change_at,
        alarm=want.alarm,
    )
    return Transition(building, reason, Event.BUILD_STARTED, (action,), figures)

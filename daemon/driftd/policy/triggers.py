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
from driftd.policy.build_start import start
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
    is_refresh,
    with_refresh,
)
from driftd.policy.trigger_states import due_by_count, due_change, without_reverted_change
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
    Transition,
    Trigger,
)
from driftd.sentences import alarms as sentences

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
    if alarm.kind in LEVELS:
        state = open_alarm(state, alarm, finding.number, now)
    wanting, consequence = _consequence(state, finding, settings, override, now)
    parts = sentences.alarm_parts(alarm, consequence)
    figures = DecisionFigures(
        alarm=finding.number, kind=alarm.kind, evidence=alarm.evidence, threshold=alarm.threshold, parts=parts
    )
    actions = (report,) if settings.has_rows else ()
    return Transition(wanting, parts.text, Event.ALARM, actions, figures)


def _consequence(
    state: ModelState, finding: AlarmRaised, settings: PolicySettings, override: Override, now: float
) -> tuple[ModelState, str]:
    alarm = finding.alarm
    trigger = TRIGGER_OF_KIND.get(alarm.kind)
    if trigger is None:
        return state, sentences.never_builds()
    if trigger not in settings.retrain_on:
        return state, sentences.informs_only(state.model, trigger, can_train=settings.can_train)
    want = (
        request_for_alarm(state, settings, override, now)
        if alarm.kind in LEVELS
        else _request_for_drift(state, finding, settings, now)
    )
    if want is None:
        return state, _standing_consequence(state)
    return replace(state, want=want), _describe_request(state, want, settings)


def _describe_request(state: ModelState, want: BuildRequest, settings: PolicySettings) -> str:
    """What happens next for an alarm that requests a build."""
    if not settings.can_train:
        return sentences.asks_for_version()
    if state.phase is Phase.PROBATION and not (state.probation is not None and state.probation.until_refresh):
        return sentences.builds_after_probation()
    if is_refresh(want, settings):
        return sentences.refreshes_next()
    return sentences.builds_with_labels(want.labels_needed) if want.labels_needed else sentences.builds_next()


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
        return sentences.is_building(state.build.number)
    return sentences.is_acknowledged() if state.want is None else sentences.is_requested(format_time(state.want.since))


def consider_build(
    state: ModelState, facts: Facts, settings: PolicySettings, override: Override, now: float
) -> Transition:
    """Start the requested build, or record what it waits for."""
    state = state if state.spec is not None else replace(state, spec=facts.champion_spec or facts.spec)
    urgent = request_for_alarm(state, settings, override, now)
    if urgent is not None:
        return request_again(state, urgent)
    state = with_refresh(state, facts, settings)
    state = without_reverted_change(state, facts, settings, now)
    follow_up = state.want if state.want is not None and state.want.is_follow_up else None
    if state.want is None or follow_up is not None:
        changed = due_change(state, facts, settings, now)  # before a refresh, which is judged by what older code built
        if changed is not None:  # it is built from the rows since the change, too; another follow-up may come after it
            return _request(state, replace(changed, change_at=None if follow_up is None else follow_up.change_at))
    if state.want is None:
        refreshed = consider_refresh(state, facts, settings, override, now)
        return refreshed or _request_without_alarm(state, facts, settings, override, now)
    obstacle = find_obstacle(state, state.want, facts, settings, override, now)
    if obstacle is not None:
        return Transition(
            replace(state, waits=obstacle), f"a build is requested ({state.want.reason}) and waits: {obstacle}"
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
    """Request a build by the schedule or by new labels."""
    want = due_by_count(facts, settings, now)
    if facts.schedule_due:
        state = replace(state, last_schedule=now)
    if want is None:
        standing = _standing(state, settings, override, now)
        waits = describe_wait(state, facts, settings, standing)
        waited_for = None if standing is None else waits  # without an alarm nobody waits for a refresh
        return Transition(replace(state, waits=waited_for), waits or "nothing to do")
    return _request(state, want)


def _request(state: ModelState, want: BuildRequest) -> Transition:
    figures = DecisionFigures(trigger=want.trigger)
    return Transition(replace(state, want=want), want.reason, Event.BUILD_WANTED, figures=figures)


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


def request_build(state: ModelState, reason: str, who: str, now: float, snapshot: str | None = None) -> Transition:
    """Request a build for a person, from a snapshot that they name or from the newest rows.

    It ignores the cool-down, the budget and the labels needed.
    """
    wanted = replace(state, want=BuildRequest(Trigger.MANUAL, reason, now, who=who, snapshot=snapshot))
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

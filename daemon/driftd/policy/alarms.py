"""Alarms of performance as levels: what they request, when they clear, who acknowledges them, when a person is told.

While such an alarm stands, a build is requested or under way for it, or a person is told that nothing can be done.
Only three things end it: its evidence falls, another version serves, or (for a while) a person acknowledges it.
"""

from __future__ import annotations

from dataclasses import replace

from driftd.formatting import format_duration, format_time
from driftd.policy.inputs import DAY, AlarmCleared, AlarmStanding, OperatorRequest, Override, PolicySettings
from driftd.policy.refresh import is_refresh, was_hurried, without_extra
from driftd.records import (
    Acknowledgement,
    Alarm,
    Build,
    BuildRequest,
    BuildStep,
    DecisionFigures,
    Event,
    ModelState,
    OpenAlarm,
    Phase,
    Transition,
    Trigger,
)
from driftd.sentences.alarms import kind_name

LEVELS = {"performance": Trigger.PERFORMANCE, "harm": Trigger.HARM}  # kinds that stand as levels, the most urgent first
RAREST_REPORT = 7 * DAY  # a person is told again after 1, 2, 4, 7, 7 ... days


def open_alarm(state: ModelState, alarm: Alarm, number: int, now: float) -> ModelState:
    """The state with this alarm standing; it replaces an earlier one of its kind."""
    fresh = OpenAlarm(number, alarm.kind, alarm.sentence, now, alarm.change_start)
    return _with_alarms(state, [*(known for known in state.open_alarms if known.kind != alarm.kind), fresh])


def keep_open(state: ModelState, finding: AlarmStanding, now: float) -> Transition:
    """Know of an alarm that stands, whatever became of the finding that raised it."""
    if any(known.kind == finding.alarm.kind for known in state.open_alarms):
        return Transition(state, f"{kind_name(finding.alarm.kind)} alarm {finding.number} stands")
    return Transition(
        open_alarm(state, finding.alarm, finding.number, now), f"alarm {finding.number} is found standing"
    )


def clear_alarm(state: ModelState, finding: AlarmCleared) -> Transition:
    """End an alarm because its evidence fell, with the request that it made."""
    cleared = next((known for known in state.open_alarms if known.kind == finding.kind), None)
    if cleared is None:
        return Transition(state, f"no {kind_name(finding.kind)} alarm stands")
    after = _with_alarms(state, [known for known in state.open_alarms if known is not cleared])
    after = without_extra(after, frozenset({cleared.number}))
    reason = f"{_name(cleared)} is cleared: {finding.sentence.rstrip('.')}"
    want = pending_request(state)
    if want is not None and want.alarm == cleared.number:
        after, reason = replace(after, want=None, waits=None), f"{reason}; the build that it requested is not needed"
    if state.build is not None and state.build.alarm == cleared.number:
        reason = f"{reason}; build {state.build.number} continues, and its gate decides"
    return Transition(after, reason, Event.ALARM_CLEARED, (), _figures(cleared))


def pending_request(state: ModelState) -> BuildRequest | None:
    """The request that no build was started for yet; None where `want` is that of the build under way."""
    want, build = state.want, state.build
    if want is None or build is None:
        return want
    own = want.since <= build.started_at if build.requested_at is None else want.since == build.requested_at
    return None if own else want


def open_numbers(state: ModelState) -> frozenset[int]:
    """The ids of the alarms that stand."""
    return frozenset(alarm.number for alarm in state.open_alarms)


def actionable(state: ModelState, settings: PolicySettings, override: Override, now: float) -> list[OpenAlarm]:
    """The standing alarms for which builds are to start, the most urgent first."""
    return [
        alarm
        for alarm in state.open_alarms
        if LEVELS[alarm.kind] in settings.retrain_on and not is_acknowledged(alarm, override, now)
    ]


def is_acknowledged(alarm: OpenAlarm, override: Override, now: float) -> bool:
    """Whether a person knows of an alarm and wants nothing done about it now."""
    by_request = alarm.acknowledged is not None and now < alarm.acknowledged.until
    return by_request or alarm.number in override.acknowledge


def request_for_alarm(
    state: ModelState, settings: PolicySettings, override: Override, now: float
) -> BuildRequest | None:
    """The request that the most urgent standing alarm makes; None where a build is requested or under way.

    Where refreshes are on, an alarm of performance brings one forward once; the others are due by themselves.

    A build that only collects rows gives way, unless this alarm caused it. A request of a person, of the schedule or of
    new labels serves the alarm too; one that repeats an earlier build gives way.
    """
    if state.build is not None and state.build.step is not BuildStep.COLLECT:
        return None
    standing = actionable(state, settings, override, now)
    if settings.refresh is not None:
        standing = [alarm for alarm in standing if alarm.kind != "performance" or not was_hurried(state, alarm)]
    alarm = next(iter(standing), None)
    if alarm is None or (state.build is not None and _is_caused_by(state.build, alarm)):
        return None
    want = pending_request(state)
    if want is not None and (want.alarm == alarm.number or not _gives_way(want)):
        return None
    want = BuildRequest(LEVELS[alarm.kind], alarm.sentence, now, change_at=alarm.change_at, alarm=alarm.number)
    return want if is_refresh(want, settings) else replace(want, labels_needed=settings.min_labels)


def _is_caused_by(build: Build, alarm: OpenAlarm) -> bool:
    if build.alarm is None:  # of an earlier driftd, or of no alarm
        return build.trigger is LEVELS[alarm.kind] and build.started_at >= alarm.since
    return build.alarm == alarm.number


def _gives_way(want: BuildRequest) -> bool:
    return want.is_follow_up or want.alarm is not None or want.trigger is Trigger.DATA_DRIFT


def without_acknowledged(state: ModelState, override: Override, now: float) -> ModelState:
    """The state without the requests and the reports of alarms that are acknowledged."""
    known = {alarm.number for alarm in state.open_alarms if is_acknowledged(alarm, override, now)}
    if not known:
        return state
    want = pending_request(state)
    if want is not None and want.alarm in known:
        state = replace(state, want=None, waits=None)
    state = without_extra(state, frozenset(known))
    alarms = [
        replace(alarm, reported_at=None, reports=0) if alarm.number in known else alarm for alarm in state.open_alarms
    ]
    return _with_alarms(state, alarms)


def acknowledge(state: ModelState, finding: OperatorRequest, now: float) -> Transition:
    """Do nothing about standing alarms until a time, because a person says so."""
    chosen = [alarm for alarm in state.open_alarms if finding.alarm in (None, alarm.number)]
    if not chosen:
        named = "no alarm of performance" if finding.alarm is None else f"alarm {finding.alarm} is none that"
        others = ", ".join(str(alarm.number) for alarm in state.open_alarms) or "none"
        return Transition(state, f"{named} stands (standing: {others})", Event.REQUEST_REFUSED)
    if finding.until is None or finding.until <= now:
        return Transition(state, "an acknowledgement needs a time in the future (--until)", Event.REQUEST_REFUSED)
    said = Acknowledgement(finding.who, finding.text, finding.until)
    alarms = [replace(alarm, acknowledged=said) if alarm in chosen else alarm for alarm in state.open_alarms]
    after = without_acknowledged(_with_alarms(state, alarms), Override(), now)
    numbers = ", ".join(str(alarm.number) for alarm in chosen)
    reason = f"{finding.who} acknowledges alarm {numbers} until {format_time(finding.until)}: {finding.text}"
    return Transition(
        after,
        f"{reason}; no build is requested for it until then",
        Event.ALARM_ACKNOWLEDGED,
        (),
        DecisionFigures(alarm=chosen[0].number, kind=chosen[0].kind, who=finding.who),
    )


def reset_evidence(state: ModelState, finding: OperatorRequest, now: float) -> Transition:
    """Begin the evidence anew because a person says so; its alarms end, with the requests that they made.

    A fault that blocks builds is no evidence: the next window, or cohort of labels, decides on it as ever.
    """
    if state.champion is None:
        return Transition(state, "no version serves, so there is no evidence to reset", Event.REQUEST_REFUSED)
    if not finding.text.strip():
        return Transition(state, "resetting the evidence needs a reason (--why)", Event.REQUEST_REFUSED)
    numbers = open_numbers(state)
    after = without_extra(_with_alarms(state, []), numbers)
    reason = f"{finding.who} resets the evidence against version {state.champion}: {finding.text}"
    if numbers:
        reason = f"{reason}; alarm {', '.join(map(str, sorted(numbers)))} is put aside with it"
    want = pending_request(state)
    if want is not None and want.alarm in numbers:
        after, reason = replace(after, want=None, waits=None), f"{reason}; the build that it requested is not needed"
    after = replace(after, evidence_since=now)
    figures = DecisionFigures(version=state.champion, who=finding.who)
    return Transition(after, reason, Event.EVIDENCE_RESET, (), figures)


def report_unattended(transition: Transition, settings: PolicySettings, override: Override, now: float) -> Transition:
    """Tell a person, where nothing was decided now, that an alarm has stood for long and no build is under way for it.

    A build at work and a challenger that waits for approval are attention enough. Told again after 1, 2, 4, 7 days.
    """
    state = transition.state
    if transition.event is not None or transition.actions or _is_attended(state, override):
        return transition
    alarm = next(
        (alarm for alarm in actionable(state, settings, override, now) if now >= _due(state, alarm, settings)), None
    )
    if alarm is None:
        return transition
    is_watched_on = state.probation is not None and state.probation.until_refresh
    waits = state.waits if is_watched_on or state.phase in (Phase.STEADY, Phase.RETRAINING) else None
    reported = replace(alarm, reported_at=now, reports=alarm.reports + 1)
    after = _with_alarms(state, [reported if known is alarm else known for known in state.open_alarms])
    reason = (
        f"{_name(alarm)} has stood for {format_duration(now - alarm.since)} and no build is under "
        f"way for it: {waits or transition.reason}; {alarm.sentence}"
    )
    return Transition(after, reason, Event.ALARM_UNATTENDED, (), _figures(alarm))


def _name(alarm: OpenAlarm) -> str:
    """What an alarm is called in a sentence: its kind and its number."""
    return f"{kind_name(alarm.kind)} alarm {alarm.number}"


def _is_attended(state: ModelState, override: Override) -> bool:
    is_held = override.pause_of("retraining") is not None and state.phase is Phase.RETRAINING
    return state.is_attended and (not is_held or (state.build is not None and state.build.step is BuildStep.SWAP))


def _due(state: ModelState, alarm: OpenAlarm, settings: PolicySettings) -> float:
    """When a person is told; while the alarm's own build collects the days that any gate needs, not yet."""
    if alarm.reported_at is None:
        build = state.build
        collects = build is not None and build.step is BuildStep.COLLECT and _is_caused_by(build, alarm)
        enough = build.started_at + settings.judged_after if build is not None and collects else 0.0
        return max(alarm.since + settings.attend_within, enough)
    return alarm.reported_at + min(RAREST_REPORT, DAY * 2.0 ** (alarm.reports - 1))


def _with_alarms(state: ModelState, alarms: list[OpenAlarm]) -> ModelState:
    order = list(LEVELS)
    return replace(state, open_alarms=tuple(sorted(alarms, key=lambda alarm: order.index(alarm.kind))))


def _figures(alarm: OpenAlarm) -> DecisionFigures:
    return DecisionFigures(alarm=alarm.number, kind=alarm.kind)

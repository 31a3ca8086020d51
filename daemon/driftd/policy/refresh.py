"""Refreshes: when a fresh version is to be built from all rows, and how that begins.

Detection and renewal are two things: a refresh is due when labelled rows have grown, whatever the alarms say; an alarm
of performance brings it forward, and two more follow while its rows come in (STATISTICS 12.1).
"""

from __future__ import annotations

import math
from dataclasses import replace

from driftd.policy.inputs import Facts, PolicySettings, RefreshSettings
from driftd.records import (
    Action,
    ActionKind,
    Build,
    BuildRequest,
    BuildStep,
    ModelState,
    OpenAlarm,
    RefreshArguments,
    RefreshResult,
    RefreshState,
    Trigger,
)


def is_refresh(want: BuildRequest, settings: PolicySettings) -> bool:
    """Whether a request is met by a refresh: its own, and that of an alarm of performance."""
    return settings.refresh is not None and want.trigger in (Trigger.REFRESH, Trigger.PERFORMANCE)


def with_refresh(state: ModelState, facts: Facts, settings: PolicySettings) -> ModelState:
    """The state with what the first refresh counts from: the champion, as it was built."""
    if settings.refresh is None or state.refresh is not None or facts.first_refresh is None:
        return state
    return replace(state, refresh=facts.first_refresh)


def was_hurried(state: ModelState, alarm: OpenAlarm) -> bool:
    """Whether an alarm brought a refresh forward already; the next ones follow by `due_request`."""
    return state.refresh is not None and state.refresh.alarm == alarm.number


def due_request(
    state: ModelState, facts: Facts, settings: PolicySettings, standing: OpenAlarm | None, now: float
) -> BuildRequest | None:
    """The refresh that is due now; None where none is.

    `standing` is an alarm of performance that something is to be done about: while it stands, rows need not grow.
    """
    rules, refresh = settings.refresh, state.refresh
    if rules is None or refresh is None:
        return None
    fresh = f"{facts.fresh_labels} labelled rows came since the last refresh"
    if refresh.extra and facts.window >= refresh.extra[0]:
        reason = f"{fresh}, which alarm {refresh.alarm} brought forward"
        return BuildRequest(Trigger.PERFORMANCE, reason, now, change_at=refresh.change_at, alarm=refresh.alarm)
    wanted = _rows_wanted(rules, refresh, standing)
    if _windows_passed(facts, rules, refresh) < rules.every or facts.fresh_labels < wanted:
        return None
    if standing is not None:
        reason = f"{fresh}, and alarm {standing.number} still stands: {standing.sentence.rstrip('.')}"
        return BuildRequest(Trigger.PERFORMANCE, reason, now, change_at=standing.change_at, alarm=standing.number)
    grown = f"{fresh}; it weighed {refresh.effective:.0f}, and from {wanted} on one is due"
    return BuildRequest(Trigger.REFRESH, grown, now, change_at=refresh.change_at)


def _windows_passed(facts: Facts, rules: RefreshSettings, refresh: RefreshState) -> int:
    """The windows since the last refresh; enough of them, where that one's is yet to come: the clock was ahead then."""
    return rules.every if refresh.window > facts.window + 1 else facts.window - refresh.window


def _rows_wanted(rules: RefreshSettings, refresh: RefreshState, standing: OpenAlarm | None) -> int:
    grown = 0.0 if standing is not None else rules.growth * refresh.effective
    return max(math.ceil(grown), rules.fewest)


def describe_wait(state: ModelState, facts: Facts, settings: PolicySettings, standing: OpenAlarm | None) -> str | None:
    """What the next refresh waits for, in one clause; None where there is none."""
    rules, refresh = settings.refresh, state.refresh
    if rules is None or refresh is None:
        return None
    wanted, passed = _rows_wanted(rules, refresh, standing), _windows_passed(facts, rules, refresh)
    lacking = [f"{passed} of {rules.every} windows"] if passed < rules.every else []
    lacking += [f"{facts.fresh_labels} of {wanted} new labelled rows"] if facts.fresh_labels < wanted else []
    return f"the next refresh waits for {' and '.join(lacking)}" if lacking else "a refresh is due"


def find_refresh_obstacle(state: ModelState, facts: Facts) -> str | None:
    """Why no refresh may start now, beside what holds up every build."""
    if state.pinned is not None:
        return f"the override pins version {state.pinned}"
    if ActionKind.SHADOW in facts.working:
        return "the version that serves is being compared with the one before"
    return None


def refresh_action(state: ModelState, build: Build) -> Action:
    """Have the version of a build made and judged, in one job."""
    assert state.champion is not None  # a model without a version is not under watch
    return Action(
        RefreshArguments(
            version=build.number,
            champion=state.champion,
            served=state.served,
            recipe=None if state.refresh is None else state.refresh.recipe,
            trigger=build.trigger,
            reason=build.reason,
            change_at=build.change_at,
            snapshot=build.snapshot,
            rows_until=build.rows_until,
        )
    )


def first_step(want: BuildRequest, settings: PolicySettings) -> BuildStep:
    """The step that a build for a request begins with."""
    if is_refresh(want, settings):
        return BuildStep.SNAPSHOT if settings.has_checks else BuildStep.REFRESH
    if want.snapshot is None:
        return BuildStep.SNAPSHOT
    return BuildStep.CHECK_DATA if settings.has_checks else BuildStep.TRAIN


def after_refresh(
    state: ModelState, build: Build, result: RefreshResult, facts: Facts, settings: PolicySettings
) -> RefreshState:
    """What the next refresh needs to know of this one."""
    before, rules = state.refresh, settings.refresh or RefreshSettings()
    extra = () if before is None else tuple(window for window in before.extra if window > facts.window)
    alarm = None if before is None else before.alarm
    if build.alarm is not None and build.alarm != alarm:
        alarm, extra = build.alarm, tuple(facts.window + later for later in rules.after_alarm)
    known = None if before is None else before.change_at
    return RefreshState(
        window=facts.window,
        effective=result.effective,
        mature_until=result.mature_until,
        recipe=result.recipe,
        alarm=alarm,
        extra=extra,
        change_at=known if build.change_at is None else build.change_at,
    )


def without_extra(state: ModelState, alarms: frozenset[int]) -> ModelState:
    """The state without the further refreshes that one of some alarms brought forward."""
    if state.refresh is None or state.refresh.alarm not in alarms or not state.refresh.extra:
        return state
    return replace(state, refresh=replace(state.refresh, extra=()))

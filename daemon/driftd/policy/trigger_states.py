"""How far each trigger is: fired or not, in one sentence. What the daemon decides by, and what `driftd plan` shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from driftd.formatting import format_time
from driftd.policy.inputs import Facts, PolicySettings
from driftd.policy.refresh import describe_wait, due_request
from driftd.records import BuildRequest, BuildSpec, ModelState, OpenAlarm, Trigger

CHANGES = (Trigger.CODE_CHANGED, Trigger.PARAMETERS_CHANGED)


@dataclass(frozen=True, slots=True)
class TriggerState:
    """One trigger at a moment."""

    trigger: Trigger
    is_on: bool  # `retrain.on` names it
    has_fired: bool
    sentence: str  # how far it is, or why it fired


def trigger_states(
    state: ModelState, facts: Facts, settings: PolicySettings, standing: tuple[OpenAlarm, ...], now: float
) -> tuple[TriggerState, ...]:
    """Every trigger but a person, as far as state and facts say. Pure.

    `standing` are the alarms that something is to be done about.
    """
    by_kind = {alarm.kind: alarm for alarm in standing}
    return (
        _alarm_state(Trigger.PERFORMANCE, by_kind.get("performance"), state, settings),
        _refresh_state(state, facts, settings, by_kind.get("performance"), now),
        _alarm_state(Trigger.HARM, by_kind.get("harm"), state, settings),
        _alarm_state(Trigger.DATA_DRIFT, None, state, settings),
        schedule_state(facts, settings),
        labels_state(facts, settings),
        code_state(state, facts, settings),
        parameters_state(state, facts, settings),
    )


def due_change(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> BuildRequest | None:
    """The build for changed code or parameters; None where nothing changed that is a trigger."""
    states = (code_state(state, facts, settings), parameters_state(state, facts, settings))
    return _first_request(states, now)


def without_reverted_change(state: ModelState, facts: Facts, settings: PolicySettings, now: float) -> ModelState:
    """The state without the request for a change that was taken back before its build began."""
    want = state.want
    if want is None or want.failures or want.trigger not in CHANGES or facts.spec is None:
        return state
    if due_change(state, facts, settings, now) is not None:
        return state
    return replace(state, want=None, waits=None)


def due_by_count(facts: Facts, settings: PolicySettings, now: float) -> BuildRequest | None:
    """The build that the schedule or new labels ask for; None where neither is due."""
    return _first_request((schedule_state(facts, settings), labels_state(facts, settings)), now)


def _first_request(states: tuple[TriggerState, ...], now: float) -> BuildRequest | None:
    fired = (BuildRequest(found.trigger, found.sentence, now) for found in states if found.is_on and found.has_fired)
    return next(fired, None)


def last_spec(state: ModelState, facts: Facts) -> BuildSpec | None:
    """What the newest build was made by: as the state has it, else the lineage of the champion."""
    return state.spec if state.spec is not None else facts.champion_spec


def code_state(state: ModelState, facts: Facts, settings: PolicySettings) -> TriggerState:
    """Whether the trainer's source or its lock file is another than at the last build. A commit alone is none."""
    before, spec, is_on = last_spec(state, facts), facts.spec, Trigger.CODE_CHANGED in settings.retrain_on
    if spec is None or before is None or (spec.source, spec.lock) == (before.source, before.lock):
        unknown = "the trainer's source is not known yet" if spec is None else "as it was at the last build"
        return TriggerState(Trigger.CODE_CHANGED, is_on, False, facts.spec_wait or unknown)  # noqa: FBT003 - has_fired
    parts = [
        f"the {name} changed since the last build ({(was or 'none')[:12]} -> {(is_now or 'none')[:12]})"
        for name, was, is_now in (
            ("trainer's source", before.source, spec.source),
            ("lock file", before.lock, spec.lock),
        )
        if was != is_now
    ]
    return TriggerState(Trigger.CODE_CHANGED, is_on, True, "; ".join(parts))  # noqa: FBT003 - has_fired


def parameters_state(state: ModelState, facts: Facts, settings: PolicySettings) -> TriggerState:
    """Whether the config has a build go by other settings than the last one went by."""
    before, spec, is_on = last_spec(state, facts), facts.spec, Trigger.PARAMETERS_CHANGED in settings.retrain_on
    changed = spec is not None and before is not None and spec.settings != before.settings
    sentence = "the settings of training in the config changed since the last build"
    calm = facts.spec_wait or "as they were at the last build"
    return TriggerState(Trigger.PARAMETERS_CHANGED, is_on, changed, sentence if changed else calm)


def schedule_state(facts: Facts, settings: PolicySettings) -> TriggerState:
    """Whether the schedule is due."""
    later = "no schedule" if facts.next_schedule is None else f"next at {format_time(facts.next_schedule)}"
    sentence = "the schedule is due" if facts.schedule_due else later
    return TriggerState(Trigger.SCHEDULE, Trigger.SCHEDULE in settings.retrain_on, facts.schedule_due, sentence)


def labels_state(facts: Facts, settings: PolicySettings) -> TriggerState:
    """Whether enough labels came since the last build."""
    count, needed, is_on = facts.labels_since_build, settings.new_labels, Trigger.NEW_LABELS in settings.retrain_on
    came = f"{count} labels came since the last build (new_labels: {needed})"
    far = f"{count:,} of {needed:,} new labels since the last build"
    return TriggerState(Trigger.NEW_LABELS, is_on, count >= needed, came if count >= needed else far)


def _alarm_state(
    trigger: Trigger, standing: OpenAlarm | None, state: ModelState, settings: PolicySettings
) -> TriggerState:
    is_on, want = trigger in settings.retrain_on, state.want
    if standing is not None:
        return TriggerState(trigger, is_on, True, f"alarm {standing.number} stands: {standing.sentence}")  # noqa: FBT003
    if want is not None and want.trigger is trigger:
        return TriggerState(trigger, is_on, True, want.reason)  # noqa: FBT003 - has_fired
    return TriggerState(trigger, is_on, False, "no alarm asks for a build")  # noqa: FBT003 - has_fired


def _refresh_state(
    state: ModelState, facts: Facts, settings: PolicySettings, standing: OpenAlarm | None, now: float
) -> TriggerState:
    due = due_request(state, facts, settings, standing, now)
    if due is not None:
        return TriggerState(Trigger.REFRESH, True, True, due.reason)  # noqa: FBT003 - is_on, has_fired
    waits = describe_wait(state, facts, settings, standing) or "no refresh was considered yet"
    is_on = settings.refresh is not None
    return TriggerState(Trigger.REFRESH, is_on, False, waits if is_on else "refreshes are off")  # noqa: FBT003

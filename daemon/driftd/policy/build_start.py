"""How a build begins: what is remembered of it, and its first action."""

from __future__ import annotations

from dataclasses import replace

from driftd.policy.alarms import (
    pending_request,
)
from driftd.policy.inputs import (
    Facts,
    PolicySettings,
)
from driftd.policy.refresh import (
    first_step,
    is_refresh,
    refresh_action,
)
from driftd.records import (
    Action,
    Build,
    BuildRequest,
    BuildStep,
    CheckDataArguments,
    DecisionFigures,
    Event,
    ModelState,
    Phase,
    SnapshotArguments,
    TrainArguments,
    Transition,
)
from driftd.sentences import alarms as sentences


def start(state: ModelState, want: BuildRequest, facts: Facts, settings: PolicySettings, now: float) -> Transition:
    """Begin a build with its snapshot, or with training where a person named the snapshot."""
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
        snapshot=want.snapshot,
        requested_by=want.who,
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
        failed=None,
        waits=None,
        build_starts=(*recent, now),
        spec=state.spec if want.submission is not None else facts.spec or state.spec,  # the trainer made no submission
    )
    action = _first_action(state, build)
    reason = f"building version {build.number} because of {sentences.TRIGGERS[want.trigger]}: {want.reason.rstrip('.')}"
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


def _first_action(state: ModelState, build: Build) -> Action:
    if build.step is BuildStep.REFRESH:
        return refresh_action(state, build)
    if build.snapshot is None:
        return Action(SnapshotArguments(build.number, build.change_at, for_refresh=build.is_refresh))
    if build.step is BuildStep.CHECK_DATA:
        return Action(CheckDataArguments(version=build.number, snapshot=build.snapshot))
    return train_action(state, build, build.snapshot)


def train_action(state: ModelState, build: Build, snapshot: str) -> Action:
    """Have the version of a build made from a snapshot."""
    return Action(
        TrainArguments(
            version=build.number,
            snapshot=snapshot,
            trigger=build.trigger,
            reason=build.reason,
            change_at=build.change_at,
            parent=state.champion,
            submission=build.submission,
            trained_until=build.trained_until,
        )
    )

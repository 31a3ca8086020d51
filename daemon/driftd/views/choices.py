"""What a person may ask of a model as it stands now: the page offers this and nothing else."""

from __future__ import annotations

import msgspec

from driftd.records import ModelState, Phase
from driftd.registry import ManifestError, Registry
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm

MOST_ALARMS = 20


class StandingAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that stands against the served version."""

    id: int
    kind: str
    subject: str
    leader: str  # the column or segment that most of the evidence comes from
    at: float  # when its window ended, epoch seconds; of windows of rows when it was raised
    sentence: str
    opens_builds: bool  # of performance or harm: it may be acknowledged
    acknowledged_until: float | None = None


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What may be asked of one model."""

    awaits_approval: int | None  # the version that waits
    hand_over: int | None  # the version that another system is to confirm
    previous: int | None  # where a rollback goes unless another version is named
    alarms: tuple[StandingAlarm, ...]
    can_train: bool = True  # False without a trainer: a new version can only be asked for


def choices_of(reader: StateReader, state: ModelState, *, by_time: bool, can_train: bool = True) -> Choices:
    """What may be asked of a model in this state; `by_time` is False for windows of rows."""
    build, hand_over = state.build, state.hand_over
    waits = state.phase is Phase.AWAITING_APPROVAL and build is not None
    raised = reader.standing_alarms(state.model, state.champion)[:MOST_ALARMS]
    return Choices(
        awaits_approval=build.candidate if waits and build is not None else None,
        hand_over=None if hand_over is None else hand_over.version,
        previous=state.previous,
        alarms=tuple(_standing_alarm(state, alarm, by_time=by_time) for alarm in raised),
        can_train=can_train,
    )


def happened_at(alarm: StoredAlarm, *, by_time: bool) -> float:
    """When what an alarm tells of happened: the end of its window, whenever that was looked at (a replay, an outage).

    Windows of rows have positions in place of times: of those it is when the alarm was raised.
    """
    return alarm.window_end if by_time else alarm.at


def feature_names(registry: Registry, model: str, version: int | None) -> tuple[str, ...]:
    """The features that may be silenced; none where the manifest cannot be read."""
    try:
        return () if version is None else tuple(registry.manifest(model, version).schema.names)
    except ManifestError:
        return ()


def _standing_alarm(state: ModelState, alarm: StoredAlarm, *, by_time: bool) -> StandingAlarm:
    kept = next((opened for opened in state.open_alarms if opened.number == alarm.id), None)
    said = None if kept is None else kept.acknowledged
    return StandingAlarm(
        id=alarm.id,
        kind=alarm.kind,
        subject=alarm.subject,
        leader=alarm.leaders[0][0] if alarm.leaders else alarm.subject,
        at=happened_at(alarm, by_time=by_time),
        sentence=alarm.sentence,
        opens_builds=kept is not None,
        acknowledged_until=None if said is None else said.until,
    )

"""What a policy may remember, in one form for all states that are alike but for names and far times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from driftd.policy import (
    Finding,
    Override,
    PolicySettings,
    RefreshSettings,
    pending_request,
)
from driftd.records import (
    Action,
    Alarm,
    Build,
    BuildStep,
    HandOver,
    ModelState,
    OpenAlarm,
    Phase,
    RefreshState,
    RegistryState,
    Trigger,
)

Record = TypeVar("Record")


def replace(record: Record, **changes: Any) -> Record:
    """As `dataclasses.replace`, a few times faster: half of the time of the graph of policy went there."""
    read, places = _layout(type(record))
    values = list(read(record))
    for name, value in changes.items():
        values[places[name]] = value
    return type(record)(*values)


@cache
def _layout(kind: Any) -> tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]:
    """What reads all fields of a record, and where each of them stands."""
    names = [field.name for field in fields(kind)]
    assert len(names) > 1, kind  # of a single name the reader gives no tuple
    return attrgetter(*names), {name: place for place, name in enumerate(names)}


DAY, NOW = 86_400.0, 1_800_000_000.0
SPAN = 8 * DAY  # times further away than that are alike
SETTINGS = PolicySettings(
    cooldown=DAY,
    budget_builds=1,
    budget_per=DAY,
    backoff_first=DAY,
    backoff_most=2 * DAY,
    most_failures=2,
    collect_for=60 * DAY,  # never over within the graph: a build may collect rows for ever
    approval="manual",
    probation_span=DAY,
    attend_within=2 * DAY,
    judged_after=2 * DAY,
)
STAGED = replace(SETTINGS, has_checks=True, has_tests=True, review_people=2, review_expires=3 * DAY)
WINDOW = 100  # that is open: a window is a day
REFRESHING = replace(SETTINGS, retrain_on=SETTINGS.retrain_on | {Trigger.REFRESH}, refresh=RefreshSettings())
FIRST = RefreshState(WINDOW, 1000.0, NOW)
ALARM = Alarm("performance", "mae", 2000.0, 1000.0, "mae rose", change_start=NOW)
PAUSED = Override("INC-1", pause=frozenset({"retraining"}))
LOGGED: frozenset[int] = frozenset()  # versions of which there are only logged predictions
MANY = 1_000_000  # labels
PEOPLE = ("retrain", "approve", "reject", "rollback", "acknowledge")
REPORTS = (SETTINGS.attend_within, DAY, 2 * DAY, 4 * DAY, 7 * DAY)  # after how long a person is told, and told again
AT_WORK = tuple(step for step in BuildStep if step is not BuildStep.COLLECT)


@dataclass(frozen=True)
class World:
    """What policy remembers at `NOW`, the actions under way, and what is true whatever policy thinks."""

    state: ModelState
    actions: tuple[Action, ...] = ()
    stands: bool = False  # the evidence of performance is over its threshold
    quiet: float = 0.0  # seconds since the alarm was raised, acted on or told of
    times_told: int = 0  # how often a person was told that nothing is done
    passed: bool = False  # the challenger won its gate, or a refresh chose it
    tested: bool = False  # it passed the tests of the user
    settings: PolicySettings = SETTINGS
    named: int | None = None  # what driftd last had the alias of a registry name, whatever it heard of that
    has_orders: bool = False  # whether people also pause the model and let it go on

    @property
    def versions(self) -> frozenset[int]:
        is_made = self.state.build is not None or self.state.failed is not None
        return frozenset({1, 2} | ({3} if is_made else set()))


Step = tuple[str, Finding, bool, bool]  # name, finding, whether labels are there, whether retraining is paused


def is_attended(world: World) -> bool:
    state = world.state
    if any(order.stands(NOW) for order in state.orders):
        return True  # a person holds it, and knows until when
    if any(alarm.acknowledged is not None and alarm.acknowledged.until > NOW for alarm in state.open_alarms):
        return True
    at_work = state.phase is Phase.RETRAINING and state.build is not None and state.build.step in AT_WORK
    return at_work or state.phase is Phase.AWAITING_APPROVAL or not world.stands


def limit(world: World) -> float:
    return REPORTS[min(world.times_told, len(REPORTS) - 1)]


def later(world: World) -> World:
    """A day later: every time moves a day back."""
    state = msgspec.convert(_shifted(msgspec.to_builtins(world.state), DAY), ModelState)
    if state.probation is not None:  # a day later another window is open
        state = replace(state, probation=replace(state.probation, window=-1))
    if state.refresh is not None:
        refresh = state.refresh
        extra = tuple(max(window - 1, WINDOW) for window in refresh.extra)
        state = replace(state, refresh=replace(refresh, window=max(refresh.window - 1, WINDOW - 8), extra=extra))
    return replace(world, state=state, quiet=world.quiet + DAY if world.stands else 0.0)


TIMES = {"retry_at", "since", "started_at", "requested_at", "reported_at", "until", "looked_at"}
TIMES |= {"cooldown_until", "backoff_until", "change_at", "review_since", "review_until", "rows_until"}


def _shifted(value: object, by: float) -> object:
    """Times moved back by so much, within `SPAN` of now; 0 stays "never"."""
    if isinstance(value, dict):
        return {
            name: _near(float(item) - by) if name in TIMES and item else _shifted(item, by)
            for name, item in value.items()
            if name != "build_starts"
        } | ({"build_starts": [_near(at - by) for at in value["build_starts"]]} if "build_starts" in value else {})
    return [_shifted(item, by) for item in value] if isinstance(value, list | tuple) else value


def _near(at: float) -> float:
    return min(max(at, NOW - SPAN), NOW + SPAN)


def canonical(world: World) -> World:
    """The same world with the names of versions and alarms, texts and counts that decide nothing made alike."""
    state = world.state
    made = state.build or state.failed
    number = None if made is None else made.number
    names = {1: 1, state.champion: 2, number: 3, None: None}
    names |= {} if state.previous is None or state.previous == number else {state.previous: 1}
    alarms = {alarm.number: 1 for alarm in state.open_alarms} | {None: None}
    build, want, probation = state.build, state.want, state.probation
    is_own = pending_request(state) is None
    failed = state.failed
    if failed is not None:  # its request may be the one that is tried again
        is_wanted = want is not None and want.since == failed.requested_at
        failed = replace(_with_plain_names(failed, names, alarms), requested_at=NOW if is_wanted else NOW - 1)
    build = None if build is None else _with_plain_names(build, names, alarms)
    if want is not None:
        want = replace(want, reason="", alarm=alarms.get(want.alarm, 9), failures=min(want.failures, 2))
        want = replace(want, since=NOW - 1 if is_own else NOW, change_at=None)
        want = replace(want, labels_needed=min(want.labels_needed, 600))
    if probation is not None:
        probation = replace(probation, previous=names.get(probation.previous, 9), sentence="", labels=0)
        probation = replace(probation, window=min(probation.window, WINDOW))
        looked_at = probation.looked_at and max(probation.looked_at, NOW - 2 * DAY)
        probation = replace(probation, since=max(probation.since, NOW - 2 * DAY), looked_at=looked_at)
    recent = tuple(at for at in state.build_starts if at > NOW - SETTINGS.budget_per)
    open_alarms = tuple(
        replace(
            _without_lapsed(alarm),
            number=1,
            sentence="",
            reports=min(alarm.reports, 4),
            since=max(alarm.since, NOW - 3 * DAY),
            change_at=None,
        )
        for alarm in state.open_alarms
    )
    orders = tuple(replace(order, until=min(order.until or NOW, NOW + 2 * DAY)) for order in state.orders)
    state = replace(
        state,
        orders=orders,
        champion=2,
        previous=names.get(state.previous, 9),
        build=build,
        failed=failed,
        want=want,
        probation=probation,
        open_alarms=open_alarms,
        failures=min(state.failures, 3),
        build_starts=recent,
        cooldown_until=state.cooldown_until if state.cooldown_until > NOW else 0.0,
        backoff_until=state.backoff_until if state.backoff_until > NOW else 0.0,
        barred=(),
        asked=(),
        blocked=None if state.blocked is None else "gone",
        waits=None if state.waits is None else "waits",
        served_since=0.0,
        hand_over=_without_texts(state.hand_over, names),
        served=(),
        refresh=None if state.refresh is None else _without_names(state.refresh, alarms),
        registry=None if state.registry is None else _with_plain_versions(state.registry, names),
    )
    actions = tuple(_renamed(action, names) for action in world.actions)
    named = names.get(world.named, 9)
    return replace(world, state=state, actions=actions, times_told=min(world.times_told, 4), named=named)


def _with_plain_names(build: Build, names: dict[int | None, int | None], alarms: dict[int | None, int | None]) -> Build:
    judged = None if build.judged_against is None else names.get(build.judged_against, 9)
    since = build.review_since and max(build.review_since, NOW - 4 * DAY)
    return replace(
        build,
        number=3,
        started_at=max(build.started_at, NOW - 4 * DAY),
        change_at=None,
        requested_at=NOW - 1,
        reason="",
        decision="",
        judgements=0,
        judged_against=judged,
        serves=names.get(build.serves, 9),
        alarm=alarms.get(build.alarm, 9),
        judged_labels=min(build.judged_labels, 300),
        rows_until=None,
        review_since=since,
        review_until=None,
        approved_by=tuple(sorted(build.approved_by)),
    )


def _without_texts(hand_over: HandOver | None, names: dict[int | None, int | None]) -> HandOver | None:
    if hand_over is None:
        return None
    version, before = names.get(hand_over.version, 9), names.get(hand_over.from_version, 9)
    assert version is not None
    plain = replace(hand_over, version=version, from_version=before, reason="", error="", delivery="")
    return replace(plain, attempts=min(hand_over.attempts, 2), since=NOW)


def _without_lapsed(alarm: OpenAlarm) -> OpenAlarm:
    lapsed = alarm.acknowledged is not None and alarm.acknowledged.until <= NOW
    return replace(alarm, acknowledged=None) if lapsed else alarm


def _without_names(refresh: RefreshState, alarms: dict[int | None, int | None]) -> RefreshState:
    return replace(refresh, alarm=alarms.get(refresh.alarm, 9), change_at=None, mature_until=NOW, recipe=None)


def _with_plain_versions(registry: RegistryState, names: dict[int | None, int | None]) -> RegistryState:
    moved, known = registry.moved, {names[version] for version in registry.registered if version in names}
    if moved is not None:
        moved = replace(moved, version=names.get(moved.version, 9), since=NOW)
    return replace(
        registry,
        registered=tuple(sorted(version for version in known if version is not None)),
        alias=names.get(registry.alias, 9),
        looked_at=max(registry.looked_at, NOW - 2 * DAY),
        moved=moved,
        failures=min(registry.failures, 2),
        retry_at=registry.retry_at if (registry.retry_at or 0.0) > NOW else None,
        error="",
    )


def _renamed(action: Action, names: dict[int | None, int | None]) -> Action:
    values = msgspec.to_builtins(action.arguments)
    for name in ("version", "candidate", "champion", "parent", "from", "new", "old"):
        if name in values:
            values[name] = names.get(values[name], 9)
    for name in ("reason", "sentence"):
        if name in values:
            values[name] = ""
    if "served" in values:
        values |= {"served": (), "recipe": None}
    for name in ("change_at", "since", "until", "rows_until"):
        if values.get(name):
            values[name] = NOW if name == "since" else None
    if "attempt" in values:
        values["attempt"] = min(values["attempt"], 2)
    return Action(msgspec.convert(values, type(action.arguments)))

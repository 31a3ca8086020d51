"""The inputs of policy: the settings of one model, its override, the findings and the facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from driftd.records import (
    ActionArguments,
    ActionKind,
    ActionResult,
    Alarm,
    BuildSpec,
    Order,
    OrderKind,
    ProbationDecision,
    RefreshState,
    Trigger,
    Window,
)

HOUR = 3600.0
DAY = 24 * HOUR

THE_OVERRIDE = "the override"  # who orders what the config asks for
PIN_AGAIN = "any change of the override, also of its reason, has the pin tried again"


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """When a refresh is due: spans in windows, counts in labelled rows."""

    growth: float = 0.1  # new rows, as a share of those that the last refresh weighed
    fewest: int = 20  # new rows, at least
    every: int = 7  # windows, at least
    after_alarm: tuple[int, ...] = (4, 7)  # windows after the refresh that an alarm brought forward: one more each


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The registry of others in which versions are registered, and whose alias names the one that serves."""

    where: str  # the server, the name and the alias
    look_every: float = HOUR / 4  # seconds between two looks whether somebody moved the alias
    moved: Literal["tell", "restore", "follow"] = "tell"  # what is done about that
    retry_first: float = 60.0  # seconds after a failure; doubles with each
    retry_most: float = HOUR


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Spans in seconds, counts in labelled rows."""

    retrain_on: frozenset[Trigger] = frozenset({Trigger.PERFORMANCE})
    cooldown: float = 6 * HOUR  # no build starts sooner after one ended
    budget_builds: int = 4  # at most so many builds ...
    budget_per: float = DAY  # ... in so long: storm control
    min_labels: int = 300
    new_labels: int = 10_000  # the `new_labels` trigger
    approval: Literal["auto", "manual"] = "auto"
    has_checks: bool = False  # whether the config expects something of the rows of a build
    has_tests: bool = False  # whether there are tests of the user for each version
    review_people: int = 1  # different people whose yes a challenger needs that waits for approval
    review_expires: float | None = None  # seconds after which one that nobody answered about is put aside
    collect_for: float = 60 * DAY  # how long an inconclusive challenger may wait for rows
    probation_span: float = 7 * DAY
    probation_min_labels: int = 300
    backoff_first: float = HOUR / 6  # after a failed build; doubles with each
    backoff_most: float = DAY
    most_failures: int = 5  # then a request is dropped, unless its alarm still stands
    attend_within: float = DAY  # after so long, a person is told of an alarm that nothing is done about
    judged_after: float = 3 * DAY  # a build's later rows cover the days that its gate needs; not told to wait before
    is_external: bool = False  # another system serves: a swap is a hand-over to it
    has_rows: bool = True  # else its source gives counts alone: an alarm has no second opinion
    can_train: bool = True  # else a new version is asked for
    can_tell: bool = False  # `deploy` names a command, a webhook or a registry by which the other system is told
    confirm_within: float = DAY  # a hand-over that is not confirmed by then is taken back
    registry: RegistrySettings | None = None
    refresh: RefreshSettings | None = None  # None: no fresh version is built without another reason


@dataclass(frozen=True, slots=True)
class Override:
    """What the override asks of one model. It has no effect after `expires`; each silence has its own end."""

    reason: str = ""
    expires: float | None = None
    pause: frozenset[str] = frozenset()  # checks | retraining | promotion
    pin: int | None = None
    retrain: str | None = None
    approve: int | None = None
    reject: int | None = None
    silence: Mapping[str, float] = field(default_factory=dict)  # until when a feature raises no alarm
    acknowledge: Mapping[int, float] = field(default_factory=dict)  # until when nothing is done about an alarm, by id
    acknowledge_reason: str = ""
    orders: tuple[Order, ...] = ()  # of this model alone, each with its reason and its end; people's come beside them

    def in_force(self, now: float) -> Override:
        """This override without what has lapsed. What has an end of its own outlasts `expires`, silences apart."""
        acknowledged = {number: until for number, until in self.acknowledge.items() if now < until}
        orders = tuple(order for order in self.orders if order.stands(now))
        if self.expires is not None and now >= self.expires:
            return Override(acknowledge=acknowledged, acknowledge_reason=self.acknowledge_reason, orders=orders)
        lasting = {feature: until for feature, until in self.silence.items() if now < until}
        lengths = len(self.silence), len(self.acknowledge), len(self.orders)
        if (len(lasting), len(acknowledged), len(orders)) == lengths:
            return self
        return replace(self, silence=lasting, acknowledge=acknowledged, orders=orders)

    def with_orders(self, orders: Iterable[Order], now: float) -> Override:
        """What counts now: what is in force, and people's orders beside it. What both name is the config's."""
        override = self.in_force(now)
        standing = tuple(order for order in orders if order.stands(now))
        return replace(override, orders=(*override.orders, *standing)) if standing else override

    def pause_of(self, what: str) -> Order | None:
        """The pause of checks, retraining or promotion that counts; None while it is not paused."""
        if what in self.pause:
            return Order(OrderKind.PAUSE, what, THE_OVERRIDE, self.reason, self.expires)
        paused = (order for order in self.orders if (order.kind, order.subject) == (OrderKind.PAUSE, what))
        return next(paused, None)

    @property
    def silenced(self) -> frozenset[str]:
        """The features that raise no alarm."""
        silences = (order.subject for order in self.orders if order.kind is OrderKind.SILENCE)
        return frozenset({*self.silence, *silences})

    @property
    def ends(self) -> tuple[float, ...]:
        """When something of it lapses by itself."""
        own = (self.expires, *(order.until for order in self.orders))
        return (*(end for end in own if end is not None), *self.silence.values(), *self.acknowledge.values())

    @property
    def is_empty(self) -> bool:
        """Whether it asks nothing of this model."""
        values = (self.pin, self.retrain, self.approve, self.reject)
        held = self.pause or self.silence or self.acknowledge or self.orders
        return not held and all(value is None for value in values)


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """A check's evidence crossed its threshold in this window."""

    alarm: Alarm
    number: int  # the alarm's id
    window: Window


@dataclass(frozen=True, slots=True)
class AlarmStanding:
    """A check found evidence over its threshold for an alarm that an earlier window raised."""

    alarm: Alarm
    number: int  # the alarm's id


@dataclass(frozen=True, slots=True)
class AlarmCleared:
    """A check found the evidence of a kind below its threshold; `sentence` has its figures."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class QualityFault:
    """A check saw a broken pipeline: that of a window's rows, or that of a cohort's labels.

    `is_level` says that rows came whole, with values that were never seen: a person may know better.
    """

    sentence: str
    of: Literal["window", "labels"] = "window"
    is_level: bool = False


@dataclass(frozen=True, slots=True)
class QualityOk:
    """A check saw no fault of the pipeline of rows, or of that of labels."""

    of: Literal["window", "labels"] = "window"


@dataclass(frozen=True, slots=True)
class StepDone:
    """An action ended well."""

    arguments: ActionArguments
    result: ActionResult | None = None

    @property
    def kind(self) -> ActionKind:
        """What was done."""
        return self.arguments.kind


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An action failed; `error` is the sentence that says why."""

    arguments: ActionArguments
    error: str

    @property
    def kind(self) -> ActionKind:
        """What was tried."""
        return self.arguments.kind


@dataclass(frozen=True, slots=True)
class ProbationResult:
    """The old champion was scored beside the new one."""

    decision: ProbationDecision
    sentence: str
    labels: int
    version: int | None = None  # the new champion that was looked at; None where the shell did not say


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """A request of a person, by a command or by HTTP.

    `kind`: retrain | retry | approve | reject | rollback | acknowledge | confirm | pause | silence | resume |
    reset-evidence | reset-cursor | prune-checks | submit.
    """

    kind: str
    who: str
    text: str = ""
    version: int | None = None
    at: float | None = None  # when; None is now
    alarm: int | None = None  # that is acknowledged; None: every alarm that stands
    until: float | None = None  # epoch seconds
    what: tuple[str, ...] = ()  # that is paused, or goes on
    feature: str | None = None  # that is silenced, or raises alarms again
    snapshot: str | None = None  # that a build is made from (its content hash)
    stage: str | None = None  # from which a failed build is retried; None: where it failed
    submission: str | None = None  # the key of a version that is handed in
    trained_until: float | None = None  # of that, epoch seconds; None: until it was handed in
    obstacle: str = ""  # why the loop cannot do it, in one sentence


@dataclass(frozen=True, slots=True)
class ClockTick:
    """Time has passed, or the config has changed."""


Finding = (
    AlarmRaised
    | AlarmStanding
    | AlarmCleared
    | QualityFault
    | QualityOk
    | StepDone
    | StepFailed
    | ProbationResult
    | OperatorRequest
    | ClockTick
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the shell has counted for this decision."""

    next_version: int = 1
    versions: frozenset[int] = frozenset()  # those that can be served
    has_snapshot: bool = False  # whether the rows of the build that failed last are still there
    labels: int = 0  # labelled rows since the change at hand (want, build), or since the swap (probation)
    labels_of_request: int | None = None  # those since the change of a request beside a build; None: as `labels`
    labels_of_probation: int | None = None  # those since the swap, beside a build or a request; None: as `labels`
    labels_since_build: int = 0
    window: int = 0  # the index of the window that is open now
    fresh_labels: int = 0  # rows with complete labels that the last refresh did not know
    first_refresh: RefreshState | None = None  # what the first refresh counts from: the champion as it was built
    schedule_due: bool = False
    next_schedule: float | None = None  # when the schedule is due next, epoch seconds; None: there is none
    spec: BuildSpec | None = None  # what a build would be made by now, once it rests; None: that is not known
    spec_wait: str = ""  # why that is not known, or not what the files say now, in one sentence
    champion_spec: BuildSpec | None = None  # what the champion was made by, as its lineage has it
    working: frozenset[ActionKind] = frozenset()  # kinds of the actions that are intended or started
    features: frozenset[str] | None = None  # of the champion; None where they are not known
    logged: frozenset[int] = frozenset()  # versions of which there are only logged predictions, no artefact
    clock_fault: str | None = None  # why the clock is not believed; then nothing is decided because time has passed
    is_seen: bool = False  # predictions of the version that is being handed over have come

"""The words of driftd as frozen records; the events, the actions and the figures of a decision come from theirs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from driftd.actions import (
    Action,
    ActionArguments,
    ActionKind,
    ActionResult,
    CheckDataArguments,
    CheckDataResult,
    DecisionFigures,
    DecisionParts,
    HandOverArguments,
    HandOverResult,
    JudgeArguments,
    JudgeResult,
    ModelTestArguments,
    ModelTestResult,
    ProbationDecision,
    RefreshArguments,
    RefreshResult,
    RegistryArguments,
    RegistryResult,
    ReportArguments,
    ShadowArguments,
    SnapshotArguments,
    SnapshotResult,
    SwapArguments,
    TrainArguments,
    TrainResult,
)
from driftd.events import Event, GateDecision, HandOverAction, RegistryTask, RollbackCause, SwapPurpose, Trigger
from driftd.outside_records import HandOver, HandOverStage, MovedAlias, RegistryState, VersionRequest
from driftd_detectors.assessment import Verdict

__all__ = [
    "NO_FIGURES",
    "PAUSABLE",
    "Acknowledgement",
    "Action",
    "ActionArguments",
    "ActionKind",
    "ActionResult",
    "Alarm",
    "Build",
    "BuildRequest",
    "BuildSpec",
    "BuildStep",
    "CheckDataArguments",
    "CheckDataResult",
    "DecisionFigures",
    "DecisionParts",
    "Event",
    "GateDecision",
    "HandOver",
    "HandOverAction",
    "HandOverArguments",
    "HandOverResult",
    "HandOverStage",
    "JudgeArguments",
    "JudgeResult",
    "ModelState",
    "ModelTestArguments",
    "ModelTestResult",
    "MovedAlias",
    "OpenAlarm",
    "Order",
    "OrderKind",
    "Phase",
    "Probation",
    "ProbationDecision",
    "RefreshArguments",
    "RefreshResult",
    "RefreshState",
    "RegistryArguments",
    "RegistryResult",
    "RegistryState",
    "RegistryTask",
    "ReportArguments",
    "RollbackCause",
    "ShadowArguments",
    "SnapshotArguments",
    "SnapshotResult",
    "SwapArguments",
    "SwapPurpose",
    "TrainArguments",
    "TrainResult",
    "Transition",
    "Trigger",
    "Verdict",
    "VersionRequest",
    "Window",
]


class Phase(StrEnum):
    """Where a model stands in the loop."""

    STEADY = "steady"  # the champion serves; windows are checked
    RETRAINING = "retraining"  # a build is under way
    AWAITING_APPROVAL = "awaiting_approval"  # the challenger won its gate; a person must say yes
    PROBATION = "probation"  # a new champion serves; the old one scores in shadow
    PAUSED = "paused"  # the operator's override stopped the checks


class BuildStep(StrEnum):
    """The steps of a build, in order. Each is one action, idempotent, re-entered after a crash."""

    SNAPSHOT = "snapshot"
    CHECK_DATA = "check_data"
    TRAIN = "train"
    TEST = "test"
    JUDGE = "judge"
    REFRESH = "refresh"  # of a refresh: everything up to the swap in one job
    COLLECT = "collect"  # the gate was inconclusive: wait for more labelled rows, then judge again
    SWAP = "swap"


@dataclass(frozen=True, slots=True)
class Window:
    """The slice of events that one check evaluates: aligned, never overlapping.

    By time, `start` and `end` are epoch seconds, `start <= at < end`; by rows they are positions in arrival order.
    """

    index: int
    start: float
    end: float
    by: Literal["time", "rows"] = "time"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Evidence over its threshold, or a fault of the pipeline that blocks builds."""

    kind: str  # data | prediction | performance | quality
    subject: str
    evidence: float
    threshold: float
    sentence: str  # what changed, in the reader's units
    change_start: float | None = None  # epoch seconds
    figures: str = ""  # the same with evidence, threshold and effect sizes
    chance_years: float | None = None  # chance alone gives so much evidence once in so many years at most


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person knows of an alarm and wants nothing done about it until a time (epoch seconds)."""

    who: str
    reason: str
    until: float


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that stands: its evidence is over its threshold, against the version that serves."""

    number: int  # the alarm's id
    kind: str  # performance | harm
    sentence: str
    since: float  # epoch seconds
    change_at: float | None = None  # when the change most likely began
    reported_at: float | None = None  # when a person was last told that nothing is done about it
    reports: int = 0
    acknowledged: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What a build is made by, besides its rows, as SHA-256."""

    source: str  # of the trainer
    lock: str | None  # of the lock file of its project; None: there is none
    settings: str  # of the config, those that a build goes by


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A build that is wanted, and waits for data, the cool-down, the budget or the operator."""

    trigger: Trigger
    reason: str
    since: float
    change_at: float | None = None  # labelled rows from after this count towards `labels_needed`
    labels_needed: int = 0
    is_follow_up: bool = False  # a repetition with more rows: gives way to any fresh alarm
    who: str = "driftd"  # a person's wish passes over the cool-down, the budget and the labels needed
    alarm: int | None = None  # the id of the alarm that caused it
    failures: int = 0  # builds of this request that failed
    snapshot: str | None = None  # that a person names (its content hash); None: one is taken
    submission: str | None = None  # the key of a version that was handed in: nothing is trained
    trained_until: float | None = None  # of a submission: rows after that (epoch seconds) judge it


@dataclass(frozen=True, slots=True)
class Build:
    """A build under way."""

    number: int  # also the version that it makes
    trigger: Trigger
    reason: str
    step: BuildStep
    started_at: float
    change_at: float | None = None
    snapshot: str | None = None  # content hash
    rows_until: float | None = None  # when it was taken, epoch seconds
    rows_since_change: int = 0  # labelled rows that the snapshot holds from after the change
    judged_rows: int = 0  # rows on which the last judgement compared the two versions
    judged_labels: int = 0  # labelled rows since the change that existed at the last judgement
    judgements: int = 0
    judged_against: int | None = None  # the champion of the last judgement
    decision: str = ""  # the gate's last sentence
    is_follow_up: bool = False  # repeats an earlier build with more rows: not repeated again
    hold: str = ""  # why only a person may promote it, in one sentence
    alarm: int | None = None  # the id of the alarm that caused it
    requested_at: float | None = None  # `since` of its request
    is_refresh: bool = False  # made and judged by one job, from all rows
    is_approved: bool = False  # by a person: no pause and no other champion keeps it from serving
    submission: str | None = None  # as in its request
    trained_until: float | None = None  # as in its request
    serves: int | None = None  # the older version that is to serve, where a refresh found that better than its own
    requested_by: str = "driftd"  # who asked for it
    review_since: float = 0.0  # when people were asked, epoch seconds
    review_until: float | None = None  # then it is put aside; None: never
    reviewers: int = 1  # people whose yes it needs
    approved_by: tuple[str, ...] = ()  # those who gave it

    @property
    def candidate(self) -> int:
        """The version that is to serve when this build ends well."""
        return self.number if self.serves is None else self.serves


@dataclass(frozen=True, slots=True)
class Probation:
    """A new champion under watch, with the version to go back to."""

    previous: int
    since: float
    labels: int = 0  # that the last comparison used
    sentence: str = ""
    looked_at: float = 0.0  # when the two versions were last compared
    seen: int = 0  # labelled rows that there were then, mature or not
    until_refresh: bool = False  # it lasts until the next refresh, which it does not hold up
    window: int = -1  # that was open at the last comparison; one a window is enough for a watch of weeks


@dataclass(frozen=True, slots=True)
class RefreshState:
    """What the last refresh left for the next; before the first one, what the champion was built from."""

    window: int  # that was open then
    effective: float  # rows of equal weight that the recipe in charge trained on
    mature_until: float  # epoch seconds: rows from here on are new
    recipe: str | None = None  # in charge; None: the first of the config
    alarm: int | None = None  # the id of the last alarm that brought a refresh forward
    extra: tuple[int, ...] = ()  # the windows from which on one more refresh each is due for that alarm
    change_at: float | None = None  # when the change behind it most likely began


class OrderKind(StrEnum):
    """What a standing order holds."""

    PAUSE = "pause"
    SILENCE = "silence"


PAUSABLE = ("checks", "retraining", "promotion")


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks of one model until a time: a pause, or that a feature raises no alarm."""

    kind: OrderKind
    subject: str  # of a pause one of `PAUSABLE`, of a silence the feature
    who: str
    reason: str
    until: float | None = None  # epoch seconds; None (of the config alone) has no end

    def stands(self, now: float) -> bool:
        """Whether its time is not over."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class ModelState:
    """Everything that policy remembers of one model."""

    model: str
    phase: Phase = Phase.STEADY
    champion: int | None = None
    previous: int | None = None  # what served before the champion: where `rollback` goes
    want: BuildRequest | None = None
    build: Build | None = None
    failed: Build | None = None  # the last build that failed, at that step: it can be retried
    probation: Probation | None = None
    resumes: Phase | None = None  # the phase to return to from `paused`
    cooldown_until: float = 0.0
    backoff_until: float = 0.0
    failures: int = 0  # builds failed in a row
    build_starts: tuple[float, ...] = ()  # for the budget; pruned to the budget's period
    last_build_labels: int = 0
    barred: tuple[int, ...] = ()  # versions that were rolled back or rejected
    asked: tuple[str, ...] = ()  # retrain texts of the config that were already acted on
    last_schedule: float = 0.0
    spec: BuildSpec | None = None  # what the last build was made by; None: it is not known
    blocked: str | None = None  # why no build may start now (a quality fault), in one sentence
    level_fault: str | None = None  # what blocks, where it is only values that were never seen: a person's build passes
    label_fault: str | None = None  # of the labels; it stands until a cohort shows none
    waits: str | None = None  # why the wanted build has not started yet, in one sentence
    pinned: int | None = None  # the version that the operator's override holds
    pin_refused: str | None = None  # why that version does not serve, in one sentence
    override: str | None = None  # what the override in force asks of this model, as the history told it
    open_alarms: tuple[OpenAlarm, ...] = ()  # that stand against the champion, at most one of a kind
    served_since: float = 0.0  # when the champion was confirmed by a hand-over, epoch seconds
    hand_over: HandOver | None = None  # only of a model that is served elsewhere
    version_request: VersionRequest | None = None  # only of a model without a trainer
    refresh: RefreshState | None = None  # None: no refresh was ever considered
    served: tuple[int, ...] = ()  # the versions that served last, the newest at the end
    registry: RegistryState | None = None  # only of a model whose versions are registered elsewhere
    orders: tuple[Order, ...] = ()  # of people, beside the config's override
    evidence_since: float = 0.0  # when a person had the evidence begin anew: what checks said before is over

    @property
    def is_attended(self) -> bool:
        """Whether a build is at work, or a person was asked about its challenger."""
        if self.phase is Phase.AWAITING_APPROVAL:
            return True
        return self.phase is Phase.RETRAINING and self.build is not None and self.build.step is not BuildStep.COLLECT

    @property
    def unattended(self) -> OpenAlarm | None:
        """The alarm of which a person was told that nothing is being done about it, while that is so."""
        reported = (alarm for alarm in self.open_alarms if alarm.reported_at is not None)
        return None if self.is_attended else next(reported, None)


NO_FIGURES = DecisionFigures()


@dataclass(frozen=True, slots=True)
class Transition:
    """What policy decided: the state from now on, the deeds, and why in one sentence with its figures.

    `event` is None when nothing worth a line of history happened and only the bookkeeping of the state changed.
    """

    state: ModelState
    reason: str
    event: Event | None = None
    actions: tuple[Action, ...] = ()
    figures: DecisionFigures = NO_FIGURES
    actor: str | None = None  # who decided, where it was not the daemon by itself

"""The actions of policy with what they take and give, and the figures of a decision."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, get_args

import msgspec

from driftd.events import GateDecision, HandOverAction, RegistryTask, RollbackCause, SwapPurpose, Trigger


class DecisionParts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of a decision, in the order in which it is read; each is sentences, or empty."""

    what: str  # what changed or was done, in the reader's units
    sure: str = ""  # how certain that is
    next: str = ""  # what happens next, and what a person must do
    figures: str = ""  # evidence, threshold, effect sizes: for who checks it

    @property
    def text(self) -> str:
        """All but the figures."""
        return " ".join(part for part in (self.what, self.sure, self.next) if part)


class DecisionFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every figure that some event carries, None where this decision has none: those are not written."""

    # which version, and in whose place
    version: int | None = None
    from_version: int | None = msgspec.field(default=None, name="from")
    previous: int | None = None  # whom a champion on probation is compared with
    champion: int | None = None  # whom a challenger is compared with
    # an alarm, and the build that it caused
    alarm: int | None = None  # its id
    kind: str | None = None  # data | prediction | performance | harm | quality
    evidence: float | None = None
    threshold: float | None = None
    parts: DecisionParts | None = None  # what is said of it
    trigger: Trigger | None = None
    labels: int | None = None  # labelled rows
    change_at: float | None = None  # epoch seconds
    step: ActionKind | None = None  # at which a build failed
    failures: int | None = None  # builds in a row
    # what the gate says
    decision: GateDecision | None = None
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    rows: int | None = None
    blocks: int | None = None
    recipe: str | None = None  # by which a refresh built
    # what people ask
    who: str | None = None
    cause: RollbackCause | None = None
    asks: str | None = None  # of the override
    backup: float | None = None  # when the backup was made, epoch seconds
    until: float | None = None  # by when a hand-over must be confirmed, epoch seconds

    @property
    def rollback_cause(self) -> RollbackCause:
        """What asked for a rollback; lines of before `cause` was written name a person where one did."""
        if self.cause is not None:
            return self.cause
        return RollbackCause.PERSON if self.who is not None else RollbackCause.PROBATION

    def to_dict(self) -> dict[str, object]:
        """As JSON: only what this decision has."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> DecisionFigures:
        """The figures of a stored line; what another driftd wrote and this one cannot read counts as absent."""
        try:
            return msgspec.convert(dict(stored), cls)
        except msgspec.ValidationError:
            return msgspec.convert({name: value for name, value in stored.items() if _is_readable(name, value)}, cls)


def _is_readable(name: str, value: object) -> bool:
    try:
        msgspec.convert({name: value}, DecisionFigures)
    except msgspec.ValidationError:
        return False
    return True


class ActionKind(StrEnum):
    """What policy can ask the shell to do."""

    SNAPSHOT = "snapshot"
    CHECK_DATA = "check_data"  # compare a snapshot with what the config expects of it
    TRAIN = "train"
    TEST = "test"  # run the user's tests of a version
    JUDGE = "judge"
    REFRESH = "refresh"  # snapshot, fits of every recipe, choice and judgement in one job
    SWAP = "swap"  # make `version` the served one (promotion, rollback and pin alike)
    SHADOW = "shadow"  # score the old champion on the rows of probation
    REPORT = "report"  # render Evidently's HTML for an alarm
    HAND_OVER = "hand_over"  # tell the system that serves which version it is to serve
    REGISTRY = "registry"  # register a version elsewhere, move the alias there, or look where it points


class ProbationDecision(StrEnum):
    """What a comparison during probation says of the new champion."""

    CONTINUE = "continue"
    ROLL_BACK = "roll_back"
    CONFIRM = "confirm"


class SnapshotArguments(msgspec.Struct, frozen=True):
    """Take the labelled rows for a build; those from after `change_at` (epoch seconds) are counted."""

    kind: ClassVar[ActionKind] = ActionKind.SNAPSHOT
    version: int
    change_at: float | None = None
    for_refresh: bool = False  # which holds no rows out for a gate


class CheckDataArguments(msgspec.Struct, frozen=True):
    """Compare the snapshot (its content hash) of the build `version` with the expectations of the config."""

    kind: ClassVar[ActionKind] = ActionKind.CHECK_DATA
    version: int
    snapshot: str


class TrainArguments(msgspec.Struct, frozen=True):
    """Make a version from a snapshot (its content hash)."""

    kind: ClassVar[ActionKind] = ActionKind.TRAIN
    version: int
    snapshot: str
    trigger: Trigger
    reason: str
    change_at: float | None = None
    parent: int | None = None
    submission: str | None = None  # the key of what was handed in: then nothing is trained
    trained_until: float | None = None  # of a submission, epoch seconds


class ModelTestArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Run the user's tests of `candidate`, which the build `version` would have serve instead of the champion."""

    kind: ClassVar[ActionKind] = ActionKind.TEST
    version: int
    candidate: int
    champion: int | None = None


class JudgeArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Compare the challenger `version` with the champion."""

    kind: ClassVar[ActionKind] = ActionKind.JUDGE
    version: int
    champion: int | None = None
    trigger: Trigger


class RefreshArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Make `version` from every row, by the recipe whose siblings did best, and compare with what serves and served."""

    kind: ClassVar[ActionKind] = ActionKind.REFRESH
    version: int
    champion: int
    served: tuple[int, ...] = ()  # the versions that served last, the newest at the end
    recipe: str | None = None  # in charge; None: the first of the config
    trigger: Trigger
    reason: str
    change_at: float | None = None
    snapshot: str | None = None  # the rows, where they were taken and checked before; None: it takes them
    rows_until: float | None = None  # when that was, epoch seconds


class SwapArguments(msgspec.Struct, frozen=True):
    """Make `version` the served one instead of `from_version`."""

    kind: ClassVar[ActionKind] = ActionKind.SWAP
    version: int
    purpose: SwapPurpose
    from_version: int | None = msgspec.field(default=None, name="from")


class ShadowArguments(msgspec.Struct, frozen=True, omit_defaults=True):
    """Compare the new champion with the old one on the rows since the swap (epoch seconds)."""

    kind: ClassVar[ActionKind] = ActionKind.SHADOW
    new: int
    old: int
    since: float
    until_refresh: bool = False  # the probation lasts until the next refresh: it is never confirmed before


class ReportArguments(msgspec.Struct, frozen=True):
    """Render the report of an alarm, by its id."""

    kind: ClassVar[ActionKind] = ActionKind.REPORT
    alarm: int
    sentence: str


class HandOverArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the system that serves what to do with `version`, which comes instead of `from_version`."""

    kind: ClassVar[ActionKind] = ActionKind.HAND_OVER
    action: HandOverAction
    version: int | None = None  # None: a version of somebody's making is asked for
    from_version: int | None = msgspec.field(default=None, name="from")
    reason: str
    until: float | None = None  # by when it must be confirmed, epoch seconds
    attempt: int = 1


class RegistryArguments(msgspec.Struct, frozen=True):
    """Register a version, have the alias name it, or look whether it still does."""

    kind: ClassVar[ActionKind] = ActionKind.REGISTRY
    task: RegistryTask
    version: int
    attempt: int = 1


ActionArguments = (
    SnapshotArguments
    | CheckDataArguments
    | ModelTestArguments
    | TrainArguments
    | JudgeArguments
    | RefreshArguments
    | SwapArguments
    | ShadowArguments
    | ReportArguments
    | HandOverArguments
    | RegistryArguments
)


class SnapshotResult(msgspec.Struct, frozen=True):
    """What a snapshot holds, in labelled rows."""

    digest: str
    rows: int
    rows_since_change: int | None = None
    until: float | None = None  # when they were taken, epoch seconds


class CheckDataResult(msgspec.Struct, frozen=True):
    """Whether a snapshot is as expected, in one sentence; of each expectation what was expected and found."""

    passed: bool
    sentence: str
    expectations: list[dict[str, Any]] = []


class TrainResult(msgspec.Struct, frozen=True):
    """How many rows a version was trained on, and which choice of them that was."""

    rows: int
    data: str = "all"


class ModelTestResult(msgspec.Struct, frozen=True):
    """Whether the user's tests passed, in one sentence, which failed, and the end of what they printed."""

    passed: bool
    sentence: str
    failures: list[str] = []
    output: str = ""


class JudgeResult(msgspec.Struct, frozen=True):
    """What the gate says: the gain in loss with its band, on so many rows in so many blocks of time."""

    decision: GateDecision
    sentence: str
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    rows: int | None = None
    blocks: int | None = None
    champion_fault: str | None = None  # why the champion could not be compared with
    class_change: str | None = None  # how the classes of the challenger differ from the champion's


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """Which version is to serve: the one that was built, or an older one; and by what that was judged."""

    serves: int
    sentence: str
    recipe: str  # in charge from now on
    rows: int  # trained on
    effective: float  # rows of equal weight that say as much
    mature_until: float  # epoch seconds: labels of rows before were taken for complete
    is_broken: bool = False
    judged: int = 0  # rows that chose the recipe and judged
    gain: float | None = None  # of the siblings over the champion, in loss
    lower: float | None = None
    upper: float | None = None
    blocks: int | None = None
    class_change: str | None = None  # how its classes differ from the champion's, where a person must say yes


class SwapResult(msgspec.Struct, frozen=True):
    """How many rows of the probe the version predicted as it did at its training."""

    rows_compared: int = 0


class ShadowResult(msgspec.Struct, frozen=True):
    """What the comparison says, on so many labels."""

    decision: ProbationDecision
    sentence: str
    labels: int


class ReportResult(msgspec.Struct, frozen=True):
    """Where the page of an alarm lies, and what each of Evidently's tests says."""

    path: str | None = None
    stattests: list[dict[str, Any]] = []


class HandOverResult(msgspec.Struct, frozen=True):
    """What was told, in a clause: how, and which file with which SHA-256."""

    sentence: str
    serves: bool = False  # whether it was read back that the version serves


class RegistryResult(msgspec.Struct, frozen=True):
    """What was found or done there, in a clause; `number` is the version there that it is about."""

    sentence: str
    number: str | None = None  # None: the alias names none
    version: int | None = None  # which version of this model that is; None: none that is known here
    is_fit: bool = True  # whether the version could be registered: else its own files are the reason


ActionResult = (
    SnapshotResult
    | CheckDataResult
    | ModelTestResult
    | TrainResult
    | JudgeResult
    | RefreshResult
    | SwapResult
    | ShadowResult
    | ReportResult
    | HandOverResult
    | RegistryResult
)

_ARGUMENTS: Mapping[ActionKind, type[ActionArguments]] = {each.kind: each for each in get_args(ActionArguments)}
_RESULTS: Mapping[ActionKind, type[ActionResult]] = {
    ActionKind.SNAPSHOT: SnapshotResult,
    ActionKind.CHECK_DATA: CheckDataResult,
    ActionKind.TEST: ModelTestResult,
    ActionKind.TRAIN: TrainResult,
    ActionKind.JUDGE: JudgeResult,
    ActionKind.REFRESH: RefreshResult,
    ActionKind.SWAP: SwapResult,
    ActionKind.SHADOW: ShadowResult,
    ActionKind.REPORT: ReportResult,
    ActionKind.HAND_OVER: HandOverResult,
    ActionKind.REGISTRY: RegistryResult,
}


class Action(msgspec.Struct, frozen=True):
    """One intended deed. Idempotent: performing it twice ends in the same place."""

    arguments: ActionArguments

    @property
    def kind(self) -> ActionKind:
        """What is to be done."""
        return self.arguments.kind


def decode_arguments(kind: ActionKind, stored: Mapping[str, object]) -> ActionArguments:
    """The arguments of a stored action. Raises msgspec.ValidationError where one is missing or of another type."""
    return msgspec.convert(dict(stored), _ARGUMENTS[kind])


def decode_result(kind: ActionKind, value: Mapping[str, object]) -> ActionResult:
    """What a finished action gave. Raises msgspec.ValidationError where a figure is missing or of another type."""
    return msgspec.convert(dict(value), _RESULTS[kind])

"""What may be asked of the daemon about a model: one typed request for each command, posted by the CLI and by HTTP."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from driftd.config.types import moment, seconds
from driftd.records import PAUSABLE
from driftd.store.state.records import StoredRequest
from driftd.store.state.request_queue import post_request

WEEK = "7d"  # how long an order stands that names no end
LONGEST_TEXT = 1000  # characters
LARGEST_NUMBER = 2**53  # that every reader of JSON can tell from the next

Reason = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT, description="why, for the history")]
NeededReason = Annotated[
    str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT, pattern=r"\S", description="why, for the history")
]
RetriedStage = Literal["take_data", "check_data", "train", "refresh", "test", "judge", "deploy"]
Pausable = Literal["checks", "retraining", "promotion"]
Feature = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT, description="by its name")]
SnapshotName = Annotated[
    str, msgspec.Meta(pattern="^[0-9a-f]{8,64}$", description="the SHA-256 of a snapshot, or its first digits")
]
Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_NUMBER)]
Until = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        description="a time with its zone (2026-12-01T00:00:00Z), or a span from now (90m, 12h, 7d)",
    ),
]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of one model."""

    kind: ClassVar[str]
    summary: ClassVar[str]

    def arguments(self, now: float) -> dict[str, object]:
        """As the store keeps them: the reason is `text`, an end is epoch seconds. Raises ValueError with a sentence."""
        fields = msgspec.structs.asdict(self)  # halves of characters of a command line stay as they are
        given: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()
        }
        if "until" in given:
            given["until"] = end_of(given["until"], now)
        return {"text": given.pop("reason"), **given}


class Retrain(Request, frozen=True, kw_only=True):
    """A build now, past the cool-down and the budget, but not past a broken pipeline.

    From the newest rows, or from the `snapshot` that is named: as `driftd versions` has it, or its beginning.
    """

    kind: ClassVar[str] = "retrain"
    summary: ClassVar[str] = "Ask for a build"
    snapshot: SnapshotName | None = None
    reason: Reason = ""


class Retry(Request, frozen=True, kw_only=True):
    """A build that failed, or whose version its tests refused, begins again from a stage with what was made before.

    From the stage where it failed unless `stage` is given. Where that cannot be, the answer says from which it can.
    """

    kind: ClassVar[str] = "retry"
    summary: ClassVar[str] = "Begin a failed build again from a stage"
    stage: RetriedStage | None = None
    reason: Reason = ""


class Approve(Request, frozen=True, kw_only=True):
    """The challenger that waits for approval may serve."""

    kind: ClassVar[str] = "approve"
    summary: ClassVar[str] = "Let the waiting challenger serve"
    version: Number
    reason: Reason = ""


class Reject(Request, frozen=True, kw_only=True):
    """The challenger that waits for approval is turned down."""

    kind: ClassVar[str] = "reject"
    summary: ClassVar[str] = "Turn the waiting challenger down"
    version: Number
    reason: Reason = ""


class Confirm(Request, frozen=True, kw_only=True):
    """The system that serves the model, which is not driftd, serves this version now."""

    kind: ClassVar[str] = "confirm"
    summary: ClassVar[str] = "Say which version the other system serves"
    version: Number
    reason: Reason = ""


class Rollback(Request, frozen=True, kw_only=True):
    """Back to an earlier version; the one that serves now is not promoted again by itself."""

    kind: ClassVar[str] = "rollback"
    summary: ClassVar[str] = "Go back to an earlier version"
    version: Number | None = None  # the one before, unless given
    reason: Reason = ""


class Acknowledge(Request, frozen=True, kw_only=True):
    """Nothing is done about a standing alarm of performance until a time; about all of them without `alarm`."""

    kind: ClassVar[str] = "acknowledge"
    summary: ClassVar[str] = "Do nothing about a standing alarm for a while"
    alarm: Number | None = None
    until: Until = WEEK
    reason: NeededReason


class Pause(Request, frozen=True, kw_only=True):
    """Checks, retraining or promotion of the model are held until a time; all three unless `what` names some."""

    kind: ClassVar[str] = "pause"
    summary: ClassVar[str] = "Hold a model for a while"
    what: Annotated[tuple[Pausable, ...], msgspec.Meta(max_length=len(PAUSABLE))] = ()
    until: Until = WEEK
    reason: NeededReason


class Silence(Request, frozen=True, kw_only=True):
    """A feature raises no alarm until a time; what is gathered meanwhile is kept."""

    kind: ClassVar[str] = "silence"
    summary: ClassVar[str] = "Have a feature raise no alarm for a while"
    feature: Feature
    until: Until = WEEK
    reason: NeededReason


class Resume(Request, frozen=True, kw_only=True):
    """What was ordered is over before its time: pauses (`what`), a silence (`feature`), an acknowledgement (`alarm`).

    Everything where nothing is named. What the config's override asks for stays.
    """

    kind: ClassVar[str] = "resume"
    summary: ClassVar[str] = "End pauses, silences and acknowledgements before their time"
    what: Annotated[tuple[Pausable, ...], msgspec.Meta(max_length=len(PAUSABLE))] = ()
    feature: Feature | None = None
    alarm: Number | None = None
    reason: Reason = ""


class ResetEvidence(Request, frozen=True, kw_only=True):
    """The evidence against the served version begins anew, as after a swap."""

    kind: ClassVar[str] = "reset-evidence"
    summary: ClassVar[str] = "Begin the evidence of a model anew"
    reason: NeededReason


class ResetCursor(Request, frozen=True, kw_only=True):
    """After the clock was ahead: the windows that were passed over before their time are checked."""

    kind: ClassVar[str] = "reset-cursor"
    summary: ClassVar[str] = "Check windows that a clock ahead of time passed over"
    force: bool = False
    reason: Reason = ""


class PruneChecks(Request, frozen=True, kw_only=True):
    """The checks over their age are deleted, which were kept because of the clock or their number."""

    kind: ClassVar[str] = "prune-checks"
    summary: ClassVar[str] = "Delete the checks over their age"
    reason: Reason = ""


class Submit(Request, frozen=True, kw_only=True):
    """A version that was made elsewhere, by nobody's order, is to be judged. Its file was taken in before."""

    kind: ClassVar[str] = "submit"
    summary: ClassVar[str] = "Hand a version in that was made elsewhere"
    submission: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    trained_until: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    reason: Reason = ""

    def arguments(self, now: float) -> dict[str, object]:
        """See `Request.arguments`; the time until which it was trained is epoch seconds."""
        given = super().arguments(now)
        return {**given, "trained_until": None if self.trained_until is None else moment_of(self.trained_until)}


# By HTTP; what else is asked belongs to a command that does more than ask.
REQUESTS: dict[str, type[Request]] = {
    request.kind: request
    for request in (
        Retrain,
        Retry,
        Approve,
        Reject,
        Confirm,
        Rollback,
        Acknowledge,
        Pause,
        Silence,
        Resume,
        ResetEvidence,
        ResetCursor,
    )
}


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, by the token in the header."""

    name: str | None  # of the token; None: there is none in the header
    operates: bool  # whether it may ask for what the commands ask for
    has_tokens: bool  # whether this daemon knows any: `http.token_file` is set


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """A request and what became of it. Times are epoch seconds."""

    id: int
    model: str
    kind: str
    who: str
    at: float
    status: Literal["waiting", "done", "refused"]
    outcome: str | None  # the answer, in one sentence
    answered_at: float | None

    @classmethod
    def of(cls, stored: StoredRequest) -> RequestView:
        """As the store has it."""
        answered: Literal["done", "refused"] = "refused" if stored.refused else "done"
        return cls(
            id=stored.id,
            model=stored.model,
            kind=stored.kind,
            who=stored.who,
            at=stored.at,
            status="waiting" if stored.outcome is None else answered,
            outcome=stored.outcome,
            answered_at=stored.handled_at,
        )


def end_of(text: str, now: float) -> float:
    """A moment with its zone, or a span from now, as epoch seconds. Raises ValueError with a sentence."""
    try:
        return now + seconds(text)
    except ValueError:
        pass
    try:
        return moment_of(text)
    except ValueError:
        raise ValueError(f"{text!r} is no span (7d, 12h) and no time with its zone (2026-12-01T00:00:00Z)") from None


def moment_of(text: str) -> float:
    """A moment with its zone as epoch seconds. Raises ValueError with a sentence."""
    try:
        return moment(datetime.fromisoformat(text)).timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is no time with its zone (2026-12-01T00:00:00Z)") from None


def post(state_db: Path, model: str, request: Request, *, who: str, key: str | None = None) -> int:
    """Leave a request for the daemon, as the CLI and the API both do; returns its id.

    With a `key` that was used before nothing is asked, and the id is that of the earlier request.
    Raises ValueError with a sentence, StateAbsentError, and what SQLite raises.
    """
    now = time.time()
    arguments = request.arguments(now)
    return post_request(state_db, at=now, who=who, model=model, kind=request.kind, arguments=arguments, key=key)

"""Requests and replies of `driftd serve`: JSON, errors, and limits on bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import Message, Receive

from driftd.errors import DriftdError
from driftd.serving.differences import Differences
from driftd.store.events.validation import Receipt, Refusal, Window

if TYPE_CHECKING:
    from driftd.serving.predict import Answered

OK, BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE, UNPROCESSABLE = 200, 400, 404, 409, 413, 422
FAILED, UNAVAILABLE = 500, 503
REPEATED = "a prediction of this prediction_id is kept already, and the first one stays"
RETRY_AFTER = (b"retry-after", b"5")  # seconds

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may be."""

    body_bytes: int
    batch_events: int


class RefusedError(DriftdError):
    """A request that is answered with `status`, an error sentence and the field at fault."""

    def __init__(self, status: int, error: str, at: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.field = at


@dataclass(frozen=True, slots=True)
class EventRequest:
    """What a body held: its events, and whether it was a single one."""

    events: Sequence[Any]
    single: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def read_posted(body: bytes, bounds: RequestLimits) -> EventRequest:
    """The events of a body: one object, or an array of them. Raises RefusedError."""
    try:
        given = _decode(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(BAD_REQUEST, f"the body is not JSON: {error}") from error
    if isinstance(given, dict):
        return EventRequest([given], single=True)
    if not isinstance(given, list) or not given:
        raise RefusedError(
            BAD_REQUEST, "the body is one event (an object) or a batch (an array of at least one object)"
        )
    if len(given) > bounds.batch_events:
        raise RefusedError(
            TOO_LARGE, f"{len(given)} events in one batch; at most {bounds.batch_events} (serve.max_batch)"
        )
    return EventRequest(given, single=False)


def acknowledge(
    receipt: Receipt,
    refused: Sequence[Refusal],
    *,
    single: bool,
    differences: Differences | None = None,
    windows: Mapping[Window, int] | None = None,
) -> Reply:
    """200 when anything was taken (a duplicate is), 422 when everything was refused."""
    if single and refused:
        return error_reply(UNPROCESSABLE, refused[0].reason, refused[0].field)
    accepted = receipt.predictions + receipt.feedback
    body = {
        "accepted": accepted,
        "duplicates": receipt.duplicates,
        "refused": [
            {
                "index": refusal.index,
                "prediction_id": refusal.prediction_id,
                "field": refusal.field,
                "reason": refusal.reason,
            }
            for refusal in refused
        ],
        **(differences.to_dict() if differences is not None else {}),
        **({"windows": windows} if windows else {}),
    }
    return Reply(OK if accepted or receipt.duplicates or not refused else UNPROCESSABLE, _encode(body))


def predictions_reply(
    answered: Answered, reason: str | None, *, single: bool, repeated: frozenset[int] = frozenset()
) -> Reply:
    """The answers, in the order of the request.

    `reason` is why they are not logged, None when they are, all but the places `repeated`.
    """
    if single and answered.refused:
        return error_reply(UNPROCESSABLE, answered.refused[0].reason, answered.refused[0].field)
    answers = [
        _to_dict(answered, place, REPEATED if place in repeated else reason) for place in range(len(answered.ids))
    ]
    status = UNPROCESSABLE if len(answered.refused) == len(answers) else OK
    return Reply(status, _encode(answers[0] if single else answers))


def error_reply(status: int, error: str, at: str = "") -> Reply:
    """An error, the field at fault, and when to come back where that helps."""
    return Reply(status, _encode({"error": error, "field": at}), [RETRY_AFTER] if status == UNAVAILABLE else [])


def _to_dict(answered: Answered, place: int, reason: str | None) -> dict[str, object]:
    refusal = answered.refused.get(place)
    if refusal is not None:
        return {"index": place, "error": refusal.reason, "field": refusal.field}
    answer: dict[str, Any] = {
        "prediction_id": answered.ids[place],
        "prediction": answered.predictions[place],
        "score": answered.scores[place],
        "version": answered.version,
        "logged": reason is None,
    }
    if reason is not None:
        answer["reason"] = reason
    if reason is None and place in answered.windows:
        answer["window"] = answered.windows[place]
    if answered.probabilities:
        answer["probabilities"] = answered.probabilities[place]
    differences = answered.differences.get(place)
    return answer if differences is None else answer | differences.to_dict()


SMALL = 65_536  # bytes that every connection may always send: what is usual is never refused for what others send
AT_ONCE = 16  # bodies of the longest length in memory at once


class ClientGoneError(DriftdError):
    """The client went away before its request was whole; nobody is left to be answered."""


class BodyLimiter:
    """Reads bodies, each of at most `longest` bytes.

    Thousands of connections may be open: without a bound on all together, clients that each send a long body slowly
    would take more memory than there is.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._most = AT_ONCE * max(longest, SMALL)
        self._taken = 0

    @asynccontextmanager
    async def read(self, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body; its room is free again when it was dealt with. Raises RefusedError, ClientGoneError."""
        parts: list[bytes] = []
        size = counted = 0
        try:
            more = True
            while more:
                message = await receive()
                parts.append(self._part(message, size))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > SMALL:
                    counted += self._take(size - counted)
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self._taken -= counted

    def _part(self, message: Message, before: int) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        if before + len(part) > self._longest:
            raise RefusedError(TOO_LARGE, f"the body is larger than {self._longest} bytes (serve.max_body)")
        return part

    def _take(self, size: int) -> int:
        if self._taken + size > self._most:
            reason = f"other requests take {self._taken / 1e6:.0f} MB at this moment: send smaller ones, or again later"
            raise RefusedError(UNAVAILABLE, reason)
        self._taken += size
        return size

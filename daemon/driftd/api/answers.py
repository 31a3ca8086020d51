"""How the API answers: JSON, and refusals that say what, where and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from driftd.errors import DriftdError


class RefusalError(DriftdError):
    """A request that is not taken; the message says why and what to do."""

    def __init__(self, status: int, sentence: str, at: str = "", retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.field, self.retry_after = status, at, retry_after


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in ASCII: any text can be sent."""
    return Response(json.dumps(value), status, headers, "application/json")


def error_answer(error: RefusalError) -> Response:
    """A refusal as it is answered."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return json_answer({"error": str(error), "field": error.field}, error.status, headers)


async def read_body(request: HttpRequest, longest: int) -> bytes:
    """The body of a request. Raises RefusalError where it has more than `longest` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            raise RefusalError(413, f"the body has more than {longest:,} bytes")
    return bytes(body)

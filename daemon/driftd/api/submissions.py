"""The API by which versions are handed in that were made elsewhere, by nobody's order."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from driftd.api.answers import RefusalError, error_answer
from driftd.api.builds import SHA256, take_artefact
from driftd.api.requests import LONGEST_TEXT, Submit
from driftd.api.routes import RequestApi, key_of
from driftd.outside.exchange import Exchange, open_submission, submission_key
from driftd.paths import Places

VERSIONS = "/api/v1/models/{model:str}/versions"
LARGEST = 2 << 30  # bytes of a file
_FIELDS = {"file", "reason", "trained_until"}


class SubmissionApi:
    """POST /api/v1/models/{model}/versions: the file of a model as the body; what is said of it, in the query."""

    def __init__(self, places: Places, requests: RequestApi, largest: int = LARGEST) -> None:
        self._places, self._requests, self._largest = places, requests, largest

    def routes(self) -> list[BaseRoute]:
        """What is answered."""
        return [Route(VERSIONS, self._take, methods=["POST"])]

    async def _take(self, request: HttpRequest) -> Response:
        try:
            bearer = self._requests.bearer(request, submits=True)
            model, key = request.path_params["model"], key_of(request.headers, bearer)
            self._requests.require_model(model)
            submit = _read_query(request, submission_key(bearer.name, f"{model}/{key}" if key else ""))
            in_use = await asyncio.to_thread(self._requests.submissions_in_use, model)
            exchange = await asyncio.to_thread(open_submission, self._places, model, submit.submission, in_use)
            await self._fill(exchange, request)
            return await self._requests.keep(request, bearer, submit, key)
        except RefusalError as error:
            return error_answer(error)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _fill(self, exchange: Exchange, request: HttpRequest) -> None:
        """Take the file in. One that came before by the same key is not taken again, and must be the same."""
        before = exchange.outcome
        if before is None:
            await take_artefact(exchange, request, request.query_params["file"], self._largest)
        elif before.sha256 != request.headers.get(SHA256, "").strip():
            raise RefusalError(409, "this Idempotency-Key is that of another file", "Idempotency-Key")


def _read_query(request: HttpRequest, submission: str) -> Submit:
    """What is said of the file. Raises RefusalError."""
    given = dict(request.query_params)
    if strange := sorted({*given} - _FIELDS):
        raise RefusalError(
            422, f"there is no field {strange[0][:80]!r}; there are {', '.join(sorted(_FIELDS))}", "query"
        )
    if not given.get("file"):
        raise RefusalError(422, "name the file of the model: ?file=model.skops", "file")
    try:
        submit = msgspec.convert(
            {"submission": submission, **{name: value for name, value in given.items() if name != "file"}}, Submit
        )
        submit.arguments(0.0)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        raise RefusalError(
            422, f"{sentence} (a reason has at most {LONGEST_TEXT} characters)", path.strip("`.")
        ) from None
    except ValueError as error:
        raise RefusalError(422, str(error), "trained_until") from None
    return msgspec.structs.replace(submit, submission=submission)

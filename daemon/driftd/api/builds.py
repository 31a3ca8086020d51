"""The API of builders outside: the order and its rows go out, the artefact or the failure comes in.

Each build has a token of its own, which opens this build alone, until its deadline and until something came back. The
guard before it leaves these addresses to it.
"""

from __future__ import annotations

import asyncio
import json
import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from driftd.api.answers import RefusalError, error_answer, json_answer, read_body
from driftd.formatting import format_time
from driftd.outside.exchange import (
    CONTEXT,
    ROWS,
    ArtefactWriter,
    Exchange,
    ExchangeError,
    Order,
    Outcome,
    SettledError,
    TooLargeError,
    describe_settled,
    shorten_log,
)
from driftd.paths import Places

log = structlog.get_logger()

BUILDS = "/api/v1/builds/{build:str}"
SHA256, COMMIT = "x-driftd-sha256", "x-driftd-commit"
LONGEST_LOG = 65_536  # bytes
NO_BUILD = (
    "no build waits here for this token: send the `token` of the order as Authorization: Bearer TOKEN; it opens one "
    "build, until it has ended"
)


class BuildApi:
    """What a builder outside asks of the daemon, and gives back."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def routes(self) -> list[BaseRoute]:
        """What is answered."""
        return [
            Route(BUILDS, self._show),
            Route(f"{BUILDS}/snapshot", self._rows),
            Route(f"{BUILDS}/artefact/{{name:str}}", self._take, methods=["PUT", "POST"]),
            Route(f"{BUILDS}/failed", self._fail, methods=["POST"]),
        ]

    async def _show(self, request: HttpRequest) -> Response:
        try:
            exchange, order = self._open(request)
            context = await asyncio.to_thread((exchange.folder / CONTEXT).read_text, "utf-8")
        except RefusalError as error:
            return error_answer(error)
        about = {"id": order.id, "model": order.model, "build": order.version, "deadline": format_time(order.deadline)}
        return json_answer({**about, "context": json.loads(context)})

    async def _rows(self, request: HttpRequest) -> Response:
        try:
            exchange, order = self._open(request)
        except RefusalError as error:
            return error_answer(error)
        return FileResponse(exchange.folder / ROWS, filename=f"{order.id}.parquet")

    async def _take(self, request: HttpRequest) -> Response:
        try:
            exchange, order = self._open(request)
            outcome = await take_artefact(exchange, request, request.path_params["name"], order.largest)
        except RefusalError as error:
            return error_answer(error)
        except ClientDisconnect:
            return Response(status_code=400)
        log.info("artefact_received", build=order.id, model=order.model, sentence=outcome.sentence)
        return json_answer({"sentence": f"{outcome.sentence}; it is checked and judged now"}, 202)

    async def _fail(self, request: HttpRequest) -> Response:
        try:
            exchange, order = self._open(request)
            said = shorten_log((await read_body(request, LONGEST_LOG)).decode("utf-8", "replace"))
            sentence = f"the builder outside says that it failed{f': {said}' if said else ''}"
            is_first = await asyncio.to_thread(exchange.settle, Outcome(state="failed", sentence=sentence))
        except RefusalError as error:
            return error_answer(error)
        except ClientDisconnect:
            return Response(status_code=400)
        if not is_first:
            return error_answer(RefusalError(409, describe_settled(exchange)))
        log.warning("outside_build_failed", build=order.id, model=order.model)
        return json_answer({"sentence": "the build has failed"}, 202)

    def _open(self, request: HttpRequest) -> tuple[Exchange, Order]:
        """The exchange that the token opens. Raises RefusalError."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        exchange = Exchange.of(self._places, request.path_params["build"])
        order = None if exchange is None else exchange.order
        is_known = exchange is not None and exchange.opens(token.strip()) and scheme.lower() == "bearer"
        if exchange is None or order is None or not is_known:
            raise RefusalError(401, NO_BUILD)
        ended = exchange.outcome
        if ended is not None or time.time() >= order.deadline:
            why = describe_settled(exchange) if ended else f"the deadline was at {format_time(order.deadline)}"
            log.warning("late_builder_refused", build=order.id, model=order.model, reason=why)
            raise RefusalError(410, f"{why}; version {order.version} is not made of what comes now")
        exchange.note_contact()
        return exchange, order


async def take_artefact(exchange: Exchange, request: HttpRequest, name: str, largest: int) -> Outcome:
    """Take the body of a request in as an artefact, to the disk piece by piece.

    Raises RefusalError, ClientDisconnect.
    """
    promised = request.headers.get("content-length", "")
    if promised.isdecimal() and int(promised[:18]) > largest:
        raise RefusalError(413, f"the artefact has more than {largest:,} bytes (trainer.largest)")
    try:
        sha256, commit = (request.headers.get(header, "").strip() for header in (SHA256, COMMIT))
        with ArtefactWriter(exchange, name, sha256, largest, commit=commit) as writer:
            async for piece in request.stream():
                await asyncio.to_thread(writer.add, piece)
            return await asyncio.to_thread(writer.finish)
    except TooLargeError as error:
        raise RefusalError(413, str(error)) from None
    except SettledError as error:
        raise RefusalError(409, str(error)) from None
    except ExchangeError as error:
        raise RefusalError(422, str(error)) from None
    except OSError as error:
        raise RefusalError(503, f"it cannot be kept now: {error.strerror}", retry_after=60) from error

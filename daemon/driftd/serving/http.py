"""`driftd serve` over HTTP: predict, feedback, ingestion. An event is acknowledged once the disk has it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import parse_qs

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from driftd.registry import ManifestError
from driftd.registry.versions import NothingServedError
from driftd.serving.differences import Differences, differences_of, merge_differences
from driftd.serving.endpoint import Endpoint, NotAnsweredError
from driftd.serving.event_log import NoSchemaError, is_dated
from driftd.serving.metrics import ROUTES, ServingMetrics
from driftd.serving.openapi import model_routes
from driftd.serving.requests import (
    BAD_REQUEST,
    FAILED,
    NOT_FOUND,
    UNAVAILABLE,
    BodyLimiter,
    ClientGoneError,
    EventRequest,
    RefusedError,
    Reply,
    RequestLimits,
    acknowledge,
    error_reply,
    predictions_reply,
    read_posted,
)
from driftd.store.events.validation import Batch, Receipt, Refusal, Window
from driftd.store.events.writer import EventsNotKeptError
from driftd.web.server import encoder_for

if TYPE_CHECKING:
    from driftd.serving.predict import Answered

TOLD = (
    "POST /v1/models/{model}/predict, /predictions or /feedback; GET /v1/models, /v1/models/{model}, /openapi.json, "
    "/metrics, /-/healthy, /-/ready"
)


def pages(endpoints: Mapping[str, Endpoint], metrics: ServingMetrics) -> Starlette:
    """Everything but the routes that take events."""

    async def show_metrics(request: Request) -> Response:
        for endpoint in endpoints.values():
            metrics.serves(endpoint.model, endpoint.version, endpoint.linked)
        encoder, content_type = encoder_for(request.headers.get("accept", ""))
        return Response(encoder(metrics.registry), media_type=content_type)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("driftd serve is healthy\n")

    async def ready(_: Request) -> Response:
        """Ready when the version of each model that has one is loaded and warm; one without takes no other down."""
        remarks = {name: endpoint.obstacle or _remark(endpoint) for name, endpoint in endpoints.items()}
        text = "".join(f"{name}: {sentence}\n" for name, sentence in remarks.items() if sentence)
        able = any(endpoint.linked is not None for endpoint in endpoints.values())
        able = able and not any(endpoint.obstacle for endpoint in endpoints.values())
        return PlainTextResponse(("driftd serve is ready\n" if able else "") + text, status_code=200 if able else 503)

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body = {"error": f"{error.detail}: driftd serve answers {TOLD}", "field": ""}
        return JSONResponse(body, error.status_code, error.headers)

    async def only_post(_: Request) -> Response:
        raise HTTPException(405, "Method Not Allowed", {"Allow": "POST"})

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            *model_routes(endpoints),
            *(Route(f"/v1/models/{{model}}/{name}", only_post) for name in ROUTES),
        ],
        exception_handlers={HTTPException: refuse},
    )


def _remark(endpoint: Endpoint) -> str | None:
    if endpoint.linked is None:
        return "no version can be served yet; `driftd init` makes the first one"
    return endpoint.fault


log = structlog.get_logger()

LARGE_BODY = 100_000  # bytes; reading more in the event loop would keep others waiting
SMALL_BODY = 8_000  # bytes; the rows of so many are answered from the trees before a worker thread would wake
LONGEST_WAIT = 5.0  # seconds that a prediction waits for the disk before it is answered as not logged

PROBABILITIES = "probabilities"  # the parameter of a predict request that asks for those of every class
_TRUE, _FALSE = frozenset({"", "1", "true"}), frozenset({"0", "false"})

Handler = Callable[[Endpoint, bytes, bytes], Awaitable[Reply]]
Kind = Literal["prediction", "feedback"]
T = TypeVar("T")


class Serving:
    """The ASGI application over the endpoints of all models."""

    def __init__(self, endpoints: dict[str, Endpoint], bounds: RequestLimits, metrics: ServingMetrics) -> None:
        self._endpoints = endpoints
        self._bounds = bounds
        self._bodies = BodyLimiter(bounds.body_bytes)
        self._metrics = metrics
        self._pages = pages(endpoints, metrics)
        self._workers = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="predict")
        self._handlers: dict[str, Handler] = {
            "predict": self._predict,
            "predictions": lambda endpoint, body, _: self._ingest(endpoint, body, "prediction"),
            "feedback": lambda endpoint, body, _: self._ingest(endpoint, body, "feedback"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: /v1/models/{model}/{predict,predictions,feedback} here, the rest in `pages`."""
        posted = scope["type"] == "http" and scope["method"] == "POST"
        parts: list[str] = scope["path"].split("/") if posted else []
        if len(parts) == 5 and parts[1:3] == ["v1", "models"] and parts[4] in self._handlers:  # noqa: PLR2004 - its parts
            await self._post(parts[3], parts[4], scope["query_string"], receive, send)
        else:
            await self._pages(scope, receive, send)

    def close(self) -> None:
        """Let go of the worker threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _post(self, model: str, route: str, query: bytes, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            reply = await self._reply(model, route, query, receive)
        except ClientGoneError:
            return
        except Exception:  # the loop boundary: a fault of ours is one failed request, and is told
            log.exception("request_failed", model=model, route=route)
            reply = error_reply(FAILED, "driftd failed to answer; its log says why")
        await _send(reply, send)
        self._metrics.count_request(model, route, reply.status, time.perf_counter() - started)

    async def _reply(self, model: str, route: str, query: bytes, receive: Receive) -> Reply:
        try:
            async with self._bodies.read(receive) as body:
                endpoint = self._endpoints.get(model)
                if endpoint is None:
                    known = ", ".join(self._endpoints)
                    return error_reply(NOT_FOUND, f"there is no model {model[:80]!r}; there are {known}", "model")
                return await self._handlers[route](endpoint, body, query)
        except RefusedError as refused:
            return error_reply(refused.status, str(refused), refused.field)
        except NotAnsweredError as error:
            log.error("not_answered", model=model, reason=str(error))
            return error_reply(FAILED, str(error))
        except (NoSchemaError, NothingServedError, ManifestError) as error:
            return error_reply(UNAVAILABLE, str(error), "model")
        except EventsNotKeptError as error:
            self._metrics.not_kept.labels(model).inc()
            return error_reply(UNAVAILABLE, f"not kept: {error}")

    async def _ingest(self, endpoint: Endpoint, body: bytes, kind: Kind) -> Reply:
        def read() -> tuple[EventRequest, Batch, list[Refusal], Differences]:
            posted = read_posted(body, self._bounds)
            batch, refused = endpoint.log.read(posted.events, time.time(), only=kind)
            differences = differences_of(posted.events, endpoint.log.schema()) if kind == "prediction" else {}
            return posted, batch, refused, merge_differences(differences.values())

        posted, batch, refused, differences = await self._aside(read) if len(body) > LARGE_BODY else read()
        receipt = await asyncio.wrap_future(await self._submit(endpoint, batch))
        self._metrics.count_commit(endpoint.model, receipt, refused)
        windows: Mapping[Window, int] = {}
        if batch.predictions and any(map(is_dated, posted.events)):
            windows = endpoint.log.windows.counts(posted.events, batch, refused, receipt.repeated)
        return acknowledge(receipt, refused, single=posted.single, differences=differences, windows=windows)

    async def _predict(self, endpoint: Endpoint, body: bytes, query: bytes) -> Reply:
        probabilities = _wants_probabilities(query) if query else False
        version = endpoint.direct_version() if len(body) <= SMALL_BODY else None

        def work() -> tuple[EventRequest, Answered]:
            posted = read_posted(body, self._bounds)
            return posted, endpoint.answer(posted.events, probabilities=probabilities, version=version)

        posted, answered = work() if version is not None else await self._aside(work)
        reason = None
        repeated: frozenset[int] = frozenset()
        try:
            keeping = asyncio.wrap_future(await self._submit(endpoint, answered.batch))
            done, _ = await asyncio.wait([keeping], timeout=LONGEST_WAIT)
            reason = None if done else f"the disk did not answer within {LONGEST_WAIT:.0f} s"
            if done:
                repeated = answered.repeated_rows(keeping.result())
        except EventsNotKeptError as error:  # monitoring is never in the way of serving
            reason = str(error)
        rows = len(answered.batch.predictions)
        refused = list(answered.refused.values())
        self._metrics.count_predictions(endpoint.model, rows, refused, logged=reason is None, repeated=len(repeated))
        return predictions_reply(answered, reason, single=posted.single, repeated=repeated)

    async def _submit(self, endpoint: Endpoint, batch: Batch) -> Future[Receipt]:
        if not endpoint.log.is_open:
            await self._aside(endpoint.log.open)
        started = time.perf_counter()
        future = endpoint.log.submit(batch)
        seconds = self._metrics.commits[endpoint.model]
        future.add_done_callback(lambda _: seconds.observe(time.perf_counter() - started))
        return future

    async def _aside(self, work: Callable[[], T]) -> T:
        """In a worker thread: the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)


def _wants_probabilities(query: bytes) -> bool:
    """Whether the query asks for the probabilities of every class. Raises RefusedError for another value."""
    value = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(PROBABILITIES, ["false"])[-1].lower()
    if value not in _TRUE | _FALSE:
        raise RefusedError(BAD_REQUEST, f"the parameter {PROBABILITIES} is true or false, not {value[:80]!r}")
    return value in _TRUE


async def _send(reply: Reply, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers + reply.headers})
    await send({"type": "http.response.body", "body": reply.body})

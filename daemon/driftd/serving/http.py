"""`driftd serve` over HTTP: predict, feedback, ingestion. An event is acknowledged only once the disk has it.

The routes that take events are plain ASGI: routing and request objects would cost as much as checking an event.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar

import structlog
from starlette.types import Receive, Scope, Send

from driftd.registry import ManifestError
from driftd.serving.bodies import Bodies, ClientGoneError
from driftd.serving.endpoint import Endpoint, NotAnsweredError
from driftd.serving.event_log import NoSchemaError
from driftd.serving.link import NothingServedError
from driftd.serving.metrics import ServingMetrics
from driftd.serving.pages import pages
from driftd.serving.posted import (
    FAILED,
    NOT_FOUND,
    UNAVAILABLE,
    Bounds,
    Posted,
    RefusedError,
    Reply,
    acknowledged,
    failed,
    predicted,
    read_posted,
)
from driftd.store.events import EventsNotKeptError
from driftd.store.events_records import Batch, Receipt, Refusal

if TYPE_CHECKING:
    from driftd.serving.answering import Answered

log = structlog.get_logger()

LARGE_BODY = 100_000  # bytes; reading more in the event loop would keep others waiting
LONGEST_WAIT = 5.0  # seconds that a prediction waits for the disk before it is answered as not logged

Handler = Callable[[Endpoint, bytes], Awaitable[Reply]]
Kind = Literal["prediction", "feedback"]
T = TypeVar("T")


class Serving:
    """The ASGI application over the endpoints of all models."""

    def __init__(self, endpoints: dict[str, Endpoint], bounds: Bounds, metrics: ServingMetrics) -> None:
        self._endpoints = endpoints
        self._bounds = bounds
        self._bodies = Bodies(bounds.body_bytes)
        self._metrics = metrics
        self._pages = pages(endpoints, metrics)
        self._workers = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="predict")
        self._handlers: dict[str, Handler] = {
            "predict": self._predict,
            "predictions": lambda endpoint, body: self._ingest(endpoint, body, "prediction"),
            "feedback": lambda endpoint, body: self._ingest(endpoint, body, "feedback"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: /v1/models/{model}/{predict,predictions,feedback} here, the rest in `pages`."""
        posted = scope["type"] == "http" and scope["method"] == "POST"
        parts: list[str] = scope["path"].split("/") if posted else []
        if len(parts) == 5 and parts[1:3] == ["v1", "models"] and parts[4] in self._handlers:  # noqa: PLR2004 - its parts
            await self._post(parts[3], parts[4], receive, send)
        else:
            await self._pages(scope, receive, send)

    def close(self) -> None:
        """Let go of the worker threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _post(self, model: str, route: str, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            reply = await self._reply(model, route, receive)
        except ClientGoneError:
            return
        except Exception:  # the loop boundary: a fault of ours is one failed request, and is told
            log.exception("request_failed", model=model, route=route)
            reply = failed(FAILED, "driftd failed to answer; its log says why")
        await _send(reply, send)
        self._metrics.answered(model, route, reply.status, time.perf_counter() - started)

    async def _reply(self, model: str, route: str, receive: Receive) -> Reply:
        try:
            async with self._bodies.read(receive) as body:
                endpoint = self._endpoints.get(model)
                if endpoint is None:
                    known = ", ".join(self._endpoints)
                    return failed(NOT_FOUND, f"there is no model {model[:80]!r}; there are {known}", "model")
                return await self._handlers[route](endpoint, body)
        except RefusedError as refused:
            return failed(refused.status, str(refused), refused.field)
        except NotAnsweredError as error:
            log.error("not_answered", model=model, reason=str(error))
            return failed(FAILED, str(error))
        except (NoSchemaError, NothingServedError, ManifestError) as error:
            return failed(UNAVAILABLE, str(error), "model")
        except EventsNotKeptError as error:
            self._metrics.not_kept.labels(model).inc()
            return failed(UNAVAILABLE, f"not kept: {error}")

    async def _ingest(self, endpoint: Endpoint, body: bytes, kind: Kind) -> Reply:
        def read() -> tuple[Posted, Batch, list[Refusal]]:
            posted = read_posted(body, self._bounds)
            return posted, *endpoint.log.read(posted.events, time.time(), only=kind)

        posted, batch, refused = await self._aside(read) if len(body) > LARGE_BODY else read()
        receipt = await asyncio.wrap_future(await self._submit(endpoint, batch))
        self._metrics.kept(endpoint.model, receipt, refused)
        return acknowledged(receipt, refused, single=posted.single)

    async def _predict(self, endpoint: Endpoint, body: bytes) -> Reply:
        def work() -> tuple[Posted, Answered]:
            posted = read_posted(body, self._bounds)
            return posted, endpoint.answer(posted.events)

        posted, answered = await self._aside(work)
        reason = None
        try:
            keeping = asyncio.wrap_future(await self._submit(endpoint, answered.batch))
            done, _ = await asyncio.wait([keeping], timeout=LONGEST_WAIT)
            reason = None if done else f"the disk did not answer within {LONGEST_WAIT:.0f} s"
            if done:
                keeping.result()
        except EventsNotKeptError as error:  # monitoring is never in the way of serving
            reason = str(error)
        rows = len(answered.batch.predictions)
        self._metrics.predicted(endpoint.model, rows, list(answered.refused.values()), logged=reason is None)
        return predicted(answered, reason, single=posted.single)

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


async def _send(reply: Reply, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers + reply.headers})
    await send({"type": "http.response.body", "body": reply.body})

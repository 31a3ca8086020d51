"""`driftd serve` over HTTP: predict, feedback, ingestion. An event is acknowledged only once the disk has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from driftd.serving.endpoint import Endpoint
from driftd.serving.event_log import NoSchemaError
from driftd.serving.metrics import ServingMetrics
from driftd.serving.served_version import NothingServedError
from driftd.store.events import EventsNotKeptError
from driftd.store.events_records import Receipt, Refusal
from driftd.store.migrate import DatabaseError

RETRY_AFTER = "5"  # seconds, for what cannot be kept just now

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request may be."""

    body_bytes: int
    batch_events: int


class _RefusedError(Exception):
    """A request that is answered with `status`, an error sentence and the field at fault."""

    def __init__(self, status: int, error: str, field: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "field": field}
        self.headers = headers


@dataclass(frozen=True, slots=True)
class _Posted:
    """What a body held: its events, and whether it was a single one."""

    events: list[Any]
    single: bool


Handler = Callable[[Endpoint, _Posted], Awaitable[Response]]


class Serving:
    """The routes over the endpoints of all models."""

    def __init__(self, endpoints: dict[str, Endpoint], bounds: Bounds, metrics: ServingMetrics) -> None:
        self._endpoints = endpoints
        self._bounds = bounds
        self._metrics = metrics

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/models/{model}/predict", self._route("predict", self._predict), methods=["POST"]),
                Route("/v1/models/{model}/predictions", self._route("predictions", self._ingest), methods=["POST"]),
                Route("/v1/models/{model}/feedback", self._route("feedback", self._feedback), methods=["POST"]),
                Route("/metrics", self._show_metrics),
                Route("/-/healthy", self._healthy),
                Route("/-/ready", self._ready),
            ]
        )

    def _route(self, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            started = time.perf_counter()
            model = str(request.path_params["model"])
            try:
                endpoint = self._endpoint(model)
                response = await handler(endpoint, self._posted(await self._body(request)))
            except _RefusedError as refused:
                response = _json(refused.body, refused.status, refused.headers)
            except (NoSchemaError, NothingServedError) as error:
                response = _json({"error": str(error), "field": "model"}, 503, {"Retry-After": RETRY_AFTER})
            except (EventsNotKeptError, DatabaseError, OSError) as error:
                self._metrics.not_kept.labels(model).inc()
                response = _json({"error": f"not kept: {error}", "field": ""}, 503, {"Retry-After": RETRY_AFTER})
            known = model if model in self._endpoints else "unknown"
            self._metrics.requests.labels(known, name, str(response.status_code)).inc()
            self._metrics.seconds.labels(known, name).observe(time.perf_counter() - started)
            return response

        return answer

    def _endpoint(self, model: str) -> Endpoint:
        endpoint = self._endpoints.get(model)
        if endpoint is None:
            raise _RefusedError(
                404, f"there is no model {model[:80]!r}; there are {', '.join(self._endpoints)}", "model"
            )
        return endpoint

    async def _body(self, request: Request) -> bytes:
        """The whole body, not a byte more than allowed."""
        limit = self._bounds.body_bytes
        parts, size = [], 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _RefusedError(413, f"the body is larger than {limit} bytes (serve.max_body)")
                parts.append(part)
        except ClientDisconnect as error:
            raise _RefusedError(400, "the client went away before its body was whole") from error
        return b"".join(parts)

    def _posted(self, body: bytes) -> _Posted:
        try:
            given = _decode(body)
        except msgspec.DecodeError as error:
            raise _RefusedError(400, f"the body is not JSON: {error}") from error
        if isinstance(given, dict):
            return _Posted([given], single=True)
        if not isinstance(given, list) or not given:
            raise _RefusedError(400, "the body is one event (an object) or a batch (an array of at least one object)")
        if len(given) > self._bounds.batch_events:
            raise _RefusedError(
                413, f"{len(given)} events in one batch; at most {self._bounds.batch_events} (serve.max_batch)"
            )
        return _Posted(given, single=False)

    async def _ingest(self, endpoint: Endpoint, posted: _Posted) -> Response:
        batch, refused = endpoint.log.read(posted.events, time.time())
        receipt = await asyncio.wrap_future(endpoint.log.submit(batch))
        self._metrics.kept(endpoint.model, receipt, refused)
        return _acknowledged(receipt, refused, single=posted.single)

    async def _feedback(self, endpoint: Endpoint, posted: _Posted) -> Response:
        for event in posted.events:
            if isinstance(event, dict):
                event.setdefault("label", None)  # so that it is refused as feedback and not read as a prediction
        return await self._ingest(endpoint, posted)

    async def _predict(self, endpoint: Endpoint, posted: _Posted) -> Response:
        rows, ids, at = _rows(posted.events)
        answers = await run_in_threadpool(endpoint.predict, rows, ids, at)
        self._metrics.predicted(endpoint.model, answers)
        return _json(answers[0] if posted.single else answers)

    async def _show_metrics(self, request: Request) -> Response:
        for endpoint in self._endpoints.values():
            self._metrics.version.labels(endpoint.model).set(endpoint.version or 0)
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(self._metrics.registry), media_type=content_type)

    async def _healthy(self, _: Request) -> Response:
        return PlainTextResponse("driftd serve is healthy\n")

    async def _ready(self, _: Request) -> Response:
        missing = [name for name, endpoint in self._endpoints.items() if endpoint.version is None]
        if missing:
            return PlainTextResponse(f"no version of {', '.join(missing)} can be served yet\n", status_code=503)
        return PlainTextResponse("driftd serve is ready\n")


def _rows(events: list[Any]) -> tuple[list[dict[str, Any]], list[str] | None, list[Any]]:
    """The features of each event, its id and its time. Raises for the first that is malformed: nothing is predicted."""
    for index, event in enumerate(events):
        if not isinstance(event, dict) or not isinstance(event.get("features"), dict):
            raise _RefusedError(422, f"event {index} needs an object `features`, name to value", f"[{index}].features")
        if "prediction_id" in event and not (isinstance(event["prediction_id"], str) and event["prediction_id"]):
            raise _RefusedError(422, f"event {index}: a prediction_id is a text", f"[{index}].prediction_id")
    named = sum("prediction_id" in event for event in events)
    if named not in (0, len(events)):
        raise _RefusedError(
            422, f"{named} of {len(events)} events have a prediction_id; give it to all or to none", "prediction_id"
        )
    ids = [event["prediction_id"] for event in events] if named else None
    return [event["features"] for event in events], ids, [event.get("at") for event in events]


def _acknowledged(receipt: Receipt, refused: list[Refusal], *, single: bool) -> Response:
    """200 when anything was taken (a duplicate is), 422 when everything was refused."""
    if single and refused:
        return _json({"error": refused[0].reason, "field": refused[0].field}, 422)
    body = {
        "accepted": receipt.predictions + receipt.feedback,
        "duplicates": receipt.duplicates,
        "refused": [
            {"index": one.index, "prediction_id": one.prediction_id, "field": one.field, "reason": one.reason}
            for one in refused
        ],
    }
    taken = receipt.predictions + receipt.feedback + receipt.duplicates
    return _json(body, 200 if taken or not refused else 422)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(body), status, headers, "application/json")

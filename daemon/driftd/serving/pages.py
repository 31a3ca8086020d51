"""The pages of `driftd serve` for operators and probes, and its answers to requests that are none."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from driftd.serving.endpoint import Endpoint
from driftd.serving.metrics import ROUTES, ServingMetrics
from driftd.web.exposition import encoder_for

TOLD = "POST /v1/models/{model}/predict, /predictions or /feedback; GET /metrics, /-/healthy, /-/ready"


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
        """Ready when anything can be served: one model without a version must not take the others down."""
        obstacles = {name: _obstacle(endpoint) for name, endpoint in endpoints.items()}
        told = "".join(f"{name}: {obstacle}\n" for name, obstacle in obstacles.items() if obstacle)
        able = any(endpoint.version is not None for endpoint in endpoints.values())
        return PlainTextResponse(("driftd serve is ready\n" if able else "") + told, status_code=200 if able else 503)

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told = {"error": f"{error.detail}: driftd serve answers {TOLD}", "field": ""}
        return JSONResponse(told, error.status_code, error.headers)

    async def only_post(_: Request) -> Response:
        raise HTTPException(405, "Method Not Allowed", {"Allow": "POST"})

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            *(Route(f"/v1/models/{{model}}/{name}", only_post) for name in ROUTES),
        ],
        exception_handlers={HTTPException: refuse},
    )


def _obstacle(endpoint: Endpoint) -> str | None:
    if endpoint.version is None:
        return "no version can be served yet; `driftd init` makes the first one"
    return endpoint.fault

"""What `driftd serve` tells of its models: all of them, one, and the OpenAPI document of their routes."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driftd.serving.descriptions import describe
from driftd.serving.endpoint import Endpoint
from driftd.serving.openapi import openapi_document


def model_routes(endpoints: Mapping[str, Endpoint]) -> list[Route]:
    """GET /openapi.json, /v1/models and /v1/models/{model}; they read manifests, so each runs in a thread."""

    def models(_: Request) -> Response:
        return JSONResponse({"models": [describe(endpoint) for endpoint in endpoints.values()]})

    def model(request: Request) -> Response:
        endpoint = endpoints.get(request.path_params["model"])
        if endpoint is None:
            known = ", ".join(endpoints)
            error = f"there is no model {request.path_params['model'][:80]!r}; there are {known}"
            return JSONResponse({"error": error, "field": "model"}, 404)
        return JSONResponse(describe(endpoint))

    def openapi(_: Request) -> Response:
        return JSONResponse(openapi_document([describe(endpoint) for endpoint in endpoints.values()]))

    return [
        Route("/openapi.json", openapi),
        Route("/v1/models", models),
        Route("/v1/models/{model}", model),
    ]

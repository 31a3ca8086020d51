"""What `driftd serve` says of itself: its OpenAPI document, its models, what each model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypedDict, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from driftd.registry import ManifestError
from driftd.serving.endpoint import Endpoint
from driftd.serving.event_log import NoSchemaError
from driftd.store.events.validation import Window
from driftd_detectors.schema import Kind, Schema, Task


class FeatureDescription(TypedDict):
    """One feature that a model takes."""

    name: str
    kind: str


class _Shape(TypedDict):
    task: str | None
    target: str | None
    features: list[FeatureDescription]
    classes: list[str]
    score: str | None


class Description(_Shape):
    """What the API tells of a model."""

    name: str
    version: int | None
    fault: str | None


def describe(endpoint: Endpoint) -> Description:
    """The served version and its schema; `fault` says why there is none, or why another version answers."""
    fault = endpoint.fault
    shape: _Shape = {"task": None, "target": None, "features": [], "classes": [], "score": None}
    try:
        shape = _shape(endpoint.log.schema())
    except (NoSchemaError, ManifestError) as error:
        fault = str(error)
    return {"name": endpoint.model, "version": endpoint.version, "fault": fault, **shape}


def _shape(schema: Schema) -> _Shape:
    return {
        "task": str(schema.task),
        "target": schema.target,
        "features": [{"name": feature.name, "kind": str(feature.kind)} for feature in schema.features],
        "classes": list(schema.classes),
        "score": _score(schema),
    }


def _score(schema: Schema) -> str | None:
    """What the score of an answer is."""
    if schema.task is Task.REGRESSION:
        return None
    if schema.is_binary:
        return f"the probability of {schema.classes[1]}"
    return "the probability of the predicted class"


Json = dict[str, Any]

_VALUES: dict[Kind, Json] = {
    Kind.NUMBER: {"type": ["number", "boolean", "null"]},
    Kind.CATEGORY: {"type": ["string", "number", "boolean", "null"], "maxLength": 1000},
    Kind.BOOLEAN: {"type": ["boolean", "number", "null"]},
    Kind.TIMESTAMP: {"type": ["string", "number", "null"], "description": "ISO 8601, or epoch seconds"},
}
_ID: Json = {"type": ["string", "integer"], "maxLength": 200, "description": "joins the prediction and its label"}
_AT: Json = {
    "type": ["string", "number", "null"],
    "description": "ISO 8601, or epoch seconds, within the retention; now unless given",
}
_WINDOW = (
    "`will_be_checked`, or `closed`: it was checked before, or lies before the first one that is; what comes later is "
    "kept for builds and references"
)
_NAMES: Json = {"type": "array", "items": {"type": "string"}}
_TEXT: Json = {"type": "string"}
_WHOLE: Json = {"type": "integer"}
_REFUSED: Json = {
    "type": "object",
    "properties": {"index": _WHOLE, "prediction_id": {"type": ["string", "null"]}, "field": _TEXT, "reason": _TEXT},
}
_COMMON: dict[str, Json] = {
    "Error": {
        "type": "object",
        "required": ["error", "field"],
        "properties": {
            "error": _TEXT,
            "field": {"type": "string", "description": "of the event, where one is at fault"},
        },
    },
    "RefusedRow": {
        "type": "object",
        "required": ["index", "error", "field"],
        "properties": {"index": _WHOLE, "error": _TEXT, "field": _TEXT},
    },
    "Acknowledgement": {
        "type": "object",
        "required": ["accepted", "duplicates", "refused"],
        "properties": {
            "accepted": _WHOLE,
            "duplicates": {"type": "integer", "description": "were kept before; the first one stays"},
            "refused": {"type": "array", "items": _REFUSED},
            "unknown_features": _NAMES,
            "missing_features": _NAMES,
            "windows": {
                "type": "object",
                "properties": dict.fromkeys(get_args(Window), _WHOLE),
                "description": f"how many of the accepted predictions that bring `at`, by their window: {_WINDOW}",
            },
        },
    },
    "Model": {
        "type": "object",
        "required": ["name", "version", "fault", "task", "target", "features", "classes", "score"],
        "properties": {
            "name": _TEXT,
            "version": {"type": ["integer", "null"]},
            "fault": {"type": ["string", "null"]},
            "task": {"enum": [*map(str, Task), None]},
            "target": {"type": ["string", "null"]},
            "features": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "kind"],
                    "properties": {"name": _TEXT, "kind": {"enum": [*map(str, Kind)]}},
                },
            },
            "classes": _NAMES,
            "score": {"type": ["string", "null"], "description": "what the score of an answer is"},
        },
    },
}


def openapi_document(models: Sequence[Description]) -> Json:
    """The document for models as `describe` tells them."""
    schemas = dict(_COMMON)
    paths: Json = {
        "/v1/models": {"get": _get("Every model", {"type": "object", "properties": {"models": _model_list()}})}
    }
    for model in models:
        name = model["name"]
        schemas |= _schemas_of(model)
        paths |= {
            f"/v1/models/{name}": {"get": _get(f"What {name} takes and answers", _ref("Model"))},
            f"/v1/models/{name}/predict": {"post": _predict(name)},
            f"/v1/models/{name}/predictions": {
                "post": _ingest(f"Log predictions of {name} that were made elsewhere", f"{name}.Prediction")
            },
            f"/v1/models/{name}/feedback": {
                "post": _ingest(f"Hand in true labels of predictions of {name}", f"{name}.Feedback")
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "driftd serve", "version": _own_version(), "description": "Predictions and feedback"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas_of(model: Description) -> dict[str, Json]:
    """The shapes of one model's events and answers, by their names in the document."""
    name, outcome = model["name"], _outcome(model)
    row = {
        "type": "object",
        "description": "null and absent are missing; what the model does not know is not used, and named in the answer",
        "properties": {feature["name"]: _VALUES[Kind(feature["kind"])] for feature in model["features"]},
    }
    event = {"prediction_id": _ID, "at": _AT, "features": _ref(f"{name}.Row")}
    score = {"type": ["number", "null"], "description": model["score"] or "none"}
    answer = {
        "prediction_id": _TEXT,
        "prediction": outcome,
        "score": score,
        "version": _WHOLE,
        "logged": {"type": "boolean", "description": "whether the monitor will see it; the prediction is good anyway"},
        "reason": {"type": "string", "description": "why it is not logged"},
        "probabilities": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        "unknown_features": _NAMES,
        "missing_features": _NAMES,
        "window": {"enum": [*get_args(Window)], "description": f"of a row that brings `at`: {_WINDOW}"},
    }
    made = {**event, "prediction": outcome, "score": score, "version": {"type": ["integer", "null"]}}
    label = {"prediction_id": _ID, "at": _AT, "label": outcome}
    return {
        f"{name}.Row": row,
        f"{name}.Event": _object(event, "features"),
        f"{name}.Answer": _object(answer, "prediction_id", "prediction", "score", "version", "logged"),
        f"{name}.Prediction": _object(made, "prediction_id", "features", "prediction"),
        f"{name}.Feedback": _object(label, "prediction_id", "label"),
    }


def _outcome(model: Description) -> Json:
    if model["task"] == Task.REGRESSION:
        return {"type": "number"}
    of = f": {', '.join(model['classes'])}" if model["classes"] else ""
    return {"type": ["string", "number", "boolean"], "description": f"a class{of}"}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "required": [*required], "properties": properties}


def _get(summary: str, schema: Json) -> Json:
    return {"summary": summary, "responses": {"200": _json("The answer", schema)}}


def _predict(name: str) -> Json:
    row = {"oneOf": [_ref(f"{name}.Answer"), _ref("RefusedRow")]}
    parameter = {
        "name": "probabilities",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "answer with the probability of every class",
    }
    return {
        "summary": f"Predict with the served version of {name}, and log what was predicted",
        "security": [{}, {"bearer": []}],
        "parameters": [parameter],
        "requestBody": _body(f"{name}.Event"),
        "responses": {
            "200": _json("One answer, or one for each event of a batch", _one_or_many(_ref(f"{name}.Answer"), row)),
            **_errors(),
        },
    }


def _ingest(summary: str, event: str) -> Json:
    return {
        "summary": summary,
        "security": [{}, {"bearer": []}],
        "requestBody": _body(event),
        "responses": {"200": _json("Kept on the disk", _ref("Acknowledgement")), **_errors()},
    }


def _errors() -> Json:
    meanings = {
        "400": "The body is no JSON",
        "401": "A token is needed",
        "413": "The body or the batch is too large",
        "422": "Every event was refused; nothing was kept",
        "503": "Nothing can be kept, or no version can be served",
    }
    return {
        status: _json(meaning, {}) if status == "422" else _json(meaning, _ref("Error"))
        for status, meaning in meanings.items()
    }


def _body(event: str) -> Json:
    return {"required": True, "content": {"application/json": {"schema": _one_or_many(_ref(event), _ref(event))}}}


def _one_or_many(single: Json, row: Json) -> Json:
    return {"oneOf": [single, {"type": "array", "minItems": 1, "items": row}]}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _model_list() -> Json:
    return {"type": "array", "items": _ref("Model")}


@cache
def _own_version() -> str:
    try:
        return version("driftd")
    except PackageNotFoundError:  # run from a source tree
        return "0"


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

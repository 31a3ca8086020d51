"""The OpenAPI document of the daemon's HTTP: `GET /openapi.json`, and docs/openapi.json, which this module prints."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

import msgspec

from driftd.api.requests import REQUESTS, Request, RequestView, SessionView, Submit
from driftd.events import Stage

Json = dict[str, Any]

VERSION = "1"  # of what is under /api/v1

_REF = "#/components/schemas/{name}"
_PLACES: dict[str, Json] = {
    "model": {"type": "string", "maxLength": 200},
    "feature": {"type": "string"},
    "span": {"enum": ["day", "week", "month", "all"], "default": "week"},
    "a": {"type": "integer", "minimum": 1},
    "b": {"type": "integer", "minimum": 1},
    "from": {"type": "number", "description": "epoch seconds, with `to` in place of a span"},
    "to": {"type": "number", "description": "epoch seconds"},
    "first": {"type": "integer", "description": "the number of a window"},
    "last": {"type": "integer", "description": "the number of a window, not before `first`"},
    "at": {"type": "number", "description": "epoch seconds"},
    "alarm": {"type": "integer", "minimum": 0},
    "decision": {"type": "integer", "minimum": 0},
    "request": {"type": "integer", "minimum": 0},
    "version": {"type": "integer", "minimum": 0},
    "stage": {"enum": [str(stage) for stage in Stage]},
    "attempt": {"type": "integer", "minimum": 1, "description": "the newest unless given"},
    "path": {"type": "string"},
    "build": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*-[0-9]+$"},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
}
_ENDS = ("first", "last")
_LOOKS: dict[str, tuple[str, str, tuple[str, ...]]] = {  # path: what it is, its type, what may stand in its query
    "/": ("The page", "text/html", ()),
    "/runbook": ("What to do about each alert", "text/html", ()),
    "/page/{path}": ("Files of the page", "*/*", ()),
    "/metrics": ("The metrics, for Prometheus", "text/plain", ()),
    "/-/healthy": ("Whether the main loop moves; 503 with why, where it does not", "text/plain", ()),
    "/-/ready": ("Whether a model is watched without a fault; 503 with why not", "text/plain", ()),
    "/reports/{model}/{alarm}": ("Evidently's page of an alarm", "text/html", ()),
    "/alarms/{alarm}/report": ("An alarm on one screen, as a file to forward", "text/html", ()),
    "/decisions/{decision}/report": ("A decision on one screen, as a file to forward", "text/html", ()),
    "/openapi.json": ("This document", "application/json", ()),
    "/api/status": ("Where each model stands, for probes", "application/json", ()),
    "/api/fleet": ("What the page shows of the fleet", "application/json", ()),
    "/api/config": ("The config in force, and what was read", "application/json", ()),
    "/api/models/{model}": ("What the page shows of a model", "application/json", ("span", "from", "to")),
    "/api/models/{model}/scores": ("How far each stream moved, by window", "application/json", ("span", "from", "to")),
    "/api/models/{model}/distribution": (
        "A feature now beside its reference",
        "application/json",
        ("feature", "first", "last"),
    ),
    "/api/models/{model}/quality": (
        "How good some windows were, by a job: 202 while it works",
        "application/json",
        _ENDS,
    ),
    "/api/models/{model}/rows": ("A sample of the rows of some windows, by a job", "application/json", _ENDS),
    "/api/models/{model}/rows.csv": ("The same as CSV", "text/csv", _ENDS),
    "/api/models/{model}/compare": ("Two versions side by side", "application/json", ("a", "b")),
    "/api/models/{model}/served": ("Which version served at a time", "application/json", ("at",)),
    "/models/{model}/compare": ("Leads to the page of two versions side by side", "text/html", ("a", "b")),
    "/api/v1/models/{model}/label-requests": (
        "The newest draw of labels, or that by a time",
        "application/json",
        ("at",),
    ),
    "/api/models/{model}/stages/{version}/{stage}/log": (
        "The end of what the job of a stage printed; a token is needed (403 without)",
        "text/plain",
        ("attempt",),
    ),
    "/api/decisions/{decision}": ("A decision whole", "application/json", ()),
    "/api/alarms/{alarm}": ("An alarm with the decision on it", "application/json", ()),
}
_PROTECTED: list[Json] = [{}, {"token": []}]  # a token where `http.protect` is `all`
_REFUSALS = {
    "400": "The body is no JSON",
    "401": "A token is needed",
    "403": "The token may not operate, or a page of another origin asks",
    "404": "There is no such model",
    "409": "The Idempotency-Key is that of another request",
    "413": "The body is too long",
    "415": "The body is not said to be JSON",
    "422": "A field is missing, unknown or of another type",
    "429": "The token asked too often",
    "503": "It cannot be kept now; Retry-After says when to come again",
}
_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"},
    "description": "the same key with the same request is not asked twice",
}


@cache
def document() -> Json:
    """The whole document; it depends on nothing but the program."""
    schemas = msgspec.json.schema_components([*REQUESTS.values(), RequestView, SessionView], ref_template=_REF)[1]
    paths: Json = {path: {"get": _look(path, *about)} for path, about in _LOOKS.items()}
    paths["/-/reload"] = {method: _reload(method) for method in ("post", "put")}
    paths["/api/v1/requests/{request}"] = {"get": _outcome()}
    paths["/api/v1/session"] = {"get": _session()}
    paths["/api/v1/models/{model}/versions"] = {"post": _submit()}
    paths |= _BUILDS
    for kind, request in REQUESTS.items():
        paths[f"/api/v1/models/{{model}}/{kind}"] = {"post": _ask(request)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "driftd", "version": VERSION, "description": "The daemon: what it knows and is asked"},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "responses": {f"Refusal{status}": _json(meaning, "Error") for status, meaning in _REFUSALS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "any token of http.token_file"},
                "operator": {"type": "http", "scheme": "bearer", "description": "one with role=operate"},
                "submitter": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "one with role=submit or role=operate",
                },
                "build": {"type": "http", "scheme": "bearer", "description": "the one-time token of an order"},
            },
        },
    }


_ERROR: Json = {
    "type": "object",
    "required": ["error", "field"],
    "properties": {
        "error": {"type": "string"},
        "field": {"type": "string", "description": "of the request, where one is at fault"},
    },
}


def _look(path: str, summary: str, media: str, query: tuple[str, ...]) -> Json:
    schema: Json = {"type": "object"} if media == "application/json" else {"type": "string"}
    responses = {"200": {"description": "The answer", "content": {media: {"schema": schema}}}}
    if "{" in path:
        responses["404"] = {"description": "There is none"}
    return {
        "summary": summary,
        "operationId": f"get {path}",
        "security": [] if path == "/-/healthy" else _PROTECTED,
        "parameters": [*_in_path(path), *_in_query(query)],
        "responses": responses,
    }


def _in_path(path: str) -> list[Json]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _PLACES[name]} for name in names]


def _in_query(names: tuple[str, ...]) -> list[Json]:
    return [{"name": name, "in": "query", "schema": _PLACES[name]} for name in names]


def _reload(method: str) -> Json:
    return {
        "summary": "Take the config on disk up",
        "operationId": f"{method} /-/reload",
        "security": [{}, {"token": []}],
        "responses": {
            "200": {"description": "It is in force"},
            "400": {"description": "It is refused, and why"},
            "401": {"description": "A token is needed, where there are tokens"},
        },
    }


def _outcome() -> Json:
    return {
        "summary": "What became of a request",
        "operationId": "get request",
        "security": _PROTECTED,
        "parameters": _in_path("/{request}"),
        "responses": {
            "200": _json("The request, with its answer once there is one", RequestView.__name__),
            "404": _json("There is no such request", "Error"),
            "503": _json("The state cannot be read now", "Error"),
        },
    }


def _session() -> Json:
    return {
        "summary": "Who the token in the header is, and whether it may operate",
        "operationId": "get session",
        "security": _PROTECTED,
        "responses": {
            "200": _json("The name of the token, or that there is none", SessionView.__name__),
            "401": _json("The token is not known (any more)", "Error"),
        },
    }


def _ask(request: type[Request]) -> Json:
    schema = {"$ref": _REF.format(name=request.__name__)}
    return {
        "summary": request.summary,
        "description": request.__doc__,
        "operationId": request.kind,
        "security": [{"operator": []}],
        "parameters": [*_in_path("/{model}"), _KEY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "202": _json("It is kept, and answered by the loop", RequestView.__name__),
            **{status: {"$ref": f"#/components/responses/Refusal{status}"} for status in _REFUSALS},
        },
    }


_FILE: Json = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
_HASH: Json = {
    "name": "X-Driftd-SHA256",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "description": "of the file",
}
_COMMIT: Json = {
    "name": "X-Driftd-Commit",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{7,64}$"},
    "description": "of git: the sources that the model was made of, for its lineage",
}


def _submit() -> Json:
    query: list[tuple[str, bool, str]] = [
        ("file", True, "the name of the file, whose ending says what it is: model.skops"),
        ("trained_until", False, "up to when the rows go that it was trained on; now unless given"),
        ("reason", False, "why, for the history"),
    ]
    parameters = [
        {"name": name, "in": "query", "required": needed, "schema": {"type": "string"}, "description": about}
        for name, needed, about in query
    ]
    return {
        "summary": Submit.summary,
        "description": Submit.__doc__,
        "operationId": Submit.kind,
        "security": [{"submitter": []}],
        "parameters": [*_in_path("/{model}"), *parameters, _HASH, _COMMIT, _KEY],
        "requestBody": _FILE,
        "responses": {
            "202": _json("It is kept, and answered by the loop", RequestView.__name__),
            **{status: {"$ref": f"#/components/responses/Refusal{status}"} for status in _REFUSALS},
        },
    }


def _of_build(summary: str, path: str, media: str = "application/json", body: Json | None = None) -> Json:
    """What a builder outside may ask, with the token of its order."""
    schema: Json = {"type": "object"} if media == "application/json" else {"type": "string"}
    status = "200" if body is None else "202"
    refusals = {
        "401": "There is no build for this token",
        "409": "The build has ended meanwhile",
        "410": "The build has ended, or its deadline has",
        "413": "It is too large",
        "422": "It is not what was promised",
        "503": "It cannot be kept now",
    }
    return {
        "summary": summary,
        "operationId": f"{'get' if body is None else 'give'} {path}",
        "security": [{"build": []}],
        "parameters": [*_in_path(path), *([_HASH, _COMMIT] if "{name}" in path else [])],
        **({} if body is None else {"requestBody": body}),
        "responses": {
            status: {"description": "The answer", "content": {media: {"schema": schema}}},
            **{refusal: _json(meaning, "Error") for refusal, meaning in refusals.items()},
        },
    }


def _json(description: str, name: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}}


_ROOM = "/api/v1/builds/{build}"
_LOG: Json = {"required": False, "content": {"text/plain": {"schema": {"type": "string", "maxLength": 65_536}}}}
_BUILDS: Json = {
    _ROOM: {"get": _of_build("What a build is about: the context that trainers get", _ROOM)},
    f"{_ROOM}/snapshot": {"get": _of_build("The rows of a build", f"{_ROOM}/snapshot", "application/octet-stream")},
    f"{_ROOM}/artefact/{{name}}": {
        method: _of_build("Give the model of a build back", f"{_ROOM}/artefact/{{name}}", body=_FILE)
        | {"operationId": f"{method} artefact"}
        for method in ("put", "post")
    },
    f"{_ROOM}/failed": {"post": _of_build("Say that a build has failed, and why", f"{_ROOM}/failed", body=_LOG)},
}


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1)
    sys.stdout.write("\n")

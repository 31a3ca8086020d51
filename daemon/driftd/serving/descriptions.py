"""What a model takes and answers, as `GET /v1/models/{model}` tells it."""

from __future__ import annotations

from typing import TypedDict

from driftd.registry import ManifestError
from driftd.serving.endpoint import Endpoint
from driftd.serving.event_log import NoSchemaError
from driftd_detectors.schema import Schema, Task


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

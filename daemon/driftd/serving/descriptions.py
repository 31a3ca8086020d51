"""What a model takes and answers, as `GET /v1/models/{model}` tells it."""

from __future__ import annotations

from typing import Any

from driftd.registry import ManifestError
from driftd.serving.endpoint import Endpoint
from driftd.serving.event_log import NoSchemaError
from driftd_detectors.schema import Schema, Task


def describe(endpoint: Endpoint) -> dict[str, Any]:
    """The served version and its schema; `fault` says why there is none, or why another version answers."""
    told: dict[str, Any] = {"name": endpoint.model, "version": endpoint.version, "fault": endpoint.fault}
    try:
        return told | _shape(endpoint.log.schema())
    except (NoSchemaError, ManifestError) as error:
        return told | {"fault": str(error), "task": None, "target": None, "features": [], "classes": [], "score": None}


def _shape(schema: Schema) -> dict[str, Any]:
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

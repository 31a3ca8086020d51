"""The `inspect` task: what an existing model says of itself. A process of its own, because loading may run code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from driftd.training.adoption import read_model


def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The `ModelCard` of the model that `source` names. Raises AdoptionError, ArtefactError."""
    return read_model(arguments["source"], allow_pickle=bool(arguments["allow_pickle"])).card().to_dict()

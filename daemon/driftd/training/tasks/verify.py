"""The `verify` task: the version that shall serve must load, and predict what it predicted when it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from driftd.paths import Places
from driftd.registry import Registry
from driftd.training.references import PROBE, compare_probe


def run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Load by hash and compare. Raises ManifestError, ArtefactError or PredictionError."""
    registry = Registry(Places(Path(arguments["state_dir"])))
    model, version = arguments["model"], int(arguments["version"])
    loaded = registry.load(model, version, allow_joblib=bool(arguments.get("allow_joblib", False)))
    return {"version": version, "rows_compared": compare_probe(loaded, registry.file(model, version, PROBE))}

"""The `verify` task: the version that shall serve must load, and predict what it predicted when it was trained."""

from __future__ import annotations

from pathlib import Path

import msgspec

from driftd.paths import Places
from driftd.registry import Registry
from driftd.training.references import PROBE, compare_probe


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The version that shall serve."""

    model: str
    state_dir: str
    version: int
    allow_joblib: bool = False


def run(arguments: Arguments) -> dict[str, object]:
    """Load by hash and compare. Raises ManifestError, ArtefactError or PredictionError."""
    registry = Registry(Places(Path(arguments.state_dir)))
    model, version = arguments.model, arguments.version
    loaded = registry.load(model, version, allow_joblib=arguments.allow_joblib)
    return {"version": version, "rows_compared": compare_probe(loaded, registry.file(model, version, PROBE))}

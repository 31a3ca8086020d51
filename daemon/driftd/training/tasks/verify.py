"""The `verify` task: the version that shall serve must load, and predict what it predicted when it was trained."""

from __future__ import annotations

from pathlib import Path

import msgspec

from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.manifest import PROBE
from driftd.training.references import REFERENCE, compare_probe


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The version that shall serve."""

    model: str
    state_dir: str
    version: int
    allow_joblib: bool = False
    is_external: bool = False


def run(arguments: Arguments) -> dict[str, object]:
    """Load by hash and compare. Raises ManifestError, ArtefactError or PredictionError.

    A version that another system serves is only watched here: its reference must be whole.
    """
    registry = Registry(Places(Path(arguments.state_dir)))
    model, version = arguments.model, arguments.version
    if arguments.is_external:
        registry.file(model, version, REFERENCE)
        return {"version": version, "rows_compared": 0}
    loaded = registry.load(model, version, allow_joblib=arguments.allow_joblib)
    return {"version": version, "rows_compared": compare_probe(loaded, registry.file(model, version, PROBE))}

"""The lane of a model's versions: each with its lineage in data, code and parameters, and who let it serve."""

from __future__ import annotations

from typing import Any

from driftd.records import ModelState
from driftd.registry import ManifestError, Registry
from driftd.registry.manifest import Manifest
from driftd.store.state_series import SeriesReader

MOST_VERSIONS = 30


def version_lane(reader: SeriesReader, registry: Registry, state: ModelState) -> list[dict[str, Any]]:
    """The latest versions, newest first. One whose manifest cannot be read says why and hides no other."""
    return [_version(reader, registry, state, one) for one in reversed(registry.versions(state.model)[-MOST_VERSIONS:])]


def _version(reader: SeriesReader, registry: Registry, state: ModelState, version: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "version": version,
        "serves": version == state.champion,
        "barred": version in state.barred,
        "approved_by": reader.approver(state.model, version),
    }
    try:
        return told | _lineage(registry.manifest(state.model, version))
    except ManifestError as error:
        return told | {"error": str(error)}


def _lineage(manifest: Manifest) -> dict[str, Any]:
    gate = manifest.gate or {}
    return {
        "created_at": manifest.created_at,
        "trigger": manifest.trigger,
        "reason": manifest.reason,
        "parent": manifest.parent,
        "status": manifest.status,
        "data": {
            "snapshot": manifest.snapshot,
            "rows": manifest.data.get("rows"),
            "chosen": manifest.data.get("chosen"),
            "first_at": manifest.data.get("first_at"),
            "last_at": manifest.data.get("last_at"),
        },
        "code": {
            "trainer": manifest.trainer.reference,
            "fingerprint": manifest.trainer.fingerprint,
            "commit": manifest.trainer.commit,
            "dirty": manifest.trainer.dirty,
        },
        "parameters": dict(manifest.parameters),
        "seed": manifest.seed,
        "metrics": dict(manifest.metrics),
        "gate": {"decision": gate.get("decision"), "sentence": gate.get("sentence")},
    }

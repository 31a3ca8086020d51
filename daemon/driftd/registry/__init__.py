"""Versions on disk: immutable, hash-checked, published and pointed to by rename."""

from __future__ import annotations

from driftd.registry.manifest import Adopted, Manifest, ManifestError, Trainer
from driftd.registry.versions import Registry, RegistryError

__all__ = ["Adopted", "Manifest", "ManifestError", "Registry", "RegistryError", "Trainer"]

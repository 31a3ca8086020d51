"""The served version in memory. It follows the `current` link; whoever asks gets one whole version, never a mixture."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from driftd.places import Places
from driftd.registry import Registry
from driftd.registry.artefact import ArtefactError
from driftd.registry.loaded import LoadedVersion
from driftd.registry.manifest import ManifestError

log = structlog.get_logger()

RETRY_SECONDS = 5.0  # a version that could not be loaded is tried again so often while the link names it


class NothingServedError(Exception):
    """No version can be served: none is linked yet, or the linked one cannot be loaded and no other was before."""


class ServedVersion:
    """One model's current version. Safe to share between threads.

    The link is read at every call (two system calls), so that a swap is taken up by the next prediction. The new
    version is loaded beside the old one, and replaces it in one assignment; when it cannot be loaded the old one goes
    on serving, `fault` says why, and it is tried again every few seconds.
    """

    def __init__(self, places: Places, model: str, *, allow_joblib: bool = False) -> None:
        self._registry = Registry(places)
        self._root = places.root
        self._model = model
        self._allow_joblib = allow_joblib
        self._loaded: LoadedVersion | None = None
        self._lock = threading.Lock()
        self._refused: tuple[int, float] | None = None  # a version that could not be loaded, and when
        self.fault: str | None = None

    def get(self) -> LoadedVersion:
        """The version to answer with. Raises NothingServedError when there is none."""
        number = self._registry.current(self._model)
        loaded = self._loaded
        if loaded is not None and loaded.version == number:
            return loaded
        with self._lock:
            return self._renewed(self._registry.current(self._model))

    def _renewed(self, number: int | None) -> LoadedVersion:
        loaded = self._loaded
        if number is None:
            return self._kept(f"{self._model} has no version under {self._root}: run `driftd init`")
        if loaded is not None and loaded.version == number:
            return loaded
        if self._refused is not None and self._refused[0] == number and time.monotonic() < self._refused[1]:
            return self._kept(self.fault or "the version cannot be loaded")
        try:
            fresh = self._registry.load(self._model, number, allow_joblib=self._allow_joblib)
        except (ManifestError, ArtefactError, OSError) as error:
            self._refused = (number, time.monotonic() + RETRY_SECONDS)
            log.error("version_not_loaded", model=self._model, version=number, reason=str(error))
            return self._kept(f"version {number} cannot be loaded: {error}")
        log.info("version_served", model=self._model, version=number, before=loaded.version if loaded else None)
        self._loaded, self._refused, self.fault = fresh, None, None
        return fresh

    def _kept(self, fault: str) -> LoadedVersion:
        self.fault = fault
        if self._loaded is None:
            raise NothingServedError(fault)
        return self._loaded


def open_served(state_dir: str | Path, model: str, *, allow_joblib: bool = False) -> ServedVersion:
    """The served version of a model below a state directory."""
    return ServedVersion(Places(Path(state_dir)), model, allow_joblib=allow_joblib)

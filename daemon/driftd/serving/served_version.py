"""The served version in memory. It follows the `current` link; whoever asks gets one whole version, never a mixture."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
import structlog
from threadpoolctl import threadpool_limits

from driftd.paths import Places
from driftd.registry import ManifestError, Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion, PredictionError
from driftd.registry.manifest import PROBE
from driftd.registry.versions import CurrentLink, NothingServedError, version_of
from driftd_detectors.schema import Kind, Schema

log = structlog.get_logger()

RETRY_SECONDS = 5.0  # a version that could not be loaded is tried again so often while the link names it


@dataclass(frozen=True, slots=True)
class _Refused:
    """A target of the link that cannot be served, why, and when (monotonic) it is tried again."""

    target: str
    reason: str
    again: float


class ServedVersion:
    """One model's current version. Safe to share between threads.

    The link is read at every call, so that a swap is taken up by the next prediction. The new version is loaded beside
    the old one, by the call that saw the swap; other calls are answered by the old one meanwhile. It is replaced in one
    assignment. When the new version cannot be loaded the old one goes on serving, `fault` says why, and the new one is
    tried again every few seconds. A process that has no old one in memory answers nothing then; with `fallback` it
    loads the newest version that the linked one, directly or not, was built to replace.
    """

    def __init__(self, places: Places, model: str, *, allow_joblib: bool = False, fallback: bool = False) -> None:
        self._registry = Registry(places)
        self._link = CurrentLink(places, model)
        self._root = places.root
        self._model = model
        self._allow_joblib = allow_joblib
        self._fallback = fallback
        self._warm: int | None = None  # the version that has predicted a row
        self._loading = threading.Lock()
        self._served: tuple[str, LoadedVersion] | None = None  # what the link said, and what was loaded for it
        self._refused: _Refused | None = None

    @property
    def number(self) -> int | None:
        """The version in memory; None before the first one is loaded. Never loads anything."""
        return self._served[1].version if self._served is not None else None

    @property
    def fault(self) -> str | None:
        """Why the version that the link names is not the one that answers; None when it is, or nobody asked yet."""
        refused, served = self._refused, self._served
        if refused is None or refused.target != self._link.read():
            return None
        return refused.reason if served is None else f"{refused.reason}; version {served[1].version} answers instead"

    @property
    def is_warm(self) -> bool:
        """Whether a version has predicted a row here: the first time, libraries are imported and threads begun."""
        return self._warm is not None

    def warm(self) -> None:
        """Load what the link names now, and have it predict a row of its schema. Raises NothingServedError."""
        version = self.get()
        if self._warm == version.version:
            return
        try:
            version.predict(feature_frame(_sample(version.schema), version.schema))
        except PredictionError as error:  # a row that was never seen: only a real one tells whether the version answers
            log.info("version_not_warmed", model=self._model, version=version.version, reason=str(error))
        self._warm = version.version

    def linked_direct(self) -> LoadedVersion | None:
        """The version in memory if the link names it and it has direct answers. Never loads anything."""
        served = self._served
        is_direct = served is not None and served[1].direct is not None and served[0] == self._link.read()
        return served[1] if served is not None and is_direct else None

    def get(self) -> LoadedVersion:
        """The version to answer with. Raises NothingServedError when there is none."""
        served, target = self._served, self._link.read()
        if served is not None and served[0] == target:
            return served[1]
        if not self._loading.acquire(blocking=served is None):
            assert served is not None
            return served[1]  # somebody else is loading the new one
        try:
            return self._renew()
        finally:
            self._loading.release()

    def _renew(self) -> LoadedVersion:
        """Load what the link names now. Called with the lock held."""
        served, target = self._served, self._link.read()
        if served is not None and served[0] == target:
            return served[1]
        refused, now = self._refused, time.monotonic()
        if refused is None or refused.target != target or now >= refused.again:
            try:
                return self._load(target)
            except Exception as error:  # noqa: BLE001 - a joblib artefact may raise anything; the old version serves on
                number = version_of(target)
                which = f"version {number} of {self._model}" if number else f"a version of {self._model}"
                reason = f"{which} cannot be loaded: {error}"
                if refused is None or (refused.target, refused.reason) != (target, reason):
                    log.error("version_not_loaded", model=self._model, version=number, reason=str(error))
                refused = self._refused = _Refused(target, reason, time.monotonic() + RETRY_SECONDS)
        if served is None:
            return self._load_before(target, refused)
        return served[1]

    def _load_before(self, target: str, refused: _Refused) -> LoadedVersion:
        """The newest version before the linked one that can be loaded. Raises NothingServedError."""
        number = version_of(target)
        for before in self._replaced_by(number) if self._fallback and number is not None else ():
            try:
                fresh = self._registry.load(self._model, before, allow_joblib=self._allow_joblib)
            except Exception as error:  # noqa: BLE001 - as in `_renew`: the one before it may be whole
                log.error("version_not_loaded", model=self._model, version=before, reason=str(error))
                continue
            self._served = (f"instead of {target}", fresh)
            log.warning("version_before_served", model=self._model, version=before, linked=number)
            return fresh
        raise NothingServedError(refused.reason)

    def _replaced_by(self, version: int) -> Iterator[int]:
        """The versions that served when each of them was built, newest first: a rejected or barred one is none."""
        while True:
            try:
                parent = self._registry.manifest(self._model, version).parent
            except ManifestError:
                return
            if parent is None or parent >= version:
                return
            yield parent
            version = parent

    def _load(self, target: str) -> LoadedVersion:
        number = version_of(target)
        if number is None:
            raise NothingServedError(f"none is linked under {self._root}; `driftd init` makes the first one")
        fresh = self._with_direct_answers(self._registry.load(self._model, number, allow_joblib=self._allow_joblib))
        is_direct = fresh.direct is not None
        log.info("version_served", model=self._model, version=number, before=self.number, direct=is_direct)
        self._served, self._refused = (target, fresh), None
        return fresh

    def _with_direct_answers(self, version: LoadedVersion) -> LoadedVersion:
        """The version with a quicker way to its answers, where that gives the same ones to its probe rows."""
        steps = getattr(version.estimator, "steps", None)
        if not steps or not type(steps[-1][1]).__name__.startswith("HistGradientBoosting"):
            return version
        try:
            from driftd.serving.boosted_trees import direct_estimator  # noqa: PLC0415 - for these estimators alone

            rows = pd.read_parquet(self._registry.file(self._model, version.version, PROBE))
            with threadpool_limits(1, user_api="openmp"):
                direct = direct_estimator(version.estimator, version.schema, feature_frame(rows, version.schema))
        except Exception as error:  # noqa: BLE001 - whatever it is, the estimator itself answers
            log.info("estimator_answers", model=self._model, version=version.version, reason=str(error))
            return version
        return replace(version, direct=direct)


def _sample(schema: Schema) -> dict[str, list[object]]:
    """A row that a version of this schema should be able to predict."""
    of_kind: dict[Kind, object] = {Kind.NUMBER: 0.0, Kind.BOOLEAN: False, Kind.TIMESTAMP: 0.0}
    return {
        feature.name: [feature.categories[0] if feature.categories else of_kind.get(feature.kind)]
        for feature in schema.features
    }

"""One model behind `driftd serve`: its event log, and its served version, loaded at the start or when asked for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from driftd.errors import DriftdError
from driftd.paths import Places
from driftd.registry.versions import CurrentLink, NothingServedError, version_of
from driftd.serving.event_log import EventLog
from driftd.serving.requests import CONFLICT, RefusedError

if TYPE_CHECKING:
    from driftd.registry.loaded import LoadedVersion
    from driftd.serving.predict import Answered
    from driftd.serving.served_version import ServedVersion

WAITING_EVENTS = 100_000  # some seconds of ingestion at full speed


def _watches(model: str) -> str:
    posts = f"/v1/models/{model}/predictions, the labels to /v1/models/{model}/feedback"
    return f"only watches it: ask the system that serves it, and post what it predicted to {posts}"


class NotAnsweredError(DriftdError):
    """The version answers with something that is no prediction."""


class Endpoint:
    """Without `preload` pandas and scikit-learn come with the first prediction: a server may only take events in."""

    def __init__(
        self,
        model: str,
        places: Places,
        *,
        allow_joblib: bool,
        is_external: bool = False,
        preload: bool = False,
        fallback: bool = False,
        keep_seconds: float | None = None,
        window_seconds: float | None = None,
    ) -> None:
        """See `EventLog` for what the config says of the retention and of windows, `ServedVersion` for `fallback`."""
        self.model = model
        self._is_external = is_external
        self.log = EventLog(
            places, model, waiting=WAITING_EVENTS, keep_seconds=keep_seconds, window_seconds=window_seconds
        )
        self._places = places
        self._link = CurrentLink(places, model)
        self._allow_joblib = allow_joblib
        self._preload = preload and not is_external
        self._fallback = fallback
        self._making = threading.Lock()
        self._served: ServedVersion | None = None

    @property
    def linked(self) -> int | None:
        """The version that the link names."""
        return version_of(self._link.read())

    @property
    def version(self) -> int | None:
        """The version that answers: the one in memory; where none was to be loaded yet, the one that the link names."""
        if self._served is None and not self._preload:
            return self.linked
        return self._served.number if self._served is not None else None

    @property
    def obstacle(self) -> str | None:
        """Why the next prediction is not answered at once; None when a version is loaded and warm, or none need be."""
        linked = self.linked
        if self._is_external or linked is None or (self._served is None and not self._preload):
            return None
        if self._served is None or self._served.number is None:
            return self.fault or f"version {linked} is being loaded"
        return None if self._served.is_warm or not self._preload else f"version {self._served.number} is being warmed"

    def prepare(self) -> None:
        """Load and warm what the link names now, where that is to be done before anybody asks. Never raises."""
        if self._preload and self.linked is not None:
            with contextlib.suppress(NothingServedError):  # `fault` says why, and the log has it
                self._version().warm()

    @property
    def fault(self) -> str | None:
        """Why the linked version does not answer."""
        return self._served.fault if self._served is not None else None

    def direct_version(self) -> LoadedVersion | None:
        """The version that the link names, where it answers a few rows in less time than a worker thread takes to wake.

        None too while the store is not open. Never loads or opens anything.
        """
        return self._served.linked_direct() if self._served is not None and self.log.is_open else None

    def answer(
        self, rows: Sequence[object], *, probabilities: bool = False, version: LoadedVersion | None = None
    ) -> Answered:
        """Predict with a version, by default the served one, which may have to be loaded: then in a worker thread.

        Raises NothingServedError, NotAnsweredError, RefusedError.
        """
        if self._is_external:
            raise RefusedError(
                CONFLICT, f"{self.model} is served elsewhere (serving: external), and driftd {_watches(self.model)}"
            )
        from driftd.registry.loaded import PredictionError  # noqa: PLC0415 - pandas only when needed
        from driftd.serving.predict import answer  # noqa: PLC0415 - see above

        version, now = version or self._version().get(), time.time()
        oldest = self.log.oldest(now)
        try:
            return answer(
                version,
                rows,
                now,
                refused_too=False,
                probabilities=probabilities,
                oldest=oldest,
                windows=self.log.windows,
            )
        except PredictionError as error:
            raise NotAnsweredError(f"version {version.version} of {self.model} gave no prediction: {error}") from error

    def close(self) -> None:
        """Keep what is waiting."""
        self.log.close()

    def _version(self) -> ServedVersion:
        with self._making:
            if self._served is None:
                from driftd.serving.served_version import ServedVersion  # noqa: PLC0415 - scikit-learn only when needed

                self._served = ServedVersion(
                    self._places, self.model, allow_joblib=self._allow_joblib, fallback=self._fallback
                )
            return self._served

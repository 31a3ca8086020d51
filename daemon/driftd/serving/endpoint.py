"""One model behind `driftd serve`: its event log, and its served version once somebody asks for a prediction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from driftd.places import Places
from driftd.registry import Registry
from driftd.serving.event_log import EventLog

if TYPE_CHECKING:
    from driftd.serving.client import Driftd


class Endpoint:
    """A server that only takes events in never loads scikit-learn: the SDK is made at the first prediction."""

    def __init__(self, model: str, places: Places, *, allow_joblib: bool) -> None:
        self.model = model
        self.log = EventLog(places, model)
        self._places = places
        self._registry = Registry(places)
        self._allow_joblib = allow_joblib
        self._making = threading.Lock()
        self._client: Driftd | None = None

    @property
    def version(self) -> int | None:
        """The version that answers; before the first prediction, the one that the link names."""
        if self._client is not None:
            return self._client.version
        return self._registry.current(self.model)

    def predict(self, rows: list[dict[str, Any]], ids: list[str] | None, at: list[Any]) -> list[dict[str, Any]]:
        """Predict and log; called in a worker thread. Raises what `Driftd.predict` raises."""
        answers = self._sdk().predict(rows, ids=ids, at=at)
        return [
            {
                "prediction_id": answer.prediction_id,
                "prediction": answer.prediction,
                "score": answer.score,
                "version": answer.version,
                "logged": answer.logged,
            }
            for answer in answers
        ]

    def close(self) -> None:
        """Keep what is waiting."""
        if self._client is not None:
            self._client.close()
        self.log.close()

    def _sdk(self) -> Driftd:
        with self._making:
            if self._client is None:
                from driftd.serving.client import Driftd  # noqa: PLC0415 - pandas and scikit-learn only when needed

                self._client = Driftd(self._places.root, self.model, allow_joblib=self._allow_joblib, events=self.log)
            return self._client

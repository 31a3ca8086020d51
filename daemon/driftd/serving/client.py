"""The SDK: predict with the served version, log what was predicted, hand in the labels when they come."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self, overload

import pandas as pd
import structlog
from threadpoolctl import ThreadpoolController

from driftd.places import Places
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion
from driftd.serving.event_log import EventLog
from driftd.serving.served_version import ServedVersion
from driftd.store.events import EventsNotKeptError
from driftd.store.events_records import Receipt, Refusal
from driftd.store.events_validation import read_events
from driftd.store.migrate import DatabaseError

log = structlog.get_logger()

SMALL_ROWS = (
    20_000  # below it, waking OpenMP's threads for every tree costs more than they save, tenfold on a busy host
)

Moment = float | str | None  # epoch seconds or ISO 8601; None is now


@dataclass(frozen=True, slots=True)
class Answer:
    """One prediction. `logged` tells whether the monitor will see it; the prediction itself is good either way."""

    prediction_id: str
    prediction: str | float
    score: float | None
    version: int
    logged: bool


class Driftd:
    """A model of a driftd state directory, for the application that serves it.

    Parameters
    ----------
    state_dir, model
        Where `driftd` keeps its state, and the model's name.
    durable
        True: a call returns once the disk has what it logs. False: logging happens behind the call's back, bounded in
        memory, and what does not fit is dropped and counted in `dropped`.
    allow_joblib
        Whether a version stored by joblib may be loaded; that runs code of whoever made it.
    events
        An event log to share with others of this process; a new one by default.

    Notes
    -----
    A swap is taken up by the next call; each call is answered by one version, which every answer names. When the event
    store cannot keep events, predictions go on and say `logged=False`: monitoring is never in the serving path. Safe
    to share between threads; open it after a fork.

    Examples
    --------
    >>> from driftd import Driftd  # doctest: +SKIP
    >>> with Driftd("/var/lib/driftd", "demand") as demand:  # doctest: +SKIP
    ...     answer = demand.predict({"region": "north", "price": 3.5})
    ...     demand.feedback(answer.prediction_id, "sold")
    """

    def __init__(
        self,
        state_dir: str | Path,
        model: str,
        *,
        durable: bool = True,
        allow_joblib: bool = False,
        events: EventLog | None = None,
    ) -> None:
        self._places = Places(Path(state_dir))
        self._model = model
        self._served = ServedVersion(self._places, model, allow_joblib=allow_joblib)
        self._durable = durable
        self._events = events or EventLog(self._places, model)
        self.dropped = 0  # events that were not logged

    @property
    def version(self) -> int:
        """The version that answers now."""
        return self._served.get().version

    @property
    def fault(self) -> str | None:
        """Why the version that the link names is not the one that answers; None when it is."""
        return self._served.fault

    @overload
    def predict(self, rows: Mapping[str, Any], *, ids: str | None = None, at: Moment = None) -> Answer: ...
    @overload
    def predict(
        self,
        rows: pd.DataFrame | Sequence[Mapping[str, Any]],
        *,
        ids: Iterable[str] | None = None,
        at: Iterable[Moment] | Moment = None,
    ) -> list[Answer]: ...
    def predict(self, rows: Any, *, ids: Any = None, at: Any = None) -> Answer | list[Answer]:
        """Predict one row (a mapping) or several (a frame or a list of mappings), and log what was predicted.

        `ids` are made up where none are given. Raises NothingServedError when there is no version to answer with,
        PredictionError when the version answers with something that is no prediction.
        """
        if isinstance(rows, Mapping):
            return self._predict([rows], None if ids is None else [ids], at)[0]
        return self._predict(rows, None if ids is None else list(ids), at)

    def feedback(self, ids: str | Iterable[str], labels: Any, *, at: Any = None) -> Receipt:
        """Hand in the true labels of earlier predictions; returns once they are kept.

        Raises ValueError when one is malformed (nothing is kept then), EventsNotKeptError when the store cannot keep
        them: hand them in again later.
        """
        if isinstance(ids, str):
            ids, labels = [ids], [labels]
        names, values = list(ids), [_plain(label) for label in labels]
        if len(names) != len(values):
            raise ValueError(f"{len(names)} ids came with {len(values)} labels; there must be one for each")
        moments = _moments(at, len(names))
        events = [
            {"prediction_id": name, "label": label, "at": moment}
            for name, label, moment in zip(names, values, moments, strict=True)
        ]
        receipt, refused = self.log(events)
        if refused:
            first = refused[0]
            raise ValueError(
                f"{len(refused)} of {len(names)} labels were refused; the first: {first.field}: {first.reason}"
            )
        return receipt

    def log(self, events: Iterable[Mapping[str, Any]]) -> tuple[Receipt, list[Refusal]]:
        """Log predictions made elsewhere, and feedback, in the JSON form of `driftd serve`.

        Malformed ones are refused one by one and come back with the field named. Raises EventsNotKeptError.
        """
        batch, refused = self._events.read(events, time.time())
        return self._events.submit(batch).result(), refused

    def close(self) -> None:
        """Keep what is waiting, then let go of the files."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _predict(
        self, rows: pd.DataFrame | Sequence[Mapping[str, Any]], ids: list[str] | None, at: Any
    ) -> list[Answer]:
        version = self._served.get()
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        names = ids if ids is not None else [str(uuid.uuid4()) for _ in range(len(frame))]
        with _numerical_libraries().limit(limits=1 if len(frame) < SMALL_ROWS else None):
            predictions = version.predict(feature_frame(frame, version.schema))
        values: list[str | float] = list(predictions.values())
        scores = [None if math.isnan(score) else score for score in predictions.score.tolist()]
        logged = self._log(version, _records(frame), names, _moments(at, len(frame)), values, scores)
        return [
            Answer(name, value, score, version.version, kept)
            for name, value, score, kept in zip(names, values, scores, logged, strict=True)
        ]

    def _log(
        self,
        version: LoadedVersion,
        rows: list[dict[str, Any]],
        ids: list[str],
        at: list[Moment],
        values: Sequence[str | float],
        scores: Sequence[float | None],
    ) -> list[bool]:
        """Log predictions; which of them are kept (or, when not durable, taken)."""
        events = [
            {
                "prediction_id": name,
                "at": moment,
                "version": version.version,
                "features": row,
                "prediction": value,
                "score": score,
            }
            for name, moment, row, value, score in zip(ids, at, rows, values, scores, strict=True)
        ]
        batch, refused = read_events(events, version.schema, time.time())
        lost = {one.index for one in refused}
        try:
            future = self._events.submit(batch)
            if self._durable:
                future.result()
        except (EventsNotKeptError, DatabaseError, OSError) as error:
            log.warning("predictions_not_logged", model=self._model, rows=len(events), reason=str(error))
            lost = set(range(len(events)))
        self.dropped += len(lost)
        return [index not in lost for index in range(len(events))]


@cache
def _numerical_libraries() -> ThreadpoolController:
    """Found once, when scikit-learn is loaded: looking for them takes milliseconds."""
    return ThreadpoolController()


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain Python values; missing is None."""
    plain = frame.astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in plain.where(plain.notna(), None).to_dict("records")
    ]


def _moments(at: Any, rows: int) -> list[Moment]:
    if at is None or isinstance(at, float | int | str):
        return [at] * rows
    return [_plain(moment) for moment in at]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value

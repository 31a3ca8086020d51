"""The SDK: predict with the served version, log what was predicted, hand in the labels when they come."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self, overload
from uuid import UUID

import pandas as pd
import structlog

from driftd.errors import DriftdError
from driftd.paths import Places
from driftd.serving.differences import MOST_NAMES
from driftd.serving.event_log import EventLog, is_dated
from driftd.serving.predict import Answered, answer, records_of
from driftd.serving.requests import REPEATED
from driftd.serving.served_version import ServedVersion
from driftd.store.events.validation import Batch, Receipt, Refusal, Window
from driftd.store.events.writer import EventsNotKeptError

log = structlog.get_logger()

LONGEST_WAIT = 5.0  # seconds that a prediction waits for the disk before it is answered as not logged
PATIENCE = 30.0  # seconds that feedback waits before the caller is told to hand it in again

_NONE: frozenset[int] = frozenset()

Identity = str | float | UUID  # kept as text, in which 5 and 5.0 are one
Moment = float | str | datetime | None  # epoch seconds, ISO 8601 or a datetime; None is now


class FeedbackError(DriftdError, ValueError):
    """Some labels were malformed; `refused` says which and why. The others are kept."""

    def __init__(self, refused: list[Refusal], kept: int) -> None:
        first = refused[0]
        where = f"label {first.index} (prediction {first.prediction_id!r}): {first.field}: {first.reason}"
        super().__init__(f"{len(refused)} labels were refused, {kept} are kept; the first: {where}")
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Answer:
    """One prediction. `logged` tells whether the monitor will see it; the prediction itself is good either way."""

    prediction_id: str
    prediction: str | float
    score: float | None  # probability of the second of two classes, or of the predicted one of more
    version: int
    logged: bool
    reason: str | None = None  # why it is not logged
    probabilities: Mapping[str, float] | None = None  # of every class, where they were asked for
    unknown_features: tuple[str, ...] = ()  # that the row brings and the model does not know
    missing_features: tuple[str, ...] = ()  # that the model knows and the row does not bring
    window: Window | None = None  # of a logged row that brought its time: `closed` when it is not checked any more


class Driftd:
    """A model of a driftd state directory, for the application that serves it.

    Parameters
    ----------
    state_dir, model
        Where `driftd` keeps its state, and the model's name.
    durable
        True: a prediction is answered once the disk has it (at most `LONGEST_WAIT` seconds are waited). False: it is
        logged behind the call's back, which then never waits for the disk.
    waiting
        How many events may wait in memory for the disk; what comes on top is not logged, and counted in `dropped`.
    allow_joblib
        Whether a version stored by joblib may be loaded; that runs code of whoever made it.

    Notes
    -----
    A swap is taken up by the next call; each call is answered by one version, which every answer names. When the event
    store cannot keep events, predictions go on and say `logged=False` and why: monitoring is never in the serving
    path. Safe to share between threads, not between processes: make one in each after a fork. One that
    was used before the fork answers in the child, but logs nothing there and says so.

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
        waiting: int = 20_000,
        allow_joblib: bool = False,
    ) -> None:
        places = Places(Path(state_dir))
        self._model = model
        self._served = ServedVersion(places, model, allow_joblib=allow_joblib)
        self._durable = durable
        self._events = EventLog(places, model, waiting=waiting)
        self._counting = threading.Lock()
        self._dropped = 0
        self._stalled: Future[Receipt] | None = None  # a commit that took too long; while it does, nobody waits
        self._trouble: str | None = None
        self._opener: threading.Thread | None = None
        if not durable:
            self._open_aside()
            assert self._opener is not None
            self._opener.join()

    @property
    def version(self) -> int:
        """The version that answers now. Raises NothingServedError."""
        return self._served.get().version

    @property
    def fault(self) -> str | None:
        """Why the version that the link names is not the one that answers; None when it is."""
        return self._served.fault

    @property
    def dropped(self) -> int:
        """How many predictions were answered but could not be logged, since the start."""
        return self._dropped

    @overload
    def predict(
        self, rows: Mapping[str, object], *, ids: Identity | None = None, at: Moment = None, probabilities: bool = False
    ) -> Answer: ...
    @overload
    def predict(
        self,
        rows: pd.DataFrame | Sequence[Mapping[str, object]],
        *,
        ids: Iterable[Identity] | None = None,
        at: Iterable[Moment] | Moment = None,
        probabilities: bool = False,
    ) -> list[Answer]: ...
    def predict(
        self, rows: Any, *, ids: Any = None, at: Any = None, probabilities: bool = False
    ) -> Answer | list[Answer]:
        """Predict one row (a mapping) or several (a frame or a list of mappings), and log what was predicted.

        `ids` are made up where none are given; `at` is now unless given, one for all or one for each: then `window` of
        an answer says whether the row's window will be checked. With `probabilities` each answer has those of every
        class. An answer names the features that its row has and the
        model does not know, and those that are missing. Raises
        NothingServedError when there is no version to answer with, PredictionError when the version answers with
        something that is no prediction, ValueError when there are not as many ids or times as rows.
        """
        if isinstance(rows, Mapping):
            return self._predict([rows], None if ids is None else [ids], [at], probabilities=probabilities)[0]
        names = None if ids is None else _several(ids, "ids")
        return self._predict(rows, names, _each(at, len(rows)), probabilities=probabilities)

    def feedback(self, ids: Identity | Iterable[Identity], labels: Any, *, at: Any = None) -> Receipt:
        """Hand in the true labels of earlier predictions, of one or of several; returns once they are kept.

        Raises FeedbackError (a ValueError) when some are malformed; the others are kept. Raises EventsNotKeptError
        when the store cannot keep them: hand them in again later, twice does no harm.
        """
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            ids, labels, at = [ids], [labels], None if at is None else [at]
        names, values = list(ids), [_plain(label) for label in _several(labels, "labels")]
        if len(names) != len(values):
            raise ValueError(f"{len(names)} ids came with {len(values)} labels; there must be one for each")
        events = [
            {"prediction_id": name, "label": label, "at": moment}
            for name, label, moment in zip(names, values, _each(at, len(names)), strict=True)
        ]
        receipt, refused = self.log(events)
        if refused:
            raise FeedbackError(refused, receipt.feedback + receipt.duplicates)
        return receipt

    def log(self, events: Iterable[Mapping[str, object]]) -> tuple[Receipt, list[Refusal]]:
        """Log predictions made elsewhere, and feedback, in the JSON form of `driftd serve`; returns once kept.

        Malformed ones, and those older than the retention, are refused one by one and come back with the field named.
        `windows` of the receipt says of how many predictions of the past the window will be checked, and of how many it
        is closed: these are kept for builds and references. Raises EventsNotKeptError.
        """
        if isinstance(events, Mapping):
            raise TypeError("log takes several events: put this one into a list")
        listed = list(events)
        batch, refused = self._events.read(listed, time.time())
        try:
            receipt = self._events.submit(batch).result(PATIENCE)
        except TimeoutError as error:
            raise EventsNotKeptError(
                f"the disk did not answer within {PATIENCE:.0f} s; hand the events in again"
            ) from error
        if batch.predictions and any(map(is_dated, listed)):
            windows = self._events.windows.counts(listed, batch, refused, receipt.repeated)
            receipt = replace(receipt, windows=windows)
        return receipt, refused

    def close(self) -> None:
        """Keep what is waiting, then let go of the files."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _predict(
        self,
        rows: pd.DataFrame | Sequence[Mapping[str, object]],
        ids: list[str] | None,
        at: list[Moment],
        *,
        probabilities: bool,
    ) -> list[Answer]:
        if ids is not None and len(ids) != len(rows):
            raise ValueError(f"{len(ids)} ids came with {len(rows)} rows; there must be one for each")
        version = self._served.get()
        records = records_of(rows, version.schema.names) if isinstance(rows, pd.DataFrame) else rows
        if not all(isinstance(row, Mapping) for row in records):
            raise TypeError("a row is a mapping of feature names to values; give one, a list of them, or a DataFrame")
        events = [
            {"prediction_id": name, "at": moment, "features": row}
            for name, moment, row in zip(ids or itertools.repeat(None, len(rows)), at, records, strict=True)
        ]
        now = time.time()
        answered = answer(
            version,
            events,
            now,
            refused_too=True,
            probabilities=probabilities,
            oldest=self._oldest(at, now),
            windows=self._events.windows,
        )
        unknown = _unknown_columns(rows, version.schema.names)
        reason, repeated = self._keep(answered)
        return [
            _to_answer(answered, place, REPEATED if place in repeated else reason, unknown)
            for place in range(len(events))
        ]

    def _oldest(self, at: Sequence[Moment], now: float) -> float:
        """Older rows are not logged; asked only where a row brings its time, since the store is opened for it."""
        dated = any(moment is not None for moment in at)
        return self._events.oldest(now) if dated and (self._durable or self._events.is_open) else 0.0

    def _keep(self, answered: Answered) -> tuple[str | None, frozenset[int]]:
        """Log; None when that is done (or, when not durable, begun), else why it is not; and what was there already."""
        if not answered.ids:
            return None, _NONE
        self._count(len(answered.refused))
        rows = len(answered.batch.predictions)
        try:
            future = self._submit(answered.batch)
        except EventsNotKeptError as error:
            self._count(rows)
            return self._report_trouble(str(error)), _NONE
        future.add_done_callback(lambda done: self._handle_commit(done, rows))
        reason = self._wait_for(future) if self._durable else None
        kept = self._durable and reason is None
        return reason, answered.repeated_rows(future.result()) if kept else _NONE

    def _submit(self, batch: Batch) -> Future[Receipt]:
        if not (self._durable or self._events.is_open):
            self._open_aside()
            raise EventsNotKeptError("the event store is not open yet")
        return self._events.submit(batch)

    def _wait_for(self, future: Future[Receipt]) -> str | None:
        stalled = self._stalled
        try:
            future.result(LONGEST_WAIT if stalled is None or stalled.done() else 0)
        except TimeoutError:
            if stalled is None or stalled.done():
                self._stalled = future
            return self._report_trouble(f"the disk did not answer within {LONGEST_WAIT:.0f} s")
        except EventsNotKeptError as error:
            return str(error)
        return None

    def _handle_commit(self, future: Future[Receipt], rows: int) -> None:
        error = future.exception()
        if error is None:
            self._report_trouble(None)
        else:
            self._count(rows)
            self._report_trouble(str(error))

    def _report_trouble(self, reason: str | None) -> str | None:
        """Say it once when logging stops, and once when it goes on."""
        before, self._trouble = self._trouble, reason
        if reason is not None and before is None:
            log.error("predictions_not_logged", model=self._model, reason=reason)
        elif reason is None and before is not None:
            log.info("predictions_logged_again", model=self._model, dropped=self._dropped)
        return reason

    def _count(self, rows: int) -> None:
        with self._counting:
            self._dropped += rows

    def _open_aside(self) -> None:
        """Open the store in a thread of its own: that may take a second, and calls do not wait."""
        if self._opener is not None and self._opener.is_alive():
            return

        def open_now() -> None:
            try:
                self._events.open()
            except EventsNotKeptError as error:
                self._report_trouble(str(error))

        self._opener = threading.Thread(target=open_now, name="driftd-open", daemon=True)
        self._opener.start()


def _unknown_columns(rows: object, names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a frame that the model does not know; of mappings, each answer says it for its own row."""
    if not isinstance(rows, pd.DataFrame):
        return ()
    return tuple(str(name) for name in rows.columns if name not in names)[:MOST_NAMES]


def _to_answer(answered: Answered, place: int, reason: str | None, unknown: tuple[str, ...]) -> Answer:
    refusal = answered.refused.get(place)
    differences = answered.differences.get(place)
    if refusal is not None:
        reason = f"{refusal.field}: {refusal.reason}"
    value = answered.predictions[place]
    assert value is not None
    return Answer(
        prediction_id=answered.ids[place],
        prediction=value,
        score=answered.scores[place],
        version=answered.version,
        logged=reason is None,
        reason=reason,
        probabilities=answered.probabilities[place] if answered.probabilities else None,
        unknown_features=unknown or (differences.unknown if differences else ()),
        missing_features=differences.missing if differences else (),
        window=answered.windows.get(place) if reason is None else None,
    )


def _several(values: Any, what: str) -> list[Any]:
    """Values of several rows; a text would be taken apart into its letters. Raises TypeError."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"several rows take several {what}, as a list: got {values!r:.60}")
    return list(values)


def _each(at: Any, rows: int) -> list[Moment]:
    """One time for each row."""
    at = _plain(at) if getattr(at, "ndim", None) == 0 else at
    if isinstance(at, str) or not isinstance(at, Iterable):
        return [at] * rows
    moments = [_plain(moment) for moment in at]
    if len(moments) != rows:
        raise ValueError(f"{len(moments)} times came with {rows} rows; give one for each, or one for all")
    return moments


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value

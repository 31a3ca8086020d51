"""Has the very daemon live through a stream on a virtual clock, with an application that predicts beside it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from driftd.clock import VirtualClock
from driftd.config.schema import Config
from driftd.events import Event
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.records import HandOverStage
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.losses import Loss, plain_loss
from driftd.rehearsal.stream import SAID, SCORE, Batch, Stream, batches_until
from driftd.serving.client import Driftd
from driftd.store.state.records import StoredTransition
from driftd.store.state.writer import StateStore
from driftd.training.bootstrap import FileColumns, FirstVersion, make_first_version

DRIFTD = "driftd"
EVERYTHING = 1_000_000  # lines of history
PATIENCE = 3_600.0  # seconds of real time that the work of one batch may take
OnBatch = Callable[[Daemon, Batch], None]


class Application(Protocol):
    """What answers the rows of a stream, and logs what it answered."""

    def predict(self, rows: pd.DataFrame) -> tuple[list[Any], list[Any]]:
        """The predictions and the scores of some rows, once they are logged."""


@dataclass(slots=True)
class ServingApplication:
    """An application that predicts with the version that serves, through the SDK."""

    sdk: Driftd
    features: tuple[str, ...]
    not_logged: int = 0

    def predict(self, rows: pd.DataFrame) -> tuple[list[Any], list[Any]]:
        """See `Application.predict`."""
        answers = self.sdk.predict(rows[list(self.features)], ids=rows["prediction_id"], at=rows["at"])
        self.not_logged += sum(not answer.logged for answer in answers)
        return [answer.prediction for answer in answers], [answer.score for answer in answers]


@dataclass(slots=True)
class LoggingApplication:
    """Another system that serves: what it said is on record until a version is handed over to it, which it then has."""

    sdk: Driftd
    features: tuple[str, ...]
    registry: Registry
    model: str
    serves: Callable[[], int]
    first: int
    allow_joblib: bool
    not_logged: int = 0
    _loaded: LoadedVersion | None = None

    def predict(self, rows: pd.DataFrame) -> tuple[list[Any], list[Any]]:
        """See `Application.predict`."""
        version = self.serves()
        predictions, scores = self._answers(version, rows)
        features = rows[list(self.features)].astype(object).where(rows[list(self.features)].notna(), None)
        events = [
            {"prediction_id": name, "at": at, "features": row, "prediction": said, "score": score, "version": version}
            for name, at, row, said, score in zip(
                rows["prediction_id"], rows["at"], features.to_dict("records"), predictions, scores, strict=True
            )
        ]
        self.not_logged += len(self.sdk.log(events)[1])
        return predictions, scores

    def _answers(self, version: int, rows: pd.DataFrame) -> tuple[list[Any], list[Any]]:
        if version == self.first:
            scores = [None if np.isnan(score) else score for score in rows[SCORE].astype(float)]
            return rows[SAID].tolist(), scores
        if self._loaded is None or self._loaded.version != version:
            self._loaded = self.registry.load(self.model, version, allow_joblib=self.allow_joblib)
        found = self._loaded.predict(feature_frame(rows[list(self.features)], self._loaded.schema))
        return list(found.values()), [None if np.isnan(score) else score for score in found.score.tolist()]


@dataclass(slots=True)
class Served:
    """What the served model answered, and how far off it was."""

    loss: Loss
    at: list[np.ndarray[Any, Any]] = field(default_factory=list)
    error: list[np.ndarray[Any, Any]] = field(default_factory=list)

    def add(self, rows: pd.DataFrame, predicted: list[Any], scores: list[Any], truth: pd.Series) -> None:
        """Remember a batch."""
        self.at.append(rows["at"].to_numpy())
        self.error.append(self.loss(predicted, scores, truth.loc[rows.index]))

    def curve(self, builds: int) -> Curve:
        """The error of the served model over time."""
        return Curve(DRIFTD, np.concatenate(self.at), np.concatenate(self.error), builds)


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of a replay: the errors, what was decided (oldest first), and how many rows could not be logged."""

    curve: Curve
    history: list[StoredTransition]
    not_logged: int = 0


def make_first(stream: Stream, places: Places, config: Config, on_step: Callable[[str], None]) -> FirstVersion:
    """Train version 1 on the first part of a stream."""
    columns = FileColumns(id="prediction_id", time="at", label_time="label_at")
    rows = stream.first[["prediction_id", "at", "label_at", *stream.features, stream.target]]
    settings = config.models[stream.model]
    return make_first_version(
        stream.model, settings, rows, columns, places, now=max(stream.until, rows["label_at"].max()), on_step=on_step
    )


def step_ends(stream: Stream, steps: int) -> Iterable[float]:
    """When the batches of a stream end that is handed over in so many steps a window."""
    return (stream.until + number * stream.window / steps for number in itertools.count(1))


def replay(
    stream: Stream,
    config_path: Path,
    config: Config,
    places: Places,
    on_batch: OnBatch,
    *,
    ends: Iterable[float],
    loss: Loss = plain_loss,
    open_assembly: Callable[[Path, Config, Places, StateStore], Assembly] | None = None,
) -> Lived:
    """Have the daemon live through the rest of a stream, whose version 1 is made: the errors, and what was decided.

    Every prediction is made by the version that serves at its moment. Predictions and labels are handed over in batches
    that end at `ends`, which ascend without an end of their own, and `on_batch` is called after each.
    """
    store = StateStore.open(places.state_db, durable=False)
    make = open_assembly or plain_assembly
    daemon = Daemon(make(config_path, config, places, store))
    clock, served, rest = VirtualClock(stream.until), Served(loss), stream.rest
    last = float(rest["at"].iloc[-1]) + stream.window  # whatever is decided later serves no prediction
    try:
        with Driftd(places.root, stream.model, allow_joblib=config.models[stream.model].allow_joblib) as sdk:
            application = _application(sdk, stream, daemon, places)
            daemon.catch_up(clock.now(), PATIENCE)
            for batch in batches_until(rest, ends, stream.target, stream.features):
                _live(application, sdk, batch, served, stream)
                clock.advance_to(max(clock.now(), batch.now))
                daemon.catch_up(clock.now(), PATIENCE)
                on_batch(daemon, batch)
                if batch.now >= last:
                    break
        history = list(reversed(store.history(stream.model, limit=EVERYTHING)))
    finally:
        daemon.close()
    builds = 1 + sum(line.event == Event.BUILD_STARTED for line in history)
    return Lived(served.curve(builds), history, application.not_logged)


def plain_assembly(config_path: Path, config: Config, places: Places, store: StateStore) -> Assembly:
    """The daemon's parts, as `driftd run` has them."""
    return Assembly(config_path, config, places, store, Metrics())


def _application(
    sdk: Driftd, stream: Stream, daemon: Daemon, places: Places
) -> ServingApplication | LoggingApplication:
    if not stream.is_logged:
        return ServingApplication(sdk, stream.features)

    first = stream.first_version

    def serves() -> int:
        """The other system takes a version up as soon as it is handed over."""
        state = daemon.models[stream.model].state
        delivered = (HandOverStage.DELIVER, HandOverStage.AWAIT)
        if state.hand_over is not None and state.hand_over.stage in delivered:
            return state.hand_over.version
        return state.champion or first

    allow_joblib = daemon.assembly.config.models[stream.model].allow_joblib
    return LoggingApplication(sdk, stream.features, Registry(places), stream.model, serves, first, allow_joblib)


def _live(application: Application, sdk: Driftd, batch: Batch, served: Served, stream: Stream) -> None:
    """What the application does in a step: predict, and hand in the labels that came."""
    rows = batch.predictions
    if len(rows):
        predicted, scores = application.predict(rows)
        served.add(rows, predicted, scores, stream.frame[stream.target])
    if len(batch.feedback):
        sdk.feedback(batch.feedback["prediction_id"], batch.feedback["label"], at=batch.feedback["at"])

"""The other ways to keep a model that driftd is compared with: left alone, and rebuilt on a schedule."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import Predictions, predict_with
from driftd.rehearsal.child_process import ChildProcess, write_progress
from driftd.rehearsal.curves import Curve, Numbers
from driftd.rehearsal.losses import Loss, MetricLoss, plain_loss
from driftd.rehearsal.stream import SAID, SCORE, Stream
from driftd.training.call_trainer import TrainerSpec
from driftd.training.call_trainer import fit as call_trainer
from driftd.training.process_tree import die_with_parent
from driftd.training.training_rows import TrainingRows
from driftd_detectors.schema import Schema

FIRST = 1  # the version that all ways of keeping the model begin with
STATIC = "left alone"
DEFAULT_TRAINER = "driftd.trainers:gradient_boosting"
RESULT, ORDER, ROWS = "comparison.npz", "order.json", "stream.parquet"


class Schedule(msgspec.Struct, frozen=True):
    """Windows between two builds, and of how many windows the rows are built from; None: all rows."""

    every: int
    newest: int | None = None


class Trained(msgspec.Struct, frozen=True):
    """How the rivals are trained, and by what loss they are told; None: the plain error."""

    parameters: dict[str, object] = {}
    trainer: str | tuple[str, ...] = DEFAULT_TRAINER
    metric: str | None = None
    classes: tuple[str, ...] = ()
    allow_joblib: bool = False
    most_rows: int | None = None

    @property
    def loss(self) -> Loss:
        """The loss of rows."""
        return plain_loss if self.metric is None else MetricLoss(self.metric, self.classes)

    @property
    def spec(self) -> TrainerSpec:
        """What the trainer is called with."""
        return TrainerSpec(
            trainer=self.trainer,
            seed=FIRST,
            metric=self.metric,
            parameters=self.parameters,
            allow_joblib=self.allow_joblib,
            most_rows=self.most_rows,
        )


class Order(msgspec.Struct, frozen=True):
    """What the process of a comparison is asked for; its rows are beside it."""

    state: str
    model: str
    task: str
    target: str
    until: float
    window: float
    schedules: dict[str, Schedule]  # by the name of the curve
    trained: Trained


def fit(
    frame: pd.DataFrame,
    target: pd.Series,
    at: Numbers,
    schema: Schema,
    parameters: Mapping[str, object],
    spec: TrainerSpec | None = None,
) -> Any:
    """An estimator fitted to rows, oldest first, that `feature_frame` made; by driftd's default trainer unless told."""
    rows = TrainingRows(
        schema=schema,
        features=frame.reset_index(drop=True),
        target=target.to_numpy(),
        at=at,
        label_at=np.full(len(at), np.nan),
        version=np.zeros(len(at), dtype=np.int64),
    )
    return call_trainer(spec or Trained(parameters=dict(parameters)).spec, rows)


def static_curve(places: Places, stream: Stream, trained: Trained | None = None) -> Curve:
    """The errors of the first version on all the rows to replay."""
    rest = stream.rest
    loss = (trained or Trained()).loss
    predicted, scores = first_answers(places, stream, rest, allow_joblib=trained is not None and trained.allow_joblib)
    return Curve(STATIC, rest["at"].to_numpy(), loss(predicted, scores, rest[stream.target]), builds=1)


def first_answers(places: Places, stream: Stream, rows: pd.DataFrame, *, allow_joblib: bool) -> tuple[Any, Any]:
    """What the first version says of some rows, and its scores; of a model that is served elsewhere what it said."""
    if stream.is_logged:
        return rows[SAID].to_numpy(), rows[SCORE].to_numpy(dtype=np.float64)
    version = Registry(places).load(stream.model, FIRST, allow_joblib=allow_joblib)
    found = version.predict(feature_frame(rows[list(stream.features)], version.schema))
    return found.values(), found.score


class PolicyComparison:
    """The process that computes the curves of models that are rebuilt on a schedule."""

    def __init__(
        self, folder: Path, stream: Stream, places: Places, schedules: Mapping[str, Schedule], trained: Trained
    ) -> None:
        """Start it once version 1 is there; it writes into `folder` and dies with this process.

        `schedules` are those of the curves by their names. The thread that starts it must live on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (folder / RESULT).unlink(missing_ok=True)
        write_order(folder, stream, places, schedules, trained)
        self._process = ChildProcess("driftd.rehearsal.rivals", folder)
        self.progress, self.kill, self.is_done = self._process.progress, self._process.kill, self._process.is_done

    def result(self) -> list[Curve] | None:
        """The curves, in the order asked for; None while they are being computed.

        Raises RehearsalError when that failed.
        """
        return read_curves(self._folder) if self._process.is_done() else None


def write_order(
    folder: Path, stream: Stream, places: Places, schedules: Mapping[str, Schedule], trained: Trained
) -> None:
    """Leave in `folder` what `compute` needs."""
    stream.frame.to_parquet(folder / ROWS)
    order = Order(
        str(places.root),
        stream.model,
        stream.task,
        stream.target,
        stream.until,
        stream.window,
        dict(schedules),
        trained,
    )
    (folder / ORDER).write_bytes(msgspec.json.encode(order))


def read_curves(folder: Path) -> list[Curve]:
    """The curves that a finished process left in `folder`. Raises FileNotFoundError when there are none."""
    order = msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
    with np.load(folder / RESULT) as stored:
        at = stored["at"]
        return [
            Curve(name, at, stored[f"error-{number}"], int(stored["builds"][number]), float(stored["seconds"][number]))
            for number, name in enumerate(order.schedules)
        ]


def compute(folder: Path) -> None:
    """Do what the order in `folder` says, and leave the curves there."""
    order = msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
    rebuilt = _Rebuilds.read(folder, order)
    at = rebuilt.at
    kept: dict[str, Any] = {"at": at[at >= order.until]}
    builds, seconds = [], []
    for number, schedule in enumerate(order.schedules.values()):

        def on_progress(share: float, number: int = number) -> None:
            write_progress(folder, (number + share) / len(order.schedules))

        began = time.process_time()
        kept[f"error-{number}"], count = rebuilt.errors(schedule, on_progress)
        builds.append(count)
        seconds.append(time.process_time() - began)
    unfinished = folder / f"unfinished-{RESULT}"
    np.savez(unfinished, builds=builds, seconds=seconds, **kept)
    unfinished.replace(folder / RESULT)


@dataclass(frozen=True, slots=True)
class _Rebuilds:
    """The rows of an order, read once for all schedules."""

    order: Order
    schema: Schema
    features: pd.DataFrame  # as `feature_frame` makes them
    truth: pd.Series
    at: Numbers
    known_at: Numbers  # when each label was known; NaN: never
    first: tuple[Any, Any]  # what the first version says of all rows, and its scores

    @classmethod
    def read(cls, folder: Path, order: Order) -> _Rebuilds:
        frame, places = pd.read_parquet(folder / ROWS), Places(Path(order.state))
        schema = Registry(places).manifest(order.model, FIRST).schema
        # An order has no features of its own: those of the first version's schema are meant.
        stream = Stream(order.model, order.task, order.target, schema.names, frame, order.until)  # type: ignore[arg-type]
        return cls(
            order,
            schema,
            feature_frame(frame[list(schema.names)], schema),
            frame[order.target],
            frame["at"].to_numpy(),
            frame["label_at"].to_numpy(dtype=np.float64),
            first_answers(places, stream, frame, allow_joblib=order.trained.allow_joblib),
        )

    def errors(self, schedule: Schedule, on_progress: Callable[[float], None]) -> tuple[NDArray[np.float64], int]:
        """The errors of a model rebuilt on a schedule from rows known by then, and how many builds."""
        order, at, loss = self.order, self.at, self.order.trained.loss
        starts = np.arange(order.until, at[-1] + 1e-6, order.window)
        errors, builds, estimator = np.full(len(at), np.nan), 1, None
        for number, start in enumerate(starts):
            if number and number % schedule.every == 0:
                fitted = self._fit(start, schedule)
                estimator, builds = (fitted, builds + 1) if fitted is not None else (estimator, builds)
            window = (at >= start) & (at < start + order.window)
            if window.any():
                errors[window] = loss(*self._answers(estimator, window), self.truth[window])
            on_progress((number + 1) / len(starts))
        return errors[at >= order.until], builds

    def _answers(self, estimator: Any, window: NDArray[np.bool_]) -> tuple[Any, Any]:
        if estimator is None:
            return tuple(np.asarray(values)[window] for values in self.first)  # type: ignore[return-value]
        found: Predictions = predict_with(estimator, self.schema, self.features[window])
        return found.values(), found.score

    def _fit(self, start: float, schedule: Schedule) -> Any:
        """A model of the rows whose labels are known by then; None where there are none, or of one class alone."""
        usable = (self.at < start) & (self.known_at <= start)
        if schedule.newest is not None:
            usable &= self.at >= start - schedule.newest * self.order.window
        if not usable.any() or (self.schema.classes and self.truth[usable].nunique() < 2):  # noqa: PLR2004
            return None
        spec = self.order.trained.spec
        return fit(self.features[usable], self.truth[usable], self.at[usable], self.schema, {}, spec)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    compute(Path(sys.argv[1]))

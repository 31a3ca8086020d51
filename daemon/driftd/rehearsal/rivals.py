"""The other ways to keep a model that driftd is compared with: left alone, and rebuilt on a schedule."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

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

SEED = 1
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
            seed=SEED,
            metric=self.metric,
            parameters=self.parameters,
            allow_joblib=self.allow_joblib,
            most_rows=self.most_rows,
        )


class Order(msgspec.Struct, frozen=True):
    """What the process of a comparison is asked for; its rows are beside it."""

    state: str
    model: str
    task: Literal["classification", "regression"]
    target: str
    until: float
    window: float
    first_version: int
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
    version = Registry(places).load(stream.model, stream.first_version, allow_joblib=allow_joblib)
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
        stream.first_version,
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
    began = time.process_time()
    errors, builds = rebuilt.errors(list(order.schedules.values()), lambda share: write_progress(folder, share))
    seconds = [time.process_time() - began] * len(builds)  # of all: they share what they build
    rest = rebuilt.at >= order.until
    kept: dict[str, Any] = {f"error-{number}": error[rest] for number, error in enumerate(errors)}
    kept["at"] = rebuilt.at[rest]
    unfinished = folder / f"unfinished-{RESULT}"
    np.savez(unfinished, builds=builds, seconds=seconds, **kept)
    unfinished.replace(folder / RESULT)


_FIRST = object()  # stands for the first version, whose answers are known


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
        schema = Registry(places).manifest(order.model, order.first_version).schema
        # An order has no features of its own: those of the first version's schema are meant.
        names, first = schema.names, order.first_version
        stream = Stream(order.model, order.task, order.target, names, frame, order.until, first_version=first)
        return cls(
            order,
            schema,
            feature_frame(frame[list(schema.names)], schema),
            frame[order.target],
            frame["at"].to_numpy(),
            frame["label_at"].to_numpy(dtype=np.float64),
            first_answers(places, stream, frame, allow_joblib=order.trained.allow_joblib),
        )

    def errors(
        self, schedules: Sequence[Schedule], on_progress: Callable[[float], None]
    ) -> tuple[list[Numbers], list[int]]:
        """The errors of models rebuilt on schedules from rows known by then, and how many builds each had.

        What two schedules build at the same time from the same rows is built once.
        """
        starts = np.arange(self.order.until, self.at[-1] + 1e-6, self.order.window)
        edges = np.searchsorted(self.at, [*starts, np.inf])
        errors = [np.full(len(self.at), np.nan) for _ in schedules]
        builds, models = [1] * len(schedules), [_FIRST] * len(schedules)
        for number, start in enumerate(starts):
            fitted: dict[int | None, Any] = {}
            for place, schedule in enumerate(schedules):
                if number == 0 or number % schedule.every != 0:
                    continue
                if schedule.newest not in fitted:
                    fitted[schedule.newest] = self._fit(start, schedule)
                if fitted[schedule.newest] is not None:
                    models[place], builds[place] = fitted[schedule.newest], builds[place] + 1
            self._score(models, errors, slice(edges[number], edges[number + 1]))
            on_progress((number + 1) / len(starts))
        return errors, builds

    def _score(self, models: Sequence[Any], errors: Sequence[Numbers], window: slice) -> None:
        """Write down the errors of a window's rows, under each model once."""
        if window.stop <= window.start:
            return
        lost: dict[int, Numbers] = {}
        for model, error in zip(models, errors, strict=True):
            if id(model) not in lost:
                lost[id(model)] = self.order.trained.loss(*self._answers(model, window), self.truth[window])
            error[window] = lost[id(model)]

    def _answers(self, estimator: Any, window: slice) -> tuple[Any, Any]:
        if estimator is _FIRST:
            predicted, scores = self.first
            return predicted[window], scores[window]
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

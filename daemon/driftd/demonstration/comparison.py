"""The other ways to keep a model that driftd is compared with: left alone, and rebuilt on a schedule from all rows."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.demonstration.report import Curve, Keeper, Numbers
from driftd.demonstration.stream import Stream
from driftd.events import Event
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion
from driftd.store.state.records import StoredTransition
from driftd.trainers import TrainingContext, gradient_boosting
from driftd.training.process_tree import die_with_parent
from driftd_detectors.schema import Kind, Schema

FIRST = 1  # the version that all ways of keeping the model begin with
RESULT, PROGRESS, LOG, ORDER, ROWS = "comparison.npz", "progress", "comparison.log", "order.json", "stream.parquet"


def row_errors(predicted: Any, truth: pd.Series) -> Numbers:
    """The absolute error of each row; for classes 1 where the predicted one is wrong and 0 where it is right."""
    if truth.dtype == np.float64:
        return np.asarray(np.abs(np.asarray(predicted, dtype=np.float64) - truth.to_numpy()))
    return np.asarray(np.asarray(predicted, dtype=str) != truth.to_numpy().astype(str), dtype=np.float64)


def fit(frame: pd.DataFrame, target: pd.Series, at: Numbers, schema: Schema, parameters: Mapping[str, object]) -> Any:
    """An estimator fitted by driftd's default trainer to rows, oldest first, that `feature_frame` made."""
    context = TrainingContext(
        task=str(schema.task),
        target=schema.target,
        features=schema.names,
        categorical=tuple(name for name in schema.names if schema.kind_of(name) is Kind.CATEGORY),
        classes=tuple(sorted(target.unique())) if schema.classes else (),
        seed=FIRST,
        at=at,
        parameters=parameters,
    )
    return gradient_boosting(frame.assign(**{schema.target: target.to_numpy()}), context)


def static_curve(places: Places, stream: Stream) -> Curve:
    """The errors of the first version on all the rows to replay."""
    version, rest = Registry(places).load(stream.model, FIRST), stream.rest
    predicted = version.estimator.predict(feature_frame(rest, version.schema))
    return Curve(Keeper.STATIC, rest["at"].to_numpy(), row_errors(predicted, rest[stream.target]), builds=1)


class Schedule(msgspec.Struct, frozen=True):
    """Windows between two builds, and of how many windows the rows are built from; None: all rows."""

    every: int
    newest: int | None = None


class Order(msgspec.Struct, frozen=True):
    """What the process of a comparison is asked for; its rows are beside it."""

    state: str
    model: str
    task: str
    target: str
    until: float
    window: float
    schedules: dict[str, Schedule]  # by the name of the curve
    parameters: dict[str, object]


class PolicyComparison:
    """The process that computes the curves of models that are rebuilt on a schedule."""

    def __init__(
        self,
        folder: Path,
        stream: Stream,
        places: Places,
        schedules: Mapping[str, Schedule],
        parameters: Mapping[str, object],
    ) -> None:
        """Start it once version 1 is there; it writes into `folder` and dies with this process.

        `schedules` are those of the curves by their names, `parameters` are the trainer's. The thread that starts it
        must live on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        for name in (RESULT, PROGRESS):
            (folder / name).unlink(missing_ok=True)
        write_order(folder, stream, places, schedules, parameters)
        with (folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "driftd.demonstration.comparison", str(folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )

    def progress(self) -> float:
        """The share of the windows that are done, from 0 to 1."""
        if self._process.poll() == 0:
            return 1.0
        with contextlib.suppress(FileNotFoundError, ValueError):
            return float((self._folder / PROGRESS).read_text())
        return 0.0

    def result(self) -> list[Curve] | None:
        """The curves, in the order asked for; None while they are being computed.

        Raises RuntimeError when that failed.
        """
        code = self._process.poll()
        if code is None:
            return None
        if code != 0:
            log = self._folder / LOG
            raise RuntimeError(f"the comparison ended with exit code {code}; see {log}:\n{log.read_text()[-1500:]}")
        return read_curves(self._folder)

    def kill(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def write_order(
    folder: Path, stream: Stream, places: Places, schedules: Mapping[str, Schedule], parameters: Mapping[str, object]
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
        dict(parameters),
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
    frame, first = pd.read_parquet(folder / ROWS), Registry(Places(Path(order.state))).load(order.model, FIRST)
    at = frame["at"].to_numpy()
    kept: dict[str, Any] = {"at": at[at >= order.until]}
    builds, seconds = [], []
    for number, schedule in enumerate(order.schedules.values()):

        def on_progress(share: float, number: int = number) -> None:
            (folder / PROGRESS).write_text(f"{(number + share) / len(order.schedules):.4f}")

        began = time.process_time()
        kept[f"error-{number}"], count = _rebuilt(order, frame, first, schedule, on_progress)
        builds.append(count)
        seconds.append(time.process_time() - began)
    unfinished = folder / f"unfinished-{RESULT}"
    np.savez(unfinished, builds=builds, seconds=seconds, **kept)
    unfinished.replace(folder / RESULT)


def _rebuilt(
    order: Order, frame: pd.DataFrame, first: LoadedVersion, schedule: Schedule, on_progress: Callable[[float], None]
) -> tuple[NDArray[np.float64], int]:
    """The errors of a model rebuilt on a schedule from rows known by then, and how many builds."""
    estimator, schema = first.estimator, first.schema
    at, known, truth = frame["at"].to_numpy(), frame["label_at"].to_numpy(), frame[order.target]
    rows = feature_frame(frame, schema)
    starts = np.arange(order.until, at[-1] + 1e-6, order.window)
    errors, builds = np.full(len(frame), np.nan), 1
    for number, start in enumerate(starts):
        if number and number % schedule.every == 0:
            usable = (at < start) & (known <= start)
            if schedule.newest is not None:
                usable &= at >= start - schedule.newest * order.window
            estimator, builds = fit(rows[usable], truth[usable], at[usable], schema, order.parameters), builds + 1
        window = (at >= start) & (at < start + order.window)
        if window.any():
            errors[window] = row_errors(estimator.predict(rows[window]), truth[window])
        on_progress((number + 1) / len(starts))
    return errors[at >= order.until], builds


def find_mistakes(
    places: Places, stream: Stream, served: Curve, static: Curve, history: Iterable[StoredTransition]
) -> list[str]:
    """Where driftd was wrong, in hindsight: a sentence each, the costliest first; `history` is oldest first.

    A swap was wrong where the version before would have done better until the next swap, and a refusal where the
    refused version would have done better. Months are those in which the first model was better.
    """
    lines = list(history)
    swaps = [line for line in lines if line.event in {Event.PROMOTED, Event.ROLLED_BACK, Event.PINNED}]
    found = [*_wrong_decisions(places, stream, lines, swaps), *_worse_months(served, static)]
    return [sentence for _, sentence in sorted(found, reverse=True)]


def _wrong_decisions(
    places: Places, stream: Stream, lines: Sequence[StoredTransition], swaps: Sequence[StoredTransition]
) -> Iterable[tuple[float, str]]:
    refused = {Event.CHALLENGER_REJECTED, Event.CHALLENGER_INCONCLUSIVE}
    end = float(stream.frame["at"].iloc[-1]) + 1
    serving = FIRST
    for line in lines:
        number = line.decision_figures.version
        if number is None or (line not in swaps and line.event not in refused):
            continue
        until = next((swap.at for swap in swaps if swap.at > line.at), end)
        rows = stream.rest[stream.rest["at"].between(line.at, until, inclusive="left")]
        chosen, other = (number, serving) if line in swaps else (serving, number)
        serving = chosen
        losses = [_loss(places, stream, version, rows) for version in (chosen, other)]
        if losses[0] is None or losses[1] is None or losses[0] <= losses[1]:
            continue
        days = f"{_day(line.at)} to {_day(until)}"
        done = f"version {chosen} was put in place of {other}" if line in swaps else f"version {other} was refused"
        means = f"version {chosen} erred by {losses[0]:.4g}, {other} would have by {losses[1]:.4g}"
        yield (losses[0] - losses[1]) * len(rows), f"{done}: from {days} {means}"


def _loss(places: Places, stream: Stream, version: int, rows: pd.DataFrame) -> float | None:
    """The mean error of a version on some rows; None without rows, or where the version is not kept."""
    registry = Registry(places)
    if len(rows) == 0 or version not in registry.versions(stream.model):
        return None
    loaded = registry.load(stream.model, version)
    predicted = loaded.estimator.predict(feature_frame(rows, loaded.schema))
    return float(row_errors(predicted, rows[stream.target]).mean())


def _worse_months(served: Curve, static: Curve) -> Iterable[tuple[float, str]]:
    months = (served.at * 1e6).astype("datetime64[us]").astype("datetime64[M]")
    for month in np.unique(months):
        inside = months == month
        ours, theirs = float(served.error[inside].mean()), float(static.error[inside].mean())
        if ours > theirs:
            sentence = f"in {month} the served model erred by {ours:.4g}, the first one would have by {theirs:.4g}"
            yield (ours - theirs) * int(inside.sum()), sentence


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    compute(Path(sys.argv[1]))

"""The other ways to keep a model that driftd is compared with: left alone, and rebuilt at every window."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftd.demonstration.report import Curve, Keeper
from driftd.demonstration.stream import DAY, FEATURES, SEED, TARGET, WINDOW, load, split
from driftd.registry.features import feature_frame
from driftd.registry.loaded import LoadedVersion
from driftd.trainers import TrainingContext, gradient_boosting
from driftd.training.process_tree import die_with_parent
from driftd_detectors.schema import Feature, Kind, Schema, Task

CATEGORIES = ("carrier", "origin", "dest")

SCHEMA = Schema(
    Task.REGRESSION,
    TARGET,
    tuple(Feature(name, Kind.CATEGORY if name in CATEGORIES else Kind.NUMBER) for name in FEATURES),
)


def train(rows: pd.DataFrame, seed: int, trees: int) -> Any:
    """An estimator of so many trees, fitted by driftd's default trainer to rows of the stream, oldest first."""
    context = TrainingContext(
        task=str(SCHEMA.task),
        target=TARGET,
        features=SCHEMA.names,
        categorical=CATEGORIES,
        classes=(),
        seed=seed,
        at=rows["at"].to_numpy(),
        parameters={"max_iter": trees},
    )
    data = feature_frame(rows, SCHEMA).assign(**{TARGET: rows[TARGET].to_numpy()})
    return gradient_boosting(data, context)


RECENT = 56 * DAY
TREES = 60

RESULT, PROGRESS, LOG = "comparison.npz", "progress", "comparison.log"


def static_curve(version: LoadedVersion, rest: pd.DataFrame) -> Curve:
    """The errors of one version (the first, say) on all the rows to replay."""
    return Curve(Keeper.STATIC, rest["at"].to_numpy(), _errors(version.estimator, rest), builds=1)


class PolicyComparison:
    """The process that computes the curve of a model rebuilt at every window."""

    def __init__(self, folder: Path) -> None:
        """Start it; it writes into `folder` and dies with this process. The thread that starts it must live on."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        for name in (RESULT, PROGRESS):
            (folder / name).unlink(missing_ok=True)
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

    def result(self) -> Curve | None:
        """The rebuilt model's curve; None while it is being computed. Raises RuntimeError when that failed."""
        code = self._process.poll()
        if code is None:
            return None
        if code != 0:
            log = self._folder / LOG
            raise RuntimeError(f"the comparison ended with exit code {code}; see {log}:\n{log.read_text()[-1500:]}")
        return read(self._folder)

    def kill(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def read(folder: Path) -> Curve:
    """The curve that a finished process left in `folder`. Raises FileNotFoundError when there is none."""
    with np.load(folder / RESULT) as stored:
        builds, seconds = int(stored["builds"]), float(stored["seconds"])
        return Curve(Keeper.REBUILT, stored["at"], stored["error"], builds, seconds)


def compute(folder: Path, frame: pd.DataFrame) -> None:
    """Rebuild at every window of the stream (as `stream.load` gives it) and leave the curve in `folder`."""
    _, rest = split(frame)
    began = time.process_time()
    error, builds = _rebuilt(frame, rest, folder / PROGRESS)
    seconds = time.process_time() - began
    unfinished = folder / f"unfinished-{RESULT}"
    np.savez(unfinished, at=rest["at"].to_numpy(), error=error, builds=builds, seconds=seconds)
    unfinished.replace(folder / RESULT)


def _rebuilt(frame: pd.DataFrame, rest: pd.DataFrame, progress: Path) -> tuple[NDArray[np.float64], int]:
    """The absolute errors of a model rebuilt at every window on what was known by its start, and how many builds."""
    at, known = frame["at"].to_numpy(), frame["label_at"].to_numpy()
    served = rest["at"].to_numpy()
    starts = np.unique(np.floor(served / WINDOW)) * WINDOW
    errors = np.full(len(rest), np.nan)
    for done, start in enumerate(starts):
        recent = (at >= start - RECENT) & (at < start) & (known <= start)
        window = (served >= start) & (served < start + WINDOW)
        errors[window] = _errors(train(frame[recent], SEED, TREES), rest[window])
        progress.write_text(f"{(done + 1) / len(starts):.4f}")
    return errors, len(starts)


def _errors(estimator: Any, rows: pd.DataFrame) -> NDArray[np.float64]:
    predicted = np.asarray(estimator.predict(feature_frame(rows, SCHEMA)), dtype=np.float64)
    truth = rows[TARGET].to_numpy(dtype=np.float64)
    return np.asarray(np.abs(predicted - truth))


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    compute(Path(sys.argv[1]), load())

"""The process of one config: the daemon lives through the stream, and the errors and decisions are left in a folder."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from driftd.config.schema import Config
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.loop.model_runner import ModelRunner
from driftd.observe.logs import configure_logs
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.rehearsal.child_process import ChildProcess, write_progress
from driftd.rehearsal.curves import Curve
from driftd.rehearsal.figures import Decided, Outcome
from driftd.rehearsal.replay import replay
from driftd.rehearsal.rivals import Trained
from driftd.rehearsal.stream import Batch, Stream
from driftd.sources.protocol import default_lateness, window_index
from driftd.store.state.records import StoredTransition
from driftd.store.state.writer import StateStore
from driftd.training.process_tree import die_with_parent

ORDER, CURVE, OUTCOME = "order.json", "curve.npz", "outcome.json"


class Order(msgspec.Struct, frozen=True):
    """What a process is asked for. Its state folder, with the first version in it, is that of the config."""

    config: dict[str, object]
    config_hash: str
    config_path: str
    rows: str  # a Parquet file
    model: str
    task: Literal["classification", "regression"]
    target: str
    features: tuple[str, ...]
    until: float
    window: float
    first_version: int
    trained: Trained

    @property
    def stream(self) -> Stream:
        """The rows to replay."""
        return Stream(
            self.model,
            self.task,
            self.target,
            self.features,
            pd.read_parquet(self.rows),
            self.until,
            self.window,
            self.first_version,
        )


class QuietAssembly(Assembly):
    """The daemon's parts, but that no alarm gets a second opinion: it decides nothing, and takes seconds to render."""

    def open_model(self, name: str, config: Config, now: float) -> ModelRunner:
        """See `Assembly.open_model`."""
        runner = super().open_model(name, config, now)
        runner.rules.settings = replace(runner.rules.settings, has_rows=False)
        return runner


class RehearsalProcess:
    """One config's process."""

    def __init__(
        self, folder: Path, config: Config, config_path: Path, rows: Path, stream: Stream, trained: Trained
    ) -> None:
        """Start it; `rows` is the file of the stream's frame. The thread that starts it must live on."""
        folder.mkdir(parents=True, exist_ok=True)
        order = Order(
            config.model_dump(mode="json"),
            config.hash,
            str(config_path),
            str(rows),
            stream.model,
            stream.task,
            stream.target,
            stream.features,
            stream.until,
            stream.window,
            stream.first_version,
            trained,
        )
        (folder / ORDER).write_bytes(msgspec.json.encode(order))
        self._folder, self._name = folder, folder.name
        self._process = ChildProcess("driftd.rehearsal.worker", folder)
        self.progress, self.kill, self.is_done = self._process.progress, self._process.kill, self._process.is_done

    def result(self) -> tuple[Curve, Outcome]:
        """The curve and the decisions. Raises FileNotFoundError before it is done."""
        outcome = msgspec.json.decode((self._folder / OUTCOME).read_bytes(), type=Outcome)
        with np.load(self._folder / CURVE) as stored:
            return Curve(self._name, stored["at"], stored["error"], int(stored["builds"])), outcome


def live(folder: Path) -> None:
    """Do what the order in `folder` says."""
    order = msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
    config = Config.model_validate(order.config).with_hash(order.config_hash)
    stream, places = order.stream, Places(config.state_dir)
    configure_logs(level="error")
    end = float(stream.frame["at"].iloc[-1])

    def on_batch(_daemon: Daemon, batch: Batch) -> None:
        write_progress(folder, min(1.0, max(0.0, (batch.now - stream.until) / max(1.0, end - stream.until))))

    lived = replay(
        stream,
        Path(order.config_path),
        config,
        places,
        on_batch,
        ends=check_times(stream, config),
        loss=order.trained.loss,
        open_assembly=_quiet,
    )
    np.savez(folder / CURVE, at=lived.curve.at, error=lived.curve.error, builds=lived.curve.builds)
    outcome = Outcome([_decision_of(line) for line in lived.history], lived.not_logged)
    (folder / OUTCOME).write_bytes(msgspec.json.encode(outcome))


def _quiet(config_path: Path, config: Config, places: Places, store: StateStore) -> Assembly:
    return QuietAssembly(config_path, config, places, store, Metrics())


def check_times(stream: Stream, config: Config) -> Iterator[float]:
    """When the daemon would look: as soon as a window may be checked, which is its end and the wait for stragglers.

    Windows of rows end with their last row.
    """
    window = config.models[stream.model].window
    lateness = default_lateness(window) if window.lateness is None else window.lateness
    if window.every is not None:
        begin = window_index(stream.until, window.every) * window.every
        return (begin + number * window.every + lateness for number in itertools.count(1))
    at, rows = stream.rest["at"].to_numpy(), int(window.rows or 1)
    ends = [float(np.nextafter(at[place], np.inf)) for place in range(rows - 1, len(at), rows)]
    last = max([*ends, float(at[-1])])
    return itertools.chain(ends, (last + number * stream.window for number in itertools.count(1)))


def _decision_of(line: StoredTransition) -> Decided:
    return Decided(line.at, line.event, line.decision_figures.version, line.reason)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    live(Path(sys.argv[1]))

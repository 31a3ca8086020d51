"""A small world for the whole loop: an application, a daemon on a virtual clock, and a stream that can change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from driftd.clock import VirtualClock
from driftd.config.load import load
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.serving.client import Driftd
from driftd.store.state.writer import StateStore
from driftd.training.bootstrap import FileColumns
from first_versions import first_version_of

HOUR = 3600.0
START = 1_700_000_000.0 // HOUR * HOUR
ROWS = 200  # an hour
LABEL_DELAY = 600.0
MODEL = "demand"
CONFIG = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand:
    task: regression
    target: y
    window: {{every: 1h, lateness: 1s}}
    parameters: {{max_iter: 30}}
    retrain: {{on: [performance], cooldown: 1h}}
    promote: {{block: 1h}}  # its hours are independent by construction: an hour may count as a day does
    probation: {{span: 2h, min_labels: 300}}
"""

Change = Callable[[pd.DataFrame, np.ndarray], tuple[pd.DataFrame, np.ndarray]]


def hour(number: int, rows: int = ROWS) -> tuple[pd.DataFrame, np.ndarray]:
    """Features and truth of one hour; always the same for a number."""
    rng = np.random.default_rng([7, number])
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.normal(size=rows),
            "c": rng.choice(["red", "green", "blue"], rows),
        }
    )
    truth = 3 * frame["a"].to_numpy() + np.where(frame["c"] == "red", 2.0, 0.0) + rng.normal(0, 0.5, rows)
    return frame, truth


def keep_rows(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Nothing happens."""
    return frame, truth


@dataclass
class World:
    """The state directory, the daemon and the hours that have passed."""

    folder: Path
    clock: VirtualClock
    places: Places
    daemon: Daemon
    hours: int
    start: float = START

    @classmethod
    def begin(
        cls, folder: Path, *, hours: int = 120, config: str = CONFIG, start: float = START, label_times: bool = True
    ) -> World:
        """Train version 1 on so many hours and put the model under watch."""
        path = folder / "config.yaml"
        path.write_text(config.format(state=folder / "state"))
        places = Places(folder / "state")
        parts = []
        for number in range(hours):
            frame, truth = hour(number)
            at = start + number * HOUR + np.arange(ROWS) * HOUR / ROWS
            parts.append(frame.assign(y=truth, at=at, label_at=at + LABEL_DELAY))
        now = start + hours * HOUR
        columns = FileColumns(time="at", label_time="label_at" if label_times else None)
        rows = pd.concat(parts).drop(columns=[] if label_times else ["label_at"])
        first_version_of(MODEL, load(path).models[MODEL], rows, columns, places, now=now)
        return cls(folder, VirtualClock(now), places, cls.open(path, places), hours, start)

    @staticmethod
    def open(path: Path, places: Places) -> Daemon:
        """A daemon over what stands on disk."""
        return Daemon(Assembly(path, load(path), places, StateStore.open(places.state_db), Metrics()))

    def reopen(self) -> None:
        """As after a crash: a new daemon finds what the old one left."""
        self.daemon = self.open(self.folder / "config.yaml", self.places)

    def live(self, hours: int, change: Change = keep_rows, *, until: Callable[[World], bool] | None = None) -> None:
        """Let hours pass: predictions come, labels come a little later, the daemon works."""
        with Driftd(self.places.root, MODEL) as application:
            for _ in range(hours):
                self.feed(application, change)
                self.daemon.catch_up(self.clock.now())
                if until is not None and until(self):
                    return

    def feed(self, application: Driftd, change: Change = keep_rows) -> None:
        """An hour of predictions and their labels, which the daemon has not seen yet."""
        frame, truth = change(*hour(self.hours))
        at = self.start + self.hours * HOUR + np.arange(len(frame)) * HOUR / len(frame)
        ids = [f"{self.hours}-{row}" for row in range(len(frame))]
        application.predict(frame, ids=ids, at=at)
        application.feedback(ids, truth, at=at + LABEL_DELAY)
        self.pass_hour()

    def pass_hour(self) -> None:
        """Let the clock come to where the labels of the next hour are known."""
        self.hours += 1
        self.clock.advance_to(self.start + self.hours * HOUR + LABEL_DELAY + 60)

    @property
    def events(self) -> list[str]:
        """What was decided, oldest first."""
        return [line.event for line in reversed(self.daemon.assembly.store.history(MODEL, 1000))]

    @property
    def phase(self) -> str:
        """Where the model stands."""
        return str(self.daemon.models[MODEL].state.phase)

    def close(self) -> None:
        """Let go of everything."""
        self.daemon.close()

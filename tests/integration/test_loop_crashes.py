"""Killed anywhere, the next start ends in the same place as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.build.first import FileColumns, make_first_version
from driftd.config.load import load
from driftd.loop.assembling import Assembly
from driftd.loop.daemon import Daemon
from driftd.observe.metrics import Metrics
from driftd.places import Places
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.state import StateStore
from driftd.store.state_reader import StateAbsentError, StateReader
from loop_world import LABEL_DELAY, MODEL, ROWS, World, hour

pytestmark = pytest.mark.slow


class PowerCutError(BaseException):
    """The process is gone: nothing in it may catch this."""


class FailingStore(StateStore):
    """The real store, in a process that dies in the middle of transactions: before the commit, or just after it."""

    draw = random.Random(11)
    deaths = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As the real one; more than every second transaction that writes is the last of its process."""
        before = self._db.total_changes
        fate = self.draw.random()
        with super().transaction():
            yield
            wrote = self._db.total_changes > before
            if wrote and fate < 0.3:
                FailingStore.deaths += 1
                raise PowerCutError
        if wrote and fate > 0.7:
            FailingStore.deaths += 1
            raise PowerCutError


class FailingWorld(World):
    """A world whose daemon dies again and again, and is started again each time."""

    def reopen(self) -> None:
        """A new daemon over a store that will fail."""
        store = FailingStore.open(self.places.state_db)
        config = load(self.folder / "config.yaml")
        self.daemon = Daemon(Assembly(self.folder / "config.yaml", config, self.places, store, Metrics()))

    def work(self) -> None:
        """Catch up, however often it takes."""
        while True:
            try:
                self.daemon.catch_up(self.clock.now())
            except PowerCutError:
                for model in self.daemon.models.values():
                    model.close()  # a dead process takes its children along
                self.daemon.assembly.store.close()
                self.reopen()
            else:
                return


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round."""
    return frame, truth - 5 * frame["a"].to_numpy()


def test_a_daemon_that_dies_in_any_transaction_ends_in_the_same_place(tmp_path: Path) -> None:
    """With a power cut around every second write, each window is checked once and one version is promoted once."""
    world = World.begin(tmp_path)
    world.close()
    failing = FailingWorld(world.folder, world.clock, world.places, world.daemon, world.hours)
    failing.reopen()
    with Driftd(failing.places.root, MODEL) as application:
        for number in range(30):
            failing._hour(application, concept if number >= 4 else lambda frame, truth: (frame, truth))
            failing.work()
            if "confirmed" in failing.events:
                break
    events = failing.events
    store = failing.daemon.assembly.store
    assert FailingStore.deaths >= 12
    assert events.count("promoted") == 1
    assert events.count("build_started") == 1
    assert events.count("confirmed") == 1
    checks = [check.window_index for check in reversed(store.checks(MODEL, 1000, "window"))]
    assert checks == list(range(checks[0], checks[0] + len(checks)))
    assert Registry(failing.places).versions(MODEL) == (1, 2)
    assert Registry(failing.places).current(MODEL) == 2
    assert store.open_actions(MODEL) == []
    failing.close()


CONFIG = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand:
    task: regression
    target: y
    window: {{rows: 200}}
    parameters: {{max_iter: 30}}
    probation: {{span: 1s, min_labels: 300}}
"""


def test_the_real_daemon_killed_at_each_step_of_a_build_comes_back_to_the_right_place(tmp_path: Path) -> None:
    """`kill -9` during snapshot, train, judge, swap and shadow: after each restart the build goes on, once."""
    path, places = tmp_path / "config.yaml", Places(tmp_path / "state")
    path.write_text(CONFIG.format(state=places.root))
    _first_version(path, places)
    with Driftd(places.root, MODEL) as application:
        for number in range(120, 150):
            _live(application, number)
        killed = [_run_until_started(path, places, kind) for kind in ("snapshot", "train", "judge", "swap")]
        with _running(path):
            _wait(lambda: _events(places).count("promoted") == 1)
        for number in range(150, 156):
            _live(application, number, at=time.time())
        killed.append(_run_until_started(path, places, "shadow"))
        with _running(path) as daemon:
            _wait(lambda: "confirmed" in _events(places))
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=8) == 0
    assert killed == ["snapshot", "train", "judge", "swap", "shadow"]
    events = _events(places)
    assert [events.count(one) for one in ("build_started", "promoted", "confirmed", "build_failed")] == [1, 1, 1, 0]
    assert Registry(places).current(MODEL) == 2
    with StateReader.read_only(places.state_db) as reader:
        indices = [check.window_index for check in reader.checks(MODEL, 1000, "window")]
    assert len(indices) == len(set(indices))


def _first_version(path: Path, places: Places) -> None:
    parts = []
    for number in range(120):
        frame, truth = hour(number)
        parts.append(frame.assign(y=truth))
    now = time.time() - 7200
    make_first_version(MODEL, load(path).models[MODEL], pd.concat(parts), FileColumns(), places, now=now)


def _live(application: Driftd, number: int, at: float | None = None) -> None:
    """An hour's rows of the changed world, predicted and labelled."""
    frame, truth = concept(*hour(number))
    moments = np.full(ROWS, at if at is not None else time.time() - 7200 + (number - 120) * 100.0)
    ids = [f"{number}-{row}" for row in range(ROWS)]
    application.predict(frame, ids=ids, at=moments)
    application.feedback(ids, truth, at=moments + (0.0 if at is not None else LABEL_DELAY / 10))


@contextmanager
def _running(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    roots = os.pathsep.join(one for one in sys.path if one)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "run", "--config", str(path)],
        env={**os.environ, "PYTHONPATH": roots},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def _run_until_started(path: Path, places: Places, kind: str) -> str:
    """Run the daemon until it works at an action of this kind, and kill it there."""
    with _running(path):
        _wait(lambda: kind in _started(places))
    return kind


def _started(places: Places) -> list[str]:
    try:
        with StateReader.read_only(places.state_db) as reader:
            return [str(action.kind) for action in reader.open_actions(MODEL) if action.status == "started"]
    except (sqlite3.Error, json.JSONDecodeError, FileNotFoundError):
        return []
    except StateAbsentError:
        return []


def _events(places: Places) -> list[str]:
    with StateReader.read_only(places.state_db) as reader:
        return [line.event for line in reversed(reader.history(MODEL, 1000))]


def _wait(condition: object, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)

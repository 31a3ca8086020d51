"""Killed anywhere, the next start ends in the same place as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftd.config.load import load
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.state.writer import StateStore
from fault_counts import daemon, events_of, open_kinds, window_indices
from limits import time_limit, wait
from loop_world import MODEL, World
from row_windows import CONFIG, first_version, live, turn_round

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


def test_a_daemon_that_dies_in_any_transaction_ends_in_the_same_place(tmp_path: Path) -> None:
    """With a power cut around every second write, each window is checked once and one version is promoted once."""
    world = World.begin(tmp_path)
    world.close()
    failing = FailingWorld(world.folder, world.clock, world.places, world.daemon, world.hours)
    failing.reopen()
    with Driftd(failing.places.root, MODEL) as application:
        for number in range(30):
            failing.feed(application, turn_round if number >= 4 else lambda frame, truth: (frame, truth))
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


def test_the_real_daemon_killed_at_each_step_of_a_build_comes_back_to_the_right_place(tmp_path: Path) -> None:
    """`kill -9` during snapshot, train, judge, swap and shadow: after each restart the build goes on, once."""
    path, places = tmp_path / "config.yaml", Places(tmp_path / "state")
    path.write_text(CONFIG.format(state=places.root))
    first_version(path, places)
    with Driftd(places.root, MODEL) as application:
        for number in range(120, 150):
            live(application, number)
        killed = [_run_until_started(path, places, kind) for kind in ("snapshot", "train", "judge", "swap")]
        with daemon(path):
            wait(lambda: events_of(places, MODEL).count("promoted") == 1, "promoted")
        for number in range(150, 156):
            live(application, number, at=time.time())
        killed.append(_run_until_started(path, places, "shadow"))
        with daemon(path) as process:
            wait(lambda: "confirmed" in events_of(places, MODEL), "confirmed")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=time_limit(8)) == 0
    assert killed == ["snapshot", "train", "judge", "swap", "shadow"]
    events = events_of(places, MODEL)
    assert [events.count(item) for item in ("build_started", "promoted", "confirmed", "build_failed")] == [1, 1, 1, 0]
    assert Registry(places).current(MODEL) == 2
    indices = window_indices(places, MODEL)
    assert len(indices) == len(set(indices))


def _run_until_started(path: Path, places: Places, kind: str) -> str:
    """Run the daemon until it works at an action of this kind, and kill it there."""
    with daemon(path):
        # A forked job may end between two looks: its folder stays.
        begun = lambda: kind in open_kinds(places, MODEL) or any(places.job("x").parent.glob(f"{MODEL}-*-{kind}"))  # noqa: E731
        wait(begun, f"{kind} is under way")
    return kind

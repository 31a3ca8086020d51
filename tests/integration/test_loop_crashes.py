"""Killed anywhere, the next start ends in the same place as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from structlog.testing import capture_logs

from driftd.config.load import load
from driftd.loop.daemon import Daemon
from driftd.loop.factory import CHILDREN, Assembly
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.state.writer import StateStore
from fault_counts import daemon, events_of, open_kinds, window_indices
from limits import HANG, time_limit, wait
from loop_world import CONFIG as CONFIG_OF_HOURS
from loop_world import MODEL, World, keep_rows
from row_windows import CONFIG, first_version, live, turn_round

pytestmark = pytest.mark.slow


class PowerCutError(BaseException):
    """The process is gone: nothing in it may catch this."""


class FailingStore(StateStore):
    """The real store, in a process that dies in the middle of transactions: before the commit, or just after it."""

    draw = random.Random(11)
    deaths = 0
    survival = 0.4

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As the real one; of those that write, so many are not the last of their process."""
        before = self._db.total_changes
        fate = self.fate()
        with super().transaction():
            yield
            wrote = self._db.total_changes > before
            if wrote and fate < (1 - self.survival) / 2:
                FailingStore.deaths += 1
                raise PowerCutError
        if wrote and fate > (1 + self.survival) / 2:
            FailingStore.deaths += 1
            raise PowerCutError

    def fate(self) -> float:
        """Of the next transaction: low where it dies before the commit, high where just after it."""
        return self.draw.random()


class DoomedStore(FailingStore):
    """The real store, in a process that dies at some transactions, however fast or slow it is."""

    survival = 0.5
    doomed: Iterator[int] = iter(())  # after how many more transactions, each time anew
    left = 0  # of them, until the next death

    def fate(self) -> float:
        """Dies before the commit and just after it by turns."""
        DoomedStore.left -= 1
        if self.left != 0:
            return 0.5
        DoomedStore.left = next(self.doomed, 0)
        return float(FailingStore.deaths % 2)


class FailingWorld(World):
    """A world whose daemon dies again and again, and is started again each time."""

    store: type[StateStore] = FailingStore
    children = CHILDREN

    def reopen(self) -> None:
        """A new daemon over a store that may fail."""
        path, store = self.folder / "config.yaml", self.store.open(self.places.state_db)
        self.daemon = Daemon(Assembly(path, load(path), self.places, store, Metrics(), children=self.children))

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
            failing.feed(application, turn_round if number >= 4 else keep_rows)
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


HOURS_BEHIND = 30  # no more than one step checks: wherever one fails, labels come after the windows


def move(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """A feature lies elsewhere, and means the opposite."""
    moved = turn_round(frame, truth)
    return moved[0].assign(b=frame["b"] + 1.5), moved[1]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model that has so many windows to catch up; nobody has it under watch. Copies of it are."""
    world = World.begin(tmp_path_factory.mktemp("behind"))
    with Driftd(world.places.root, MODEL) as application:
        for number in range(HOURS_BEHIND):
            world.feed(application, move if number >= 18 else keep_rows)
    world.close()
    return world


def copy_of(world: World, folder: Path, store: type[StateStore] = StateStore) -> FailingWorld:
    """The same model elsewhere, under watch; what is decided is not performed."""
    shutil.copytree(world.folder, folder, symlinks=True)
    (folder / "config.yaml").write_text(CONFIG_OF_HOURS.format(state=folder / "state"))
    copied = FailingWorld(folder, world.clock, Places(folder / "state"), world.daemon, world.hours)
    copied.store, copied.children = store, 0
    copied.reopen()
    return copied


def landed(world: World) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the store that checks and decisions write, but for the hash of a config that names its folder."""
    store, found = world.daemon.assembly.store, {}
    for table in ("models", "transitions", "actions", "alarms", "checks", "scores", "profiles", "cursors", "monitors"):
        rows = [dict(row) for row in store._db.execute(f"select * from {table}")]
        found[table] = [tuple(value for name, value in row.items() if name != "config_hash") for row in rows]
    return found


@pytest.fixture(scope="module")
def one_by_one(behind: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """What stands in the store when each window has landed before the next is checked."""
    world = copy_of(behind, tmp_path_factory.mktemp("one_by_one") / "world")
    world.daemon.assembly.group.seconds = -1.0
    world.daemon.catch_up(world.clock.now())
    found = landed(world)
    world.close()
    assert {"adopted", "alarm", "build_started"} <= {str(row[3]) for row in found["transitions"]}
    assert len(found["checks"]) == 2 * HOURS_BEHIND
    return found


def test_windows_that_land_together_say_what_they_say_one_by_one(
    behind: World, one_by_one: dict[str, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    """Checks, alarms, decisions, their order, cursors and evidence are the same, with one copy of the evidence."""
    world = copy_of(behind, tmp_path / "world")
    world.daemon.watch(world.clock.now())
    world.daemon.assembly.group.seconds = HANG
    said: list[str] = []
    world.daemon.assembly.store._db.set_trace_callback(said.append)
    world.daemon.catch_up(world.clock.now())
    assert landed(world) == one_by_one
    evidence = [line for line in said if line.startswith("insert or replace into monitors")]
    assert len(evidence) == 1
    body, _ = world.daemon.assembly.metrics.expose("")
    assert f'driftd_checks_total{{model="{MODEL}",kind="window",verdict="ok"}} 1' in body.decode()
    world.close()


def test_deaths_amid_groups_of_windows_change_nothing(
    behind: World, one_by_one: dict[str, list[tuple[object, ...]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With power cuts inside groups and at their ends, what is checked again says what it said the first time."""
    counts = [9, 14, 25, 11, 21, 17, 8]  # of transactions and their parts: 60 checks take two each at least
    monkeypatch.setattr(DoomedStore, "left", counts[0])
    monkeypatch.setattr(DoomedStore, "doomed", iter(counts[1:]))
    deaths = FailingStore.deaths
    failing = copy_of(behind, tmp_path / "world", DoomedStore)
    failing.work()
    assert FailingStore.deaths - deaths >= 4  # one that has written nothing lives on
    assert landed(failing) == one_by_one
    failing.close()


class FullDiskStore(StateStore):
    """The real store on a disk that has no room at some calls: for a check, or for the evidence after some."""

    full_for = ""
    full_at: tuple[int, ...] = ()  # which of the calls, from 1
    calls = 0

    def _need_room(self, what: str) -> None:
        if self.full_for == what:
            FullDiskStore.calls += 1
            if self.calls in self.full_at:
                raise sqlite3.OperationalError("database or disk is full")

    def save_check(self, *check: Any, **about: Any) -> None:
        """As the real one; what comes before it in its transaction was written."""
        super().save_check(*check, **about)
        self._need_room("check")

    def save_monitor(self, *monitor: Any) -> None:
        """As the real one."""
        self._need_room("evidence")
        super().save_monitor(*monitor)


@pytest.mark.parametrize(
    ("full_for", "full_at", "seconds"),
    [("check", (13, 15, 50), HANG), ("evidence", (1, 2), HANG), ("evidence", (9, 40), -1.0)],
)
def test_a_group_that_cannot_land_is_checked_again(
    behind: World,
    one_by_one: dict[str, list[tuple[object, ...]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full_for: str,
    full_at: tuple[int, ...],
    seconds: float,
) -> None:
    """Without room for a check those before it land; without room for the evidence none; nothing else is blamed."""
    world = copy_of(behind, tmp_path / "world", FullDiskStore)
    daemon, now = world.daemon, world.clock.now()
    daemon.watch(now)
    daemon.assembly.group.seconds = seconds
    for name, value in (("full_for", full_for), ("full_at", full_at), ("calls", 0)):
        monkeypatch.setattr(FullDiskStore, name, value)
    failed = 0
    with capture_logs():  # the console would write each traceback out
        while daemon.round(now) or daemon.failures:
            failed += bool(daemon.failures)
    assert failed == len(full_at)
    assert landed(world) == one_by_one
    world.close()


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

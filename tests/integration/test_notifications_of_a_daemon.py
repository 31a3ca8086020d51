"""Notifications of a whole daemon: on a virtual clock with receivers that hang, and as a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.loop.messages import DeliveryConfirmed, Message, Tick
from driftd.loop.supervision import Service
from driftd.notify import Notifier
from driftd.paths import Places
from driftd.store.state.reader import StateReader
from driftd.store.state.request_queue import post_request
from driftd.store.state.writer import StateStore
from driftd.training.bootstrap import FileColumns, make_first_version
from limits import time_limit
from loop_world import CONFIG, MODEL, World, hour
from notify_samples import QUICK, endpoint, eventually

pytestmark = pytest.mark.slow

NOTIFY = """\
notify:
  team: {{webhook: "{team}", on: [all]}}
  hangs: {{webhook: "{hanging}", on: [all], timeout: 10m}}
"""


WATCHED = CONFIG.replace("retrain: {{on: [performance], cooldown: 1h}}", "retrain: {{on: []}}")
BY_ROWS = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand: {{task: regression, target: y, window: {{rows: 200}}, parameters: {{max_iter: 10}}}}
"""


def shifted(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    return frame, truth + 4.0


def test_a_hanging_receiver_never_holds_the_loop_up(tmp_path: Path) -> None:
    """While one receiver hangs all the time, hours are checked and decided, and the other hears of everything."""
    with endpoint() as team, endpoint(answer=lambda _: (200, {}, 600.0)) as hanging:
        receivers = NOTIFY.format(team=team.url, hanging=hanging.url)
        world = World.begin(tmp_path, config=WATCHED + receivers.replace("{", "{{").replace("}", "}}"))
        daemon, clock = world.daemon, world.clock
        notifier = Notifier(
            world.places.state_db,
            lambda receiver, until: daemon.inbox.put(DeliveryConfirmed(receiver, until)),
            daemon.assembly.metrics,
            clock.now,
            QUICK,
        )
        daemon.notify_by(notifier)
        world.live(3)
        eventually(lambda: hanging.tries)
        world.live(12, shifted, until=lambda world: "alarm" in world.events)
        assert "alarm" in world.events
        assert hanging.tries == 1  # it still hangs
        eventually(lambda: {"adopted", "alarm"} <= set(team.events))
        while not daemon.inbox.empty():
            daemon.handle(daemon.inbox.get(), clock.now())
        output = daemon.assembly.store.told_until("team")
        assert output is not None
        assert output >= max(team.ids)
        assert daemon.assembly.store.told_until("hangs") == 0
        began = time.monotonic()
        world.close()
        assert time.monotonic() - began < time_limit(5)


def test_a_store_that_refuses_to_be_written_ends_nothing(tmp_path: Path) -> None:
    """While the store cannot be written (a full disk), new receivers wait and confirmations are lost, no more."""
    with endpoint() as team:
        config = CONFIG + f'notify: {{{{team: {{{{webhook: "{team.url}", on: [all]}}}}}}}}\n'
        world = World.begin(tmp_path, hours=30, config=config)
        daemon, store = world.daemon, world.daemon.assembly.store
        refusal = "on receivers begin select raise(abort, 'disk is full'); end"
        store._db.execute(f"create trigger no_new before insert {refusal}")
        store._db.execute(f"create trigger no_more before update {refusal}")
        notifier = Notifier(
            world.places.state_db,
            lambda receiver, until: daemon.inbox.put(DeliveryConfirmed(receiver, until)),
            daemon.assembly.metrics,
            world.clock.now,
            QUICK,
        )
        daemon.notify_by(notifier)
        daemon.handle(DeliveryConfirmed("team", 7), world.clock.now())
        assert team.tries == 0
        store._db.execute("drop trigger no_new")
        world.live(1)
        assert store.told_until("team") == 0
        eventually(lambda: "adopted" in team.events)
        eventually(lambda: not daemon.inbox.empty())
        daemon.handle(daemon.inbox.get(), world.clock.now())
        assert store.told_until("team") == 0
        store._db.execute("drop trigger no_more")
        daemon.handle(DeliveryConfirmed("team", 1), world.clock.now())
        assert store.told_until("team") == 1
        world.close()


class StoppedWhileTaking(SimpleQueue[Message]):
    """An inbox of which the last message is taken at the very moment at which SIGTERM comes."""

    service: Service

    def get(self, block: bool = True, timeout: float | None = None) -> Message:
        """Take a message; with the last one comes the signal."""
        message = super().get(block, timeout)
        if self.empty():
            self.service.stop_asked = "SIGTERM"
        return message


def test_a_stop_loses_no_confirmation_that_was_just_taken(tmp_path: Path) -> None:
    """What a receiver was told is kept, even when the signal comes while the main loop takes the message."""
    with endpoint() as team:
        config = CONFIG + f'notify: {{{{team: {{{{webhook: "{team.url}", on: [build_failed]}}}}}}}}\n'
        world = World.begin(tmp_path, hours=30, config=config)
        daemon, metrics = world.daemon, world.daemon.assembly.metrics
        daemon.inbox = inbox = StoppedWhileTaking()
        inbox.service = daemon.assembly.service
        daemon.notify_by(Notifier(world.places.state_db, lambda *_: None, metrics, world.clock.now, QUICK))
        daemon.handle(Tick(), world.clock.now())
        inbox.put(DeliveryConfirmed("team", 7))
        daemon.run(world.clock)
    with StateReader.read_only(world.places.state_db) as reader:
        assert reader.told_until("team") == 7


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon; its log is a file beside the config."""
    with config.with_suffix(".log").open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "driftd.cli.main", "run", "--config", str(config)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item)},
            stderr=log,
        )
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def test_a_killed_daemon_tells_after_its_next_start(tmp_path: Path) -> None:
    """`kill -9` while a receiver is away: it is told after the restart, and a clean end repeats nothing."""
    down = [True]
    config, places = tmp_path / "config.yaml", Places(tmp_path / "state")
    config.write_text(BY_ROWS.format(state=places.root))
    _first_version(config, places)
    StateStore.open(places.state_db).close()
    with endpoint(answer=lambda _: (502 if down[0] else 200, {}, 0.0)) as team:
        config.write_text(config.read_text() + f'notify:\n  team: {{webhook: "{team.url}", on: [all]}}\n')
        with running(config) as daemon:
            eventually(lambda: _receiver(places) is not None)
            number = _ask(places)
            eventually(lambda: team.tries >= 2)
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        down[0] = False
        with running(config) as daemon:
            eventually(lambda: number in team.ids)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=time_limit(10)) == 0
        heard = list(team.ids)
        with running(config):
            time.sleep(4)
        assert team.ids[: len(heard)] == heard
        assert len(set(team.ids)) == len(team.ids)


def _first_version(config: Path, places: Places) -> None:
    frame, truth = hour(0, rows=4000)
    rows = frame.assign(y=truth)
    make_first_version(MODEL, load(config).models[MODEL], rows, FileColumns(), places, now=time.time() - 60)


def _receiver(places: Places) -> int | None:
    with StateReader.read_only(places.state_db) as reader:
        return reader.told_until("team")


def _ask(places: Places) -> int:
    """Ask for what is refused, so that one decision is made; returns its number."""
    post_request(places.state_db, at=time.time(), who="a person", model=MODEL, kind="approve", arguments={})
    with StateStore.open(places.state_db) as store:
        eventually(lambda: [item.event for item in store.history(MODEL, 1)] == ["request_refused"])
        return store.history(MODEL, 1)[0].id

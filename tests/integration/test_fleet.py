"""Many models in one daemon: what runs out is told as what it is, and no model waits for all the others."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftd.loop import step_schedule
from driftd.loop.daemon import Daemon
from driftd.loop.messages import Reload
from driftd.serving.client import Driftd
from driftd.store.state.request_queue import post_request
from driftd.training.fork_server import ForkedProcess, ForkServer
from first_versions import copy_model
from limits import no_more_files
from loop_world import CONFIG, HOUR, MODEL, World

pytestmark = pytest.mark.slow

NAMES = (MODEL, "second", "third")


@dataclass
class Fleet:
    """Models with the same version and the same hours of events, which nobody has checked yet."""

    world: World
    names: tuple[str, ...] = NAMES

    @property
    def daemon(self) -> Daemon:
        """The daemon over all of them."""
        return self.world.daemon

    @property
    def now(self) -> float:
        """The time of the virtual clock."""
        return self.world.clock.now()

    def checks(self) -> dict[str, list[str]]:
        """The verdicts of the windows of each model, oldest first."""
        store = self.daemon.assembly.store
        return {name: [str(check.verdict) for check in store.checks(name, kind="window")][::-1] for name in self.names}


def begin(folder: Path, hours: int, names: tuple[str, ...] = NAMES) -> Fleet:
    """A fleet with so many hours of events; the first of its models is the one that is copied."""
    world = World.begin(folder)
    with Driftd(world.places.root, MODEL) as application:
        for _ in range(hours):
            world.feed(application)
    world.close()
    for name in names[1:]:
        copy_model(world.places, MODEL, name)
    head, model = CONFIG.split("  demand:\n")
    text = head + "".join(f"  {name}:\n{model}" for name in names)
    (folder / "config.yaml").write_text(text.format(state=folder / "state"))
    world.reopen()
    return Fleet(world, names)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = begin(tmp_path, hours=1)
    yield made
    made.world.close()


def test_without_descriptors_nothing_is_called_damaged_and_no_window_is_lost(fleet: Fleet) -> None:
    """Rounds without a descriptor give no verdict and no word of damage; a later one checks the windows, whole."""
    fleet.daemon.begin(fleet.now)
    fleet.daemon.watch(fleet.now)
    with capture_logs() as logs, no_more_files():  # the renderer of the console opens files of its own
        for _ in range(5):
            fleet.daemon.round(fleet.now)
    assert fleet.checks() == {name: [] for name in NAMES}
    assert {line["event"] for line in logs} >= {"model_step_failed"}
    said = [str(line) for line in logs]
    assert not [line for line in said if "damage" in line.replace(".damaged", "") or "restore" in line]
    assert not list(fleet.world.places.root.rglob("*.damaged"))
    said_by_probe = fleet.daemon.is_ready() or ""
    assert said_by_probe.startswith("3 of 3 models fail (demand, second, third); demand: ")
    body, _ = fleet.daemon.assembly.metrics.expose("")
    assert f'driftd_version_damaged{{model="{MODEL}"}} 1' not in body.decode()
    fleet.daemon.catch_up(fleet.now)
    assert fleet.checks() == {name: ["ok"] for name in NAMES}
    assert fleet.daemon.is_ready() is None
    assert fleet.daemon.faults() == {}


def test_models_that_cannot_be_opened_for_want_of_descriptors_are_taken_up_later(fleet: Fleet) -> None:
    """A start without descriptors says what is missing for each model, and the next round has them all."""
    fleet.daemon.begin(fleet.now)
    with capture_logs(), no_more_files():
        fleet.daemon.watch(fleet.now)
    assert set(fleet.daemon.obstacles) == set(NAMES)
    assert all("Too many open files" in reason for reason in fleet.daemon.obstacles.values())
    fleet.daemon.catch_up(fleet.now)
    assert fleet.daemon.obstacles == {}
    assert fleet.checks() == {name: ["ok"] for name in NAMES}


class FullHost(ForkServer):
    """A host on which no process can be started."""

    def fork(self, folder: Path, log: Path, environment: Mapping[str, str]) -> ForkedProcess | None:
        """As `os.fork` then."""
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_a_job_that_cannot_be_started_costs_no_check(fleet: Fleet) -> None:
    """Where no process can be started, the windows are checked, the model is said to fail, and the job comes later."""
    daemon, store = fleet.daemon, fleet.daemon.assembly.store
    daemon.begin(fleet.now)
    daemon.watch(fleet.now)
    slots = daemon.models[MODEL].performer.slots
    slots.server, server = FullHost(), slots.server
    asked = {"who": "ada", "model": MODEL, "kind": "retrain", "arguments": {"text": "please"}}
    post_request(fleet.world.places.state_db, at=fleet.now, **asked)  # type: ignore[arg-type]
    with capture_logs():
        for second in range(3):
            daemon.round(fleet.now + second)
    assert [action.kind for action in store.open_actions(MODEL)] == ["snapshot"]
    assert fleet.checks() == {name: ["ok"] for name in NAMES}
    assert list(daemon.faults()) == [MODEL]
    assert "temporarily unavailable" in daemon.faults()[MODEL]
    slots.server = server
    daemon.round(fleet.now + 3)
    assert daemon.faults() == {}
    assert daemon.models[MODEL].jobs


def test_the_version_of_a_model_that_cannot_be_watched_is_in_the_chain(fleet: Fleet) -> None:
    """A model whose event store is damaged at the first start has its version bound into the chain: it serves."""
    fleet.world.places.events_db("second").write_bytes(b"no database " * 1000)
    fleet.daemon.begin(fleet.now)
    with capture_logs():
        fleet.daemon.watch(fleet.now)
    assert set(fleet.daemon.obstacles) == {"second"}
    assert all(fleet.daemon.assembly.store.chained_content(name, 1) for name in NAMES)


def test_an_override_is_in_force_while_the_fleet_still_catches_up(tmp_path: Path) -> None:
    """A round ends for a message between two windows; the config is taken up, and no further window is checked."""
    fleet = begin(tmp_path, hours=3)
    daemon, path = fleet.daemon, tmp_path / "config.yaml"
    daemon.begin(fleet.now)
    daemon.watch(fleet.now)
    daemon.steps.limit = 1000.0
    daemon.inbox.put(Reload())
    assert daemon.round(fleet.now), "it is behind"
    assert sum(map(len, fleet.checks().values())) == 1
    path.write_text(path.read_text() + "override: {reason: an outage, pause: [checks]}\n")
    assert isinstance(daemon.inbox.get(), Reload)
    assert daemon.reload(fleet.now) is None
    daemon.catch_up(fleet.now)
    assert sum(map(len, fleet.checks().values())) == 1
    assert {str(model.state.phase) for model in daemon.models.values()} == {"paused"}
    fleet.world.close()


def test_a_fleet_catches_up_round_by_round(fleet: Fleet) -> None:
    """Rounds that have time for one window each come to the same as one round that has time for all."""
    fleet.daemon.steps.limit = -1.0
    rounds = 1
    while fleet.daemon.round(fleet.now + rounds):
        rounds += 1
        assert rounds < 50
    assert fleet.checks() == {name: ["ok"] for name in NAMES}
    assert rounds >= 2 * len(NAMES)
    assert fleet.daemon.is_ready() is None


def test_models_at_rest_are_left_alone_until_something_is_due(fleet: Fleet) -> None:
    """When all is checked nothing is stepped a second later; a request has its model stepped, the next window all."""
    daemon = fleet.daemon
    daemon.catch_up(fleet.now)
    soon, next_hour = fleet.now + 1.0, fleet.now + HOUR
    daemon.round(fleet.now)
    assert daemon.steps.due(daemon.models, (), soon) == []
    assert set(daemon.steps.due(daemon.models, (), next_hour)) == set(NAMES)
    number = post_request(
        fleet.world.places.state_db, at=soon, who="ada", model="second", kind="reject", arguments={"version": 9}
    )
    daemon.round(soon)
    answered = daemon.assembly.store.request(number)
    assert answered is not None
    assert answered.outcome is not None


def test_few_sources_are_open_however_many_models_there_are(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one open source, the others have none, no source has a thread, and all are checked."""
    monkeypatch.setattr(step_schedule, "most_open_sources", lambda _others: 1)
    threads = threading.active_count()
    fleet.daemon.catch_up(fleet.now)
    assert fleet.checks() == {name: ["ok"] for name in NAMES}
    assert threading.active_count() <= threads + 1
    root = fleet.world.places.root
    open_files = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    databases = [file for file in open_files if file.name.startswith("events.db") and root in file.parents]
    assert len({file.parent.name for file in databases}) == 1, databases


def test_a_model_without_a_version_fails_nothing(fleet: Fleet) -> None:
    """Before `driftd init` there is nothing to watch: the daemon is ready, and the model is told as not watched."""
    for name in NAMES:
        fleet.world.places.current(name).unlink()
    fleet.daemon.catch_up(fleet.now)
    assert set(fleet.daemon.unwatched) == set(NAMES)
    assert fleet.daemon.faults() == {}
    assert fleet.daemon.is_ready() is None


def test_a_stop_lets_go_of_every_model(fleet: Fleet) -> None:
    """Sources are closed also once the process was told to stop, which ends any other wait for them."""
    fleet.daemon.catch_up(fleet.now)
    fleet.daemon.assembly.service.stop_asked = "SIGTERM"
    for model in fleet.daemon.models.values():
        model.close()
    fleet.daemon.assembly.service.stop_asked = None


def test_thirty_models_live_within_thirty_descriptors(tmp_path: Path) -> None:
    """Where only so many files more can be opened, each model is opened, checked and evaluated, and none fails."""
    fleet = begin(tmp_path, hours=2, names=(MODEL, *(f"model_{number:02}" for number in range(29))))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 30, limits[1]))
    try:
        with capture_logs() as logs:
            fleet.daemon.begin(fleet.now)
            fleet.daemon.catch_up(fleet.now)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert fleet.daemon.faults() == {}
    assert [line for line in logs if line["log_level"] in ("warning", "error")] == []
    assert fleet.checks() == {name: ["ok", "ok"] for name in fleet.names}
    assert fleet.daemon.is_ready() is None
    fleet.world.close()

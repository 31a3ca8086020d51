"""Many models in one daemon: what runs out is told as what it is, and no model waits for all the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftd.loop.daemon import Daemon
from driftd.serving.client import Driftd
from first_versions import copy_model
from limits import no_more_files
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

NAMES = (MODEL, "second", "third")


@dataclass
class Fleet:
    """Models with the same version and the same hours of events, which nobody has checked yet."""

    world: World

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
        return {name: [check.verdict for check in store.checks(name, kind="window")][::-1] for name in NAMES}


def begin(folder: Path, hours: int) -> Fleet:
    """A fleet with so many hours of events."""
    world = World.begin(folder)
    with Driftd(world.places.root, MODEL) as application:
        for _ in range(hours):
            world.feed(application)
    world.close()
    for name in NAMES[1:]:
        copy_model(world.places, MODEL, name)
    head, model = CONFIG.split("  demand:\n")
    text = head + "".join(f"  {name}:\n{model}" for name in NAMES)
    (folder / "config.yaml").write_text(text.format(state=folder / "state"))
    world.reopen()
    return Fleet(world)


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
    body, _ = fleet.daemon.assembly.metrics.expose("")
    assert f'driftd_version_damaged{{model="{MODEL}"}} 1' not in body.decode()
    fleet.daemon.catch_up(fleet.now)
    assert fleet.checks() == {name: ["ok"] for name in NAMES}


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

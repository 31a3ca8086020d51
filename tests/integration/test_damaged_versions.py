"""A version whose files are damaged: it is never loaded, says so, and does not end the loop."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from driftd.doctor.checks import CHECKS
from driftd.doctor.installation import examine_all
from driftd.events import Event
from driftd.loop.factory import JobArguments
from driftd.loop.integrity import check_versions
from driftd.paths import Places
from driftd.records import DecisionFigures, Transition
from driftd.registry.artefact import ArtefactError
from driftd.serving.client import Driftd
from driftd.store.state.request_queue import post_request
from driftd.training.job_main import run_task
from first_versions import copy_version
from loop_world import HOUR, MODEL, World

pytestmark = pytest.mark.slow


def damage(places: Places, version: int, name: str = "model.skops") -> None:
    """Change one byte of a file of a version."""
    path = places.version(MODEL, version) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def served(world: World, version: int) -> None:
    """Have a version serve, by the way of a person."""
    arguments = {"version": version, "text": "a test"}
    post_request(
        world.places.state_db, at=world.clock.now(), who="a test", model=MODEL, kind="rollback", arguments=arguments
    )
    world.daemon.catch_up(world.clock.now())
    assert world.daemon.models[MODEL].state.champion == version


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three versions, some hours of labelled life."""
    world = World.begin(tmp_path_factory.mktemp("world"))
    copy_version(world.places, MODEL, 2)
    copy_version(world.places, MODEL, 3)
    world.live(6)
    return world


def arguments(world: World, **more: object) -> dict[str, object]:
    """What the daemon tells every task."""
    assembly = world.daemon.assembly
    output = JobArguments(MODEL, assembly.config, world.places, assembly.registry, assembly.store)
    config = output._model.model_dump(mode="json")
    common = {"model": MODEL, "state_dir": str(world.places.root), "model_config": config}
    return common | {"until": world.clock.now(), "trigger": "performance"} | more


def test_a_damaged_champion_does_not_end_building(world: World) -> None:
    """The gate judges against the newest version that loads, and says that only a person may promote."""
    damage(world.places, 2)
    try:
        judged = run_task("judge", arguments(world, challenger=3, champion=2))
    finally:
        damage(world.places, 2)
    assert "version 2, which serves, cannot be loaded" in judged["champion_fault"]
    assert "judged against version 1" in judged["champion_fault"]
    assert run_task("judge", arguments(world, challenger=3, champion=2))["champion_fault"] is None


def test_probation_without_one_of_the_two(world: World) -> None:
    """Back from a damaged new version; on without a damaged old one, once the span is over; nothing without both."""
    since = world.clock.now() - HOUR
    damage(world.places, 3)
    assert run_task("shadow", arguments(world, new=3, old=1, since=since))["decision"] == "roll_back"
    early = run_task("shadow", arguments(world, new=1, old=3, since=since))
    assert (early["decision"], "cannot be loaded" in early["sentence"]) == ("continue", True)
    assert run_task("shadow", arguments(world, new=1, old=3, since=since - 2 * HOUR))["decision"] == "confirm"
    damage(world.places, 1)
    with pytest.raises(ArtefactError, match=r"version 3 cannot be loaded.*version 1 cannot be loaded"):
        run_task("shadow", arguments(world, new=3, old=1, since=since))
    damage(world.places, 1)
    damage(world.places, 3)


def test_the_version_before_serves_on(world: World) -> None:
    """An application whose next version is damaged answers with the one it has, and says why."""
    with Driftd(world.places.root, MODEL) as application:
        row = {"a": 1.0, "b": 0.0, "c": "red"}
        assert application.predict(row).version == 1
        damage(world.places, 2)
        world.daemon.assembly.registry.point(MODEL, 2)
        assert application.predict(row).version == 1
        assert "does not match its manifest" in str(application.fault)
        check_versions(world.daemon.assembly.config, world.places, world.daemon.assembly.metrics)
        assert b'driftd_version_damaged{model="demand"} 1' in world.daemon.assembly.metrics.expose()[0]
        damage(world.places, 2)
        world.daemon.assembly.registry.point(MODEL, 1)
        time.sleep(0.01)
        assert application.predict(row).version == 1


def test_a_person_can_go_back_from_a_version_whose_every_file_is_damaged(world: World) -> None:
    """Without reference and manifest nothing is checked, but `driftd rollback` is answered, and mends that."""
    served(world, 3)
    damage(world.places, 3, "reference.bin")
    damage(world.places, 3, "manifest.json")
    manifest = world.places.version(MODEL, 3) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    world.daemon.close()
    world.reopen()
    world.daemon.catch_up(world.clock.now())
    assert world.daemon.models[MODEL].is_blind
    assert b'driftd_model_watched{model="demand"} 0' in world.daemon.assembly.metrics.expose()[0]
    served(world, 1)
    world.live(1)
    assert not world.daemon.models[MODEL].is_blind
    assert world.daemon.assembly.store.checks(MODEL, 1, "window")[0].version == 1
    assert b'driftd_version_damaged{model="demand"} 0' in world.daemon.assembly.metrics.expose()[0]
    world.close()


def promoted(world: World, version: int) -> None:
    """Have the store say that a version won its gate and serves."""
    store, state = world.daemon.assembly.store, world.daemon.models[MODEL].state
    after = replace(state, champion=version, previous=state.champion)
    output = Transition(after, "it is better", Event.PROMOTED, (), DecisionFigures(version=version))
    store.save_transition(state, output, at=world.clock.now(), actor="driftd", config_hash="c0ffee")
    world.daemon.close()
    world.daemon.assembly.registry.point(MODEL, version)
    world.reopen()
    world.daemon.catch_up(world.clock.now())


@pytest.mark.parametrize("restarted", [False, True])
def test_the_way_back_from_a_version_that_is_gone_works(tmp_path: Path, restarted: bool) -> None:
    """Doctor names the version that served before; asked for it the daemon serves it, after a restart too."""
    world = World.begin(tmp_path)
    copy_version(world.places, MODEL, 2)
    world.live(2)
    promoted(world, 2)
    shutil.rmtree(world.places.version(MODEL, 2))
    if restarted:
        world.daemon.close()
        world.reopen()
        world.daemon.catch_up(world.clock.now())
    output = list(examine_all(tmp_path / "config.yaml", world.clock.now(), {"versions": CHECKS["versions"]}))
    assert any("whose folder is gone" in item.said and f"rollback {MODEL} --to 1 " in item.todo for item in output), (
        output
    )
    served(world, 1)
    assert world.daemon.assembly.registry.current(MODEL) == 1
    world.live(1)
    assert world.daemon.assembly.store.checks(MODEL, 1, "window")[0].version == 1
    world.close()

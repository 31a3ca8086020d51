"""Versions in a real MLflow: registered once, named by an alias that moves with the swap, whoever is away or killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.events import RegistryTask
from driftd.paths import Places
from driftd.registry import Registry
from driftd.registry.features import feature_frame
from driftd.store.state.request_queue import post_request
from driftd.training.jobs import start_job
from engine_servers import mlflow_server
from fault_counts import daemon, events_of, open_kinds
from limits import wait
from loop_world import MODEL, World, hour
from mlflow_world import Door, MlflowRegistry, copy_version, door_to, registered_config

pytestmark = pytest.mark.slow


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round; the features themselves do not change."""
    return frame, truth - 5 * frame["a"].to_numpy()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One MLflow for all tests, each of which has a registered model of its own."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def door(server: str) -> Iterator[Door]:
    """The way to the server, which a test may shut."""
    with door_to(server) as opened:
        yield opened


def ask(world: World, kind: str, **arguments: object) -> str:
    """Ask the daemon for something; the answer."""
    at = world.clock.now()
    number = post_request(world.places.state_db, at=at, who="ada", model=MODEL, kind=kind, arguments=arguments)
    world.daemon.catch_up(at)
    answered = world.daemon.assembly.store.request(number)
    assert answered is not None
    return answered.outcome or ""


def reasons(world: World, event: str) -> list[str]:
    """The reasons of all events of a name, oldest first."""
    return [line.reason for line in reversed(world.daemon.assembly.store.history(MODEL, 1000)) if line.event == event]


def test_a_build_swaps_by_alias_and_rolls_back_by_alias_though_the_server_was_away(
    tmp_path: Path, server: str, door: Door
) -> None:
    """While the server is away nothing is half swapped, over a crash too; back again, the alias and the link agree."""
    there = MlflowRegistry(server, "swapped")
    world = World.begin(tmp_path, config=registered_config(door.address, "swapped"))
    world.live(2)
    served = world.daemon.assembly.registry
    assert (there.versions(), there.alias()) == ({"1": 1}, 1)

    door.shut()
    world.live(20, concept, until=lambda world: "swap_started" in world.events)
    world.live(1, concept)
    world.reopen()
    world.live(1, concept)
    assert (served.current(MODEL), there.alias(), there.versions()) == (1, 1, {"1": 1})
    assert world.daemon.models[MODEL].state.champion == 1
    assert "MLflow fails" in reasons(world, "registry_failed")[0]
    assert "waits until the alias in the registry names it" in world.daemon.models[MODEL].standing

    door.open()
    world.live(2, concept, until=lambda world: "promoted" in world.events)
    assert (served.current(MODEL), there.alias(), there.versions()) == (2, 2, {"1": 1, "2": 2})
    assert "it answers again after" in reasons(world, "alias_set")[-1]
    assert_same_answers(world, there, 2)

    door.shut()
    assert "rolls back" in ask(world, "rollback", text="not this one")
    assert (served.current(MODEL), there.alias()) == (1, 2)
    world.reopen()
    door.open()
    world.live(2)
    assert (served.current(MODEL), there.alias(), there.versions()) == (1, 1, {"1": 1, "2": 2})
    assert world.events.count("registry_failed") == 2
    world.close()


def assert_same_answers(world: World, there: MlflowRegistry, version: int) -> None:
    """What MLflow loads by its alias predicts what driftd's own version predicts, and has its lineage."""
    import mlflow.pyfunc  # noqa: PLC0415 - only this test pays for it

    os.environ["MLFLOW_TRACKING_URI"] = there.address
    try:
        loaded = mlflow.pyfunc.load_model(f"models:/{there.name}@champion")
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
    own = world.daemon.assembly.registry.load(MODEL, version)
    frame = feature_frame(hour(0)[0], own.schema)
    assert np.allclose(loaded.predict(frame), own.predict(frame).prediction)
    manifest = own.manifest
    made = there.client.get_model_version(there.name, there.number(version))
    expected = {
        "driftd_model": MODEL,
        "driftd_version": str(version),
        "driftd_manifest": manifest.identity,
        "driftd_snapshot": manifest.snapshot,
        "driftd_parent": "1",
        "driftd_trigger": "performance",
        "driftd_gate": "promote",
    }
    assert expected.items() <= made.tags.items()
    figures = there.client.get_run(made.run_id).data.metrics
    assert figures["gate_gain"] == pytest.approx(manifest.gate["gain"] if manifest.gate else None)
    assert set(manifest.metrics) <= set(figures)


def with_two_versions(folder: Path, address: str, name: str, **more: str) -> World:
    """A world with two versions of the same model, of which the first serves; both are registered."""
    world = World.begin(folder, config=registered_config(address, name, **more))
    copy_version(world.daemon.assembly.registry, folder, 2)
    world.live(1)
    return world


def test_an_alias_that_somebody_moves_is_seen_told_restored_and_followed(
    tmp_path: Path, server: str, door: Door
) -> None:
    """Told and left alone at first; moved back once the config says so; followed to a version that driftd has."""
    there = MlflowRegistry(server, "moved")
    world = with_two_versions(tmp_path, door.address, "moved")
    assert (there.versions(), there.alias()) == ({"1": 1, "2": 2}, 1)
    there.move(there.number(2))
    world.live(2)
    (reason,) = reasons(world, "alias_moved")
    assert "names version 2, which is version 2 of demand, and driftd had it name version 1" in reason
    state = world.daemon.models[MODEL].state
    assert state.registry is not None
    assert state.registry.moved is not None
    assert (there.alias(), state.champion) == (2, 1)
    world.close()

    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("timeout:", "moved: restore, timeout:"))
    world.reopen()
    world.live(1)
    assert there.alias() == 1
    first = there.client.get_model_version("moved", "1")
    made = there.client.create_model_version("moved", first.source, run_id=first.run_id)  # of somebody else's
    world.close()

    path.write_text(path.read_text().replace("moved: restore", "moved: follow"))
    world.reopen()
    there.move(str(made.version))
    world.live(1)
    assert "driftd init --model models:/moved@champion" in reasons(world, "alias_moved")[-1]
    assert (there.alias(), world.daemon.models[MODEL].state.champion) == (0, 1)
    there.move(there.number(2))
    world.live(1)
    assert (there.alias(), world.daemon.assembly.registry.current(MODEL)) == (2, 2)
    (line,) = [line for line in world.daemon.assembly.store.history(MODEL, 1000) if line.event == "rollback_started"]
    assert line.actor == "mlflow alias"
    assert world.events[-2:] == ["rolled_back", "alias_set"]
    world.close()


def job_of(world: World, door: Door, task: RegistryTask, version: int, name: str) -> dict[str, object]:
    """What the daemon tells a job of the registry."""
    place = {"name": name, "alias": "champion", "tracking_uri": door.address}
    return {
        "model": MODEL,
        "state_dir": str(world.places.root),
        "task": str(task),
        "version": version,
        "place": place,
        "timeout": 60.0,
    }


@pytest.mark.parametrize("connections", [1, 3, *(pytest.param(n, marks=pytest.mark.soak) for n in (2, 4, 5, 6, 8))])
def test_a_job_killed_while_it_registers_leaves_one_version_and_one_run(
    tmp_path: Path, server: str, door: Door, connections: int
) -> None:
    """`kill -9` after some requests: the next try goes on with what it finds, and the alias names the version."""
    name = f"killed-{connections}"
    there = MlflowRegistry(server, name)
    world = World.begin(tmp_path)
    world.close()
    arguments = job_of(world, door, RegistryTask.MOVE, 1, name)
    job = start_job(tmp_path / "first", "registry", arguments)
    wait(lambda: door.connections >= connections or job.poll() is not None, "the job asks the server")
    job.kill()
    for number in range(2):
        again = start_job(tmp_path / f"again-{number}", "registry", arguments)
        wait(lambda job=again: job.poll() is not None, "the job ends")
        result = again.poll()
        assert result is not None
        assert result.ok, result.error
    assert (there.versions(), there.alias()) == ({"1": 1}, 1)
    (made,) = there.client.search_model_versions(f"name='{name}'")
    experiment = there.client.get_experiment_by_name("driftd")
    runs = there.client.search_runs(
        [experiment.experiment_id], f"tags.driftd_manifest='{made.tags['driftd_manifest']}'"
    )
    assert [run.info.run_id for run in runs] == [made.run_id]


def test_a_daemon_killed_at_each_move_of_the_alias_comes_to_the_right_place(
    tmp_path: Path, server: str, door: Door
) -> None:
    """`kill -9` of the real daemon while it moves the alias, and while it swaps to a pin: each is done once."""
    there = MlflowRegistry(server, "daemon-killed")
    world = World.begin(tmp_path, config=registered_config(door.address, "daemon-killed"))
    places, path = world.places, tmp_path / "config.yaml"
    copy_version(world.daemon.assembly.registry, tmp_path, 2)
    world.close()
    kill_at(path, places, "registry")
    pinned = f'{path.read_text()}override: {{reason: "INC-1", pin: {{{MODEL}: 2}}}}\n'
    path.write_text(pinned)
    kill_at(path, places, "swap")
    kill_at(path, places, "registry")
    with daemon(path):
        wait(
            lambda: there.versions() == {"1": 1, "2": 2} and there.alias() == 2,
            "the alias names what serves",
            pause=0.5,
        )
        wait(lambda: open_kinds(places, MODEL) == [], "nothing is owed")
    assert Registry(places).current(MODEL) == 2
    assert events_of(places, MODEL).count("pinned") == 1
    assert sorted(there.versions().values()) == [1, 2]


def kill_at(path: Path, places: Places, kind: str) -> None:
    """Run the daemon until an action of a kind is under way that was not before, and kill it there."""
    folders = places.job("x").parent
    before = set(folders.glob(f"{MODEL}-*-{kind}"))
    with daemon(path):
        wait(lambda: set(folders.glob(f"{MODEL}-*-{kind}")) - before, f"{kind} is under way")

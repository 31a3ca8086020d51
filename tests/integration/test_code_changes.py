"""Edits of a trainer and of its parameters while the daemon runs: one build each, judged as not clearly worse."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from driftd.api.requests import Retrain, post
from driftd.config.load import load
from driftd.loop.plan import ModelPlan, plan_model
from driftd.loop.trainer_watch import SETTLED_AFTER
from driftd.records import ActionKind, Trigger
from driftd.registry import Manifest, Registry
from driftd.store.state.reader import StateReader
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

TRAINER = """\
from driftd.trainers import gradient_boosting
from shop_features import ROUNDS


def train(data, context):
    return gradient_boosting(data, context)
"""
CODE_CONFIG = (
    CONFIG.replace("performance], cooldown: 1h", "code_changed, parameters_changed], cooldown: 1h").replace(
        "parameters: {{max_iter: 30}}", "trainer: shop_trainer:train\n    parameters: {{max_iter: 30}}"
    )
    # what has changed is seen on a quiet stream: nothing else may start a build
)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a trainer, as a user has it on PYTHONPATH."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "shop_trainer.py").write_text(TRAINER)
    (folder / "shop_features.py").write_text("ROUNDS = 1\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    return folder


@pytest.fixture
def world(tmp_path: Path, code: Path) -> Iterator[World]:
    """A model with that trainer under watch."""
    world = World.begin(tmp_path, config=CODE_CONFIG)
    world.live(1)
    yield world
    world.close()


def version(world: World, number: int) -> Manifest:
    return Registry(world.places).manifest(MODEL, number)


def rounds(world: World, seconds: float) -> None:
    """Let time pass without predictions, and rounds be made."""
    world.clock.advance_to(world.clock.now() + seconds)
    world.daemon.catch_up(world.clock.now())


def test_an_edit_of_the_trainer_starts_one_build_that_need_not_be_better(world: World, code: Path) -> None:
    """What the trainer imports counts; the build is judged by non-inferiority and serves; then nothing more starts."""
    assert "build_wanted" not in world.events
    (code / "shop_features.py").write_text("ROUNDS = 2\n")
    rounds(world, 10)
    assert "build_wanted" not in world.events  # it may be half an edit
    rounds(world, SETTLED_AFTER)
    world.live(3)
    assert world.events.count("build_started") == 1
    assert "promoted" in world.events
    manifest = version(world, 2)
    assert (manifest.trigger, manifest.parent) == ("code_changed", 1)
    assert manifest.trainer.fingerprint != version(world, 1).trainer.fingerprint
    judged = next(a for a in world.daemon.assembly.store.actions(MODEL) if a.kind is ActionKind.JUDGE)
    assert judged.arguments["trigger"] == "code_changed"
    assert manifest.gate is not None
    assert manifest.gate["gain"] < 0.02  # no better than the champion, whose code did the same


def test_an_edit_that_is_taken_back_before_it_rests_starts_nothing(world: World, code: Path) -> None:
    """A half-written file, a save in the middle, and the same content written again are no change."""
    features = code / "shop_features.py"
    features.write_text("ROUNDS = (2\n")
    rounds(world, 2 * SETTLED_AFTER)
    _, waits = world.daemon.assembly.trainers.spec(MODEL, world.clock.now())
    assert "shop_features.py does not parse (line 1)" in waits
    features.write_text("ROUNDS = 2\n")
    rounds(world, SETTLED_AFTER / 2)
    features.write_text("ROUNDS = 1\n")
    os.utime(features, ns=(1, 1))
    rounds(world, 2 * SETTLED_AFTER)
    world.live(2)
    assert "build_wanted" not in world.events


def test_a_parameter_that_is_saved_starts_one_build(world: World) -> None:
    """A reloaded config with another parameter starts one build once it rests; one that is changed back starts none."""
    path = world.folder / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("max_iter: 30", "max_iter: 31"))
    assert world.daemon.reload(world.clock.now()) is None
    rounds(world, SETTLED_AFTER / 2)
    path.write_text(text)
    assert world.daemon.reload(world.clock.now()) is None
    rounds(world, 2 * SETTLED_AFTER)
    assert "build_wanted" not in world.events
    path.write_text(text.replace("max_iter: 30", "max_iter: 40"))
    assert world.daemon.reload(world.clock.now()) is None
    rounds(world, 2)
    rounds(world, SETTLED_AFTER)
    world.live(3)
    assert world.events.count("build_started") == 1
    manifest = version(world, 2)
    assert (manifest.trigger, manifest.parameters) == ("parameters_changed", {"max_iter": 40})
    assert world.daemon.models[MODEL].state.champion == 2


def test_an_edit_while_no_daemon_runs_is_seen_at_the_start(world: World, code: Path) -> None:
    """What the last build was made by is in the state: a daemon that starts later compares with it."""
    world.close()
    (code / "shop_features.py").write_text("ROUNDS = 3\n")
    world.reopen()
    rounds(world, 1)
    assert "build_wanted" not in world.events
    rounds(world, SETTLED_AFTER)
    assert "build_started" in world.events


def test_a_person_has_a_build_made_from_a_snapshot_that_is_there(world: World) -> None:
    """`driftd retrain --snapshot` trains on the rows that are named and no others; an unknown name is refused."""
    snapshot = version(world, 1).snapshot
    state_db = world.places.state_db
    post(state_db, MODEL, Retrain(snapshot="00000000", reason="x"), who="ann")
    post(state_db, MODEL, Retrain(snapshot=snapshot[:12], reason="once more"), who="ann")
    rounds(world, 1)
    first, second = (world.daemon.assembly.store.request(number) for number in (1, 2))
    assert first is not None
    assert first.refused
    assert f"there is no snapshot of this model that begins with 00000000 (there are: {snapshot[:12]})" in str(
        first.outcome
    )
    assert second is not None
    assert not second.refused
    world.live(2)
    manifest = version(world, 2)
    assert (manifest.snapshot, manifest.trigger) == (snapshot, str(Trigger.MANUAL))
    assert manifest.artefact == version(world, 1).artefact
    kinds = {action.kind for action in world.daemon.assembly.store.actions(MODEL)}
    assert ActionKind.SNAPSHOT not in kinds


def test_a_state_of_before_there_were_specs_begins_with_what_is_there(world: World) -> None:
    """A state whose last build is of an older driftd has no spec: the lineage of the champion says it."""
    runner = world.daemon.models[MODEL]
    runner.state = replace(runner.state, spec=None)
    facts = runner._facts(world.clock.now())
    manifest = version(world, 1)
    assert facts.champion_spec is not None
    assert facts.champion_spec.source == manifest.trainer.fingerprint


def plan_of(world: World) -> ModelPlan:
    config = load(world.folder / "config.yaml")
    with StateReader.read_only(world.places.state_db) as store:
        return plan_model(MODEL, config, world.places, store, world.clock.now())


def test_the_plan_says_what_the_daemon_then_does(world: World, code: Path) -> None:
    """Before: nothing fired. After an edit and a parameter: what starts, from what, by what; and the daemon does it."""
    calm = plan_of(world)
    assert not calm.starts
    assert {line.trigger: line.has_fired for line in calm.triggers if line.is_on} == {
        "code_changed": False,
        "parameters_changed": False,
    }
    labels = next(line for line in calm.triggers if line.trigger == "new_labels")
    assert "of 10,000 new labels" in labels.sentence
    features, config = code / "shop_features.py", world.folder / "config.yaml"
    features.write_text("ROUNDS = 2\n")
    config.write_text(config.read_text().replace("max_iter: 30", "max_iter: 35"))
    assert plan_of(world).code is not None
    assert "they count once they have rested" in plan_of(world).code.waits  # type: ignore[union-attr]
    for path in code.glob("*.py"):
        os.utime(path, ns=(10**18, 10**18))
    plan = plan_of(world)
    assert (plan.starts, plan.trigger) == (True, "code_changed")
    assert "building version 2 because of changed code: the trainer's source changed" in plan.reason
    assert plan.code is not None
    assert plan.code.source_changed
    assert [(change.name, change.before, change.after) for change in plan.code.settings] == [
        ("parameters.max_iter", 30, 35)
    ]
    assert plan.data is not None
    assert plan.data.base == version(world, 1).snapshot
    assert plan.data.rows == 200 * 121
    assert plan.cost is not None
    assert plan.cost.builds == 0
    assert world.events.count("build_started") == 0  # a plan begins nothing
    assert world.daemon.reload(world.clock.now()) is None
    rounds(world, 1)
    rounds(world, SETTLED_AFTER)
    started = next(line for line in world.daemon.assembly.store.history(MODEL) if line.event == "build_started")
    assert started.reason == plan.reason
    world.live(2)
    cost = plan_of(world).cost
    assert cost is not None
    assert (cost.builds, (cost.peak_bytes or 0) > 1 << 24) == (1, True)

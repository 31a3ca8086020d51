"""The stages of a build over the whole loop: checks of its rows, tests of the user, reviews, and retries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.records import Phase
from driftd.store.state.stages import StageRun
from driftd.store.state.writer import post_request
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

PASSING = """
def test_it_predicts(model, champion, snapshot):
    rows = snapshot.frame(most=500)
    assert len(model.predict(rows)) == len(rows)
    assert champion.version == 1
    assert abs(model.predict(rows) - rows[snapshot.target]).mean() < 5


def test_it_is_another_version(model, champion):
    assert model.version != champion.version
"""
REFUSING = """
def test_no_prediction_is_above_a_limit(model, snapshot):
    print("the limit is zero")
    assert (model.predict(snapshot.frame()) <= 0).all(), "a prediction is above the limit"
"""
HANGING = """
import os, pathlib, time

def test_that_hangs(model):
    pathlib.Path({mark!r}).write_text(str(os.getpid()))
    time.sleep(600)
"""


def world_with(folder: Path, stages: str, *, promote: str = "block: 1h", retrain: str = "on: [performance]") -> World:
    """A world whose model has a section `stages`."""
    config = CONFIG.replace("promote: {{block: 1h}}", f"promote: {{{{{promote}}}}}")
    config = config.replace("on: [performance]", retrain)
    braced = stages.replace("{", "{{").replace("}", "}}")  # `begin` formats it
    return World.begin(folder, config=config + f"    stages: {braced}\n")


def ask(world: World, kind: str, who: str = "ada", **arguments: object) -> str:
    """Ask as a command does; the answer comes with the next round."""
    number = post_request(
        world.places.state_db,
        at=world.clock.now(),
        who=who,
        model=MODEL,
        kind=kind,
        arguments={"text": "", **arguments},
    )
    world.daemon.catch_up(world.clock.now())
    answered = world.daemon.assembly.store.request(number)
    assert answered is not None
    assert answered.outcome is not None
    return answered.outcome


def build(world: World, who: str = "ada") -> None:
    """Have a build made whose gate has rows to judge by."""
    ask(world, "retrain", who)
    world.live(12, better, until=lambda world: world.daemon.models[MODEL].state.build is None)


def better(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The world changed: whoever learns anew is better."""
    return frame, truth + 4 * frame["b"].to_numpy()


def stages(world: World, version: int) -> list[StageRun]:
    """How the stages of a build ended."""
    return world.daemon.assembly.store.stages(MODEL, version)


def results(world: World, version: int) -> list[tuple[str, str]]:
    """The stages of a build with their results."""
    return [(str(run.stage), str(run.result)) for run in stages(world, version)]


@pytest.fixture
def close() -> Iterator[list[World]]:
    """The worlds of a test, which are let go of."""
    worlds: list[World] = []
    yield worlds
    for world in worlds:
        world.close()


def test_a_build_passes_all_its_stages(tmp_path: Path, close: list[World]) -> None:
    """Rows are taken and checked, a version is trained, tested, judged, reviewed by two people, and deployed."""
    tests = tmp_path / "test_demand.py"
    tests.write_text(PASSING)
    world = world_with(
        tmp_path,
        f"{{check_data: {{rows: {{min: 100}}, columns: {{a: {{min: -9, max: 9, nulls: 0}}}}}}, "
        f"test: {{tests: {tests}}}, review: {{people: 2}}}}",
        promote="block: 1h, approval: manual",
    )
    close.append(world)
    ask(world, "retrain", "eve@host")
    world.live(12, better, until=lambda world: world.daemon.models[MODEL].state.phase is Phase.AWAITING_APPROVAL)
    assert world.phase == "awaiting_approval", world.events
    assert "eve@host asked for build 2: other people review it" in ask(world, "approve", "eve@host", version=2)
    assert "(1 of 2): one more person must say yes" in ask(world, "approve", "ada@host", version=2)
    refused = ask(world, "approve", "ada by API from ::1", version=2)
    assert "has approved version 2 already: another person must say yes" in refused
    assert world.phase == "awaiting_approval"
    assert "approved by ada@host and bob@host" in ask(world, "approve", "bob@host", version=2)
    assert world.daemon.models[MODEL].state.champion == 2
    assert results(world, 2) == [
        ("take_data", "passed"),
        ("check_data", "passed"),
        ("train", "passed"),
        ("test", "passed"),
        ("judge", "passed"),
        ("review", "passed"),
        ("deploy", "passed"),
    ]
    tested = stages(world, 2)[3]
    assert tested.sentence == "2 of 2 tests passed"
    assert tested.log is not None
    assert "2 passed" in (world.places.root / tested.log).read_text()

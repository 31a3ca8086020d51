"""The stages of a build over the whole loop: checks of its rows, tests of the user, reviews, and retries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest

from driftd.paths import Places
from driftd.records import Phase
from driftd.store.state.request_queue import post_request
from driftd.store.state.stages import StageRun
from limits import HANG, wait
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

PASSING = dedent("""
    def test_it_predicts(model, champion, snapshot):
        rows = snapshot.frame(most=500)
        assert len(model.predict(rows)) == len(rows)
        assert champion.version == 1
        assert abs(model.predict(rows) - rows[snapshot.target]).mean() < 5


    def test_it_is_another_version(model, champion):
        assert model.version != champion.version
""")
REFUSING = dedent("""
    def test_no_prediction_is_above_a_limit(model, snapshot):
        print("the limit is zero")
        assert (model.predict(snapshot.frame()) <= 0).all(), "a prediction is above the limit"
""")
HANGING = dedent("""
    import os, pathlib, time

    def test_that_hangs(model):
        pathlib.Path({mark!r}).write_text(str(os.getpid()))
        time.sleep(600)
""")


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


def awaits(world: World) -> bool:
    """Whether a challenger waits for people."""
    return world.daemon.models[MODEL].state.phase is Phase.AWAITING_APPROVAL


def is_serving(world: World) -> bool:
    """Whether another version serves than the first."""
    return world.daemon.models[MODEL].state.champion != 1


def has_failed(world: World) -> bool:
    """Whether a build failed that can be retried."""
    return world.daemon.models[MODEL].state.failed is not None


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
    world.live(8, better, until=awaits)
    assert awaits(world), world.events
    build = world.daemon.models[MODEL].state.build
    assert build is not None
    version = build.number
    assert "(1 of 2): one more person must say yes" in ask(world, "approve", "ada@host", version=version)
    refused = ask(world, "approve", "ada by API from ::1", version=version)
    assert f"has approved version {version} already: another person must say yes" in refused
    world.reopen()  # what was approved outlasts a restart
    assert "approved by ada@host and bob@host" in ask(world, "approve", "bob@host", version=version)
    assert world.daemon.models[MODEL].state.champion == version
    passed = [stage for stage, result in results(world, version) if result == "passed"]
    assert passed == ["take_data", "check_data", "train", "test", "judge", "review", "deploy"]
    tested = next(run for run in stages(world, version) if run.stage == "test")
    assert tested.sentence == "2 of 2 tests passed"
    assert tested.ended_at >= tested.started_at
    assert tested.log is not None
    assert "2 passed" in (world.places.root / tested.log).read_text()


def test_rows_that_are_not_as_expected_end_a_build_that_is_retried(tmp_path: Path, close: list[World]) -> None:
    """Nothing is trained on them; once the config expects what there is, the build goes on from its check."""
    world = world_with(tmp_path, "{check_data: {columns: {b: {min: -9, max: 1}, c: {values: [red, green]}}}}")
    close.append(world)
    ask(world, "retrain")
    state = world.daemon.models[MODEL].state
    assert (state.champion, state.build, state.failures) == (1, None, 1)
    failed = world.daemon.assembly.store.history(MODEL, 1)[0]
    assert failed.event == "build_failed"
    assert "build 2 failed at check_data: 2 of 3 expectations on" in failed.reason
    assert "b max: expected no value above 1, found" in failed.reason
    assert "c values: expected one of red, green, found others" in failed.reason
    assert results(world, 2) == [("take_data", "passed"), ("check_data", "failed")]
    expectations = stages(world, 2)[1].details["expectations"]
    assert [(each["name"], each["passed"]) for each in expectations] == [
        ("b max", False),
        ("c values", False),
        ("b min", True),
    ]
    assert expectations[1]["example"]["value"] == "blue"
    refused = ask(world, "retry", stage="test")
    assert (
        "cannot be retried from test: it did not come further than check data" in refused or "no stages.test" in refused
    )
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("max: 1}", "max: 9}").replace("green]", "green, blue]"))
    world.reopen()
    answer = ask(world, "retry", text="the range was wrong")
    assert answer == "ada retries build 2 from check data: the range was wrong"
    assert results(world, 2)[2:5] == [("check_data", "passed"), ("train", "passed"), ("test", "skipped")]
    assert stages(world, 2)[2].attempt == 2
    assert world.daemon.assembly.registry.versions(MODEL) == (1, 2)


def test_a_version_that_its_tests_refuse_serves_once_they_are_mended(tmp_path: Path, close: list[World]) -> None:
    """The history has what failed, the stage has the output; a retry runs the tests alone again, and judges."""
    tests = tmp_path / "test_demand.py"
    tests.write_text(REFUSING)
    world = world_with(tmp_path, f"{{test: {{tests: {tests}}}}}")
    close.append(world)
    world.live(8, better, until=has_failed)
    failed = world.daemon.models[MODEL].state.failed
    assert failed is not None, world.events
    line = next(line for line in world.daemon.assembly.store.history(MODEL, 5) if line.event == "tests_failed")
    assert f"version {failed.number} is refused by its tests: 1 of 1 tests failed: " in line.reason
    assert "a prediction is above the limit" in line.reason
    run = next(run for run in stages(world, failed.number) if run.stage == "test")
    assert run.result == "failed"
    assert "the limit is zero" in run.details["output"]
    assert world.daemon.models[MODEL].state.champion == 1
    tests.write_text(PASSING)
    trained = world.daemon.assembly.registry.manifest(MODEL, failed.number).created_at
    assert ask(world, "retry") == f"ada retries build {failed.number} from test"
    world.live(8, better, until=is_serving)
    assert world.daemon.assembly.registry.manifest(MODEL, failed.number).created_at == trained
    again = [(str(run.stage), str(run.result), run.attempt) for run in stages(world, failed.number)]
    assert ("test", "passed", 2) in again
    assert ("train", "passed", 2) not in again


DAEMON = """
import sys
from pathlib import Path
from driftd.paths import Places
from loop_world import World
World.open(Path(sys.argv[1]), Places(Path(sys.argv[2]))).catch_up(float(sys.argv[3]))
"""


def test_a_daemon_that_is_killed_amid_the_tests_runs_them_again(tmp_path: Path, close: list[World]) -> None:
    """Kill -9 of the daemon takes the tests along; the next one begins this stage anew, and no other."""
    tests, mark = tmp_path / "test_demand.py", tmp_path / "mark"
    tests.write_text(HANGING.format(mark=str(mark)))
    world = world_with(tmp_path, f"{{test: {{tests: {tests}}}}}")
    world.close()
    now = world.clock.now()
    post_request(world.places.state_db, at=now, who="ada", model=MODEL, kind="retrain", arguments={"text": ""})
    command = [sys.executable, "-c", DAEMON, str(tmp_path / "config.yaml"), str(world.places.root), str(now)]
    daemon = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        wait(lambda: mark.exists() and mark.read_text(), "the tests begin", seconds=3 * HANG)
    finally:
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
    wait(lambda: not Path(f"/proc/{mark.read_text()}").exists(), "the tests end with the daemon")
    tests.write_text(PASSING)
    world = World(tmp_path, world.clock, Places(tmp_path / "state"), world.daemon, world.hours)
    world.reopen()
    close.append(world)
    world.daemon.catch_up(now)
    assert [stage for stage, _ in results(world, 2)][:4] == ["take_data", "check_data", "train", "test"]
    assert [(run.attempt, str(run.result)) for run in stages(world, 2) if run.stage == "test"] == [(1, "passed")]
    assert "build_failed" not in world.events


def test_a_refresh_is_checked_before_and_tested_after(tmp_path: Path, close: list[World]) -> None:
    """Its rows are taken and checked, and what it made of them is tested before it serves."""
    tests = tmp_path / "test_demand.py"
    tests.write_text(PASSING)
    world = world_with(
        tmp_path,
        f"{{check_data: {{rows: {{min: 100}}}}, test: {{tests: {tests}}}}}",
        retrain="on: [refresh], refresh: {{rows: 2%, every: 3 windows}}",
    )
    close.append(world)
    world.live(8, better, until=is_serving)
    version = world.daemon.models[MODEL].state.champion
    assert version == 2, world.events
    assert results(world, 2) == [
        ("take_data", "passed"),
        ("check_data", "passed"),
        ("refresh", "passed"),
        ("test", "passed"),
        ("review", "skipped"),
        ("deploy", "passed"),
    ]
    manifest = world.daemon.assembly.registry.manifest(MODEL, 2)
    assert stages(world, 2)[0].sentence.startswith(f"snapshot {manifest.snapshot[:12]} holds")

"""The job that runs tests of the user: whatever they do to their process, it ends with a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd.training.jobs import JobLimits, JobResult, start_job
from driftd.training.tasks.model_tests import describe_report
from driftd.training.tested_model import SessionOrder
from driftd.training.user_tests import TestReport
from driftd_processes import environment
from limits import wait
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

PASSES = dedent("""
    def test_predictions(model, champion, snapshot):
        rows = snapshot.frame(most=200)
        assert (model.predict(rows) == champion.predict(rows)).all()
        assert set(snapshot.features) == {"a", "b", "c"}
        assert len(snapshot.frame(since=model.seen_until)) < len(snapshot)
""")
SESSIONS = {  # each in a job and a process of its own
    "passes": (PASSES, True, "1 of 1 tests passed"),
    "fails": (
        "def test_it(model):\n    assert model.version == 7\n\ndef test_other(): pass\n",
        False,
        "1 of 2 tests failed: ",
    ),
    "ends_at_once": (
        "import os\n\ndef test_it(): os._exit(0)\n",
        False,
        "the tests ended their process before they were over: exit code 0",
    ),
    "kills_itself": (
        "import os\n\ndef test_it(): os.kill(os.getpid(), 9)\n",
        False,
        "exit code -9: the signal SIGKILL",
    ),
    "hangs": (
        "import time\n\ndef test_it(): time.sleep(900)\n",
        False,
        "the tests were ended after 20 s (stages.test.timeout)",
    ),
}
REFUSED = {  # what ends well, but is no success: one process reports on all of them
    "is_empty": ("x = 1\n", "pytest collected no test from "),
    "cannot_be_imported": ("import no_such_module\n", "1 of 1 tests failed: "),
    "is_skipped": ("import pytest\n\ndef test_it(): pytest.skip('no')\n", "no test ran: all 1 were skipped"),
    "exits": ("import sys\n\ndef test_it(): sys.exit(0)\n", "1 of 1 tests failed: "),
    "asks_for_what_is_not_there": ("def test_it(modell): pass\n", "fixture 'modell' not found"),
}
PROGRAM = """
from pathlib import Path
from driftd.training.user_tests import main

for order in sorted(Path().glob("*.order.json")):
    main(order)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model with a version, which stands for the new one and for the champion."""
    made = World.begin(tmp_path_factory.mktemp("world"), hours=20)
    made.close()
    return made


def run(world: World, folder: Path, limits: JobLimits | None = None, **wanted: Any) -> JobResult:
    """Run the job as the daemon does."""
    config = load(world.folder / "config.yaml").models[MODEL].model_dump(mode="json")
    config["stages"]["test"] |= wanted
    arguments = {
        "model": MODEL,
        "model_config": config,
        "state_dir": str(world.places.root),
        "version": 1,
        "candidate": 1,
        "champion": 1,
    }
    job = start_job(folder / "job", "model_tests", arguments, limits)
    results: list[JobResult] = []

    def has_ended() -> bool:
        result = job.poll()
        results.extend([] if result is None else [result])
        return result is not None

    wait(has_ended, "the job ends")
    return results[-1]


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_ends_with_a_sentence(world: World, tmp_path: Path, name: str) -> None:
    """No test passes that did not run to its end, and none holds up the daemon."""
    code, passes, sentence = SESSIONS[name]
    tests = tmp_path / "test_model.py"
    tests.write_text(code)
    result = run(world, tmp_path, tests=str(tests), timeout=20 if name == "hangs" else 200)
    assert result.ok, result.error
    assert result.value["passed"] is passes, result.value
    assert sentence in result.value["sentence"]


@pytest.fixture(scope="module")
def reports(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TestReport]:
    """What the process of tests reports on each session that is refused."""
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "sessions.py").write_text(PROGRAM)
    manifest = Registry(world.places).manifest(MODEL, 1)
    for name, (code, _) in REFUSED.items():
        (folder / f"test_{name}.py").write_text(code)
        order = SessionOrder(
            model=MODEL,
            state_dir=str(world.places.root),
            candidate=1,
            champion=1,
            snapshot=manifest.snapshot,
            allow_joblib=False,
            functions=(),
            tests=str(folder / f"test_{name}.py"),
            report=str(folder / f"{name}.report.json"),
        )
        (folder / f"{name}.order.json").write_bytes(msgspec.json.encode(order))
    command = [sys.executable, str(folder / "sessions.py")]
    ended = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return {
        name: msgspec.json.decode((folder / f"{name}.report.json").read_bytes(), type=TestReport) for name in REFUSED
    }


@pytest.mark.parametrize("name", REFUSED)
def test_a_session_without_a_passed_test_is_refused(reports: dict[str, TestReport], name: str) -> None:
    """Tests that could not run, were skipped or left their process have not passed; the sentence says why."""
    assert not reports[name].has_passed
    assert REFUSED[name][1] in describe_report(reports[name])


def test_what_tests_print_is_bounded(world: World, tmp_path: Path) -> None:
    """Of 100 MB the result has the end, and the log its two newest pieces."""
    tests = tmp_path / "test_model.py"
    tests.write_text(
        "def test_it():\n    for _ in range(100):\n        print('x' * (1 << 20))\n    assert 0, 'enough'\n"
    )
    result = run(world, tmp_path, tests=str(tests), timeout=200)
    assert result.ok, result.error
    assert result.value["passed"] is False
    assert len(result.value["output"]) <= 8_000
    assert "enough" in result.value["sentence"]
    assert sum(path.stat().st_size for path in (tmp_path / "job").glob("log*.txt")) < 20 << 20


def test_functions_need_no_pytest(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is called with what its parameters name; false and an exception are a failure."""
    (tmp_path / "own_tests.py").write_text(
        "def holds(model, snapshot):\n    assert len(model.predict(snapshot.frame(most=9))) == 9\n\n"
        "def refuses():\n    return False\n\n"
        "def wants(modell):\n    pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    held = run(world, tmp_path / "a", functions=["own_tests:holds"])
    assert (held.value["passed"], held.value["sentence"]) == (True, "1 of 1 tests passed")
    refused = run(world, tmp_path / "b", functions=["own_tests:holds", "own_tests:refuses", "own_tests:wants"])
    assert refused.value["passed"] is False
    assert refused.value["failures"] == [
        "own_tests:refuses: it returned False",
        "own_tests:wants: TypeError: own_tests:wants has a parameter 'modell'; "
        "a test has model, champion, snapshot or some of them",
    ]


def test_a_test_that_wants_too_much_memory_fails(world: World, tmp_path: Path) -> None:
    """The limits of jobs hold for what the job starts."""
    tests = tmp_path / "test_model.py"
    tests.write_text("def test_it():\n    bytearray(64 << 30)\n")
    result = run(world, tmp_path, JobLimits(memory_bytes=6 << 30), tests=str(tests), timeout=200)
    assert result.value["passed"] is False
    assert "MemoryError" in result.value["sentence"]


def test_the_task_refuses_a_version_that_is_gone(world: World, tmp_path: Path) -> None:
    """The build fails: nothing was said of the version."""
    assert Registry(Places(world.places.root)).versions(MODEL) == (1,)
    tests = tmp_path / "test_model.py"
    tests.write_text(PASSES)
    (tmp_path / "gone").mkdir()
    missing = World(tmp_path / "gone", world.clock, Places(tmp_path / "gone"), world.daemon, world.hours)
    (tmp_path / "gone" / "config.yaml").write_text(CONFIG.format(state=tmp_path / "gone"))
    result = run(missing, tmp_path, tests=str(tests))
    assert not result.ok
    assert "there is no version 1 of demand" in result.error

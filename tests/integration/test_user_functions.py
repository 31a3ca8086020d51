"""The user's own metrics and detectors: in the loop, in a helper process that hangs, crashes and ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.plugins.process import HelperError, HelperProcess, LossRequest
from driftd.training.jobs import JobLimits
from limits import wait
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

FUNCTIONS = """\
import os, time
import numpy as np

def asymmetric(label, prediction, score):
    off = prediction - label
    return np.where(off > 0, off, -4 * off)

def hang(label, prediction, score):
    time.sleep(3600)

def crash(label, prediction, score):
    os._exit(3)

def wrong_shape(label, prediction, score):
    print("this goes to the log")
    return np.zeros(1)

def names(label, prediction, score):
    assert set(label) <= {"good", "bad"} and set(prediction) <= {"good", "bad"}, (label, prediction)
    return (label != prediction) * 7.0
"""
TWO = {"label": np.array([0.0, 1.0]), "prediction": np.array([1.0, 1.0]), "score": np.array([0.5, 0.5])}
TWO["label_at"] = np.zeros(2)


def losses_of(helper: HelperProcess, name: str, seconds: float = 30.0) -> list[float]:
    """The losses of two rows, of two classes, under a function."""
    request = LossRequest(use=name, classes=("good", "bad"), unseen=())
    return list(helper.ask(request, TWO, seconds)[1]["losses"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path of children with the user's functions."""
    (tmp_path / "own_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def helper(folder: Path) -> Iterator[HelperProcess]:
    """A helper that runs."""
    helper = HelperProcess(folder / "helper", JobLimits())
    helper.start()
    yield helper
    helper.close()


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_function_sees_class_names(helper: HelperProcess) -> None:
    """Labels and predictions of classes come as their names."""
    assert losses_of(helper, "own_functions:names") == [7.0, 0.0]


def test_a_failing_function_says_why_and_ends_nothing(helper: HelperProcess) -> None:
    """What it gives is checked, what it prints goes to the log, and the same process answers the next request."""
    pid = helper.pid
    with pytest.raises(HelperError, match=r"shape \(1,\) for 2 rows"):
        losses_of(helper, "own_functions:wrong_shape", 30)
    with pytest.raises(HelperError, match="cannot be imported: ModuleNotFoundError"):
        losses_of(helper, "not_there:loss", 30)
    assert losses_of(helper, "own_functions:names") == [7.0, 0.0]
    assert helper.pid == pid
    assert "this goes to the log" in (helper.folder / "log.txt").read_text()


@pytest.mark.parametrize(("name", "why"), [("hang", "no answer within 1 s"), ("crash", "crashed the helper")])
def test_a_function_that_hangs_or_crashes_is_asked_later(helper: HelperProcess, name: str, why: str) -> None:
    """The process is ended, the function waits its turn, and others are answered by a new process at once."""
    losses_of(helper, "own_functions:names", 30)
    before = helper.pid
    assert before is not None
    with pytest.raises(HelperError, match=why):
        losses_of(helper, f"own_functions:{name}", 1)
    wait(lambda: not is_alive(before), "the helper that hung is ended")
    helper.start()
    with pytest.raises(HelperError, match="1 times in a row; it is asked again in"):
        losses_of(helper, f"own_functions:{name}", 1)
    assert losses_of(helper, "own_functions:names") == [7.0, 0.0]


def test_an_own_metric_is_watched_gated_and_reported(folder: Path) -> None:
    """A loss that counts too low predictions four times is promised, alarms by its name, and judges the challenger."""
    config = CONFIG.replace(
        "    retrain:", "    detect: {{performance: {{metric: own_functions:asymmetric}}}}\n    retrain:"
    )
    world = World.begin(folder, hours=48, config=config)

    def higher(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
        return frame, truth + 1.5

    world.live(3)
    store = world.daemon.assembly.store
    assert store.checks(MODEL, limit=1, kind="labels")[0].reason.startswith("own_functions:asymmetric")
    world.live(20, higher, until=lambda world: "promoted" in world.events)
    alarm = next(alarm for alarm in store.alarms(MODEL) if alarm.kind == "performance")
    assert "own_functions:asymmetric" in alarm.sentence
    gate = world.daemon.assembly.registry.manifest(MODEL, 2).gate
    assert gate is not None
    assert gate["metric"] == "own_functions:asymmetric"
    assert "own_functions" not in sys.modules
    pid = world.daemon.assembly.helper.pid
    assert pid is not None
    assert pid != os.getpid()
    world.close()
    wait(lambda: not is_alive(pid), "the helper ends with the daemon")

"""The user's own metrics and detectors: in the loop, in a helper process that hangs, crashes and ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.observe import model_families
from driftd.plugins import process
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

def far(current, reference, factor=1.0):
    return factor * abs(current["a"].mean() - reference["a"].mean())

def fails(current, reference):
    raise KeyError("no such thing")

def stuck(current, reference):
    time.sleep(3600)

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


def test_detectors_are_streams_of_data_drift(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of Evidently's scores and an own one are calibrated; the alarm of a shift names them, though no feature may.

    One that raises and one that hangs are errors of their own: told in the check's sentence, never its verdict.
    """
    before = set(sys.modules)
    monkeypatch.setattr(process, "FIRST_WAIT", 3600.0)  # the one that hangs is asked once
    detectors = (
        "[{{use: 'evidently:psi', columns: [a]}}, {{use: 'evidently:MeanValue', columns: [b]}}, "
        "{{use: 'own_functions:far', parameters: {{factor: 2}}}}, {{use: 'own_functions:fails'}}, "
        "{{use: 'own_functions:stuck', timeout: 100ms}}]"
    )
    config = CONFIG.replace(
        "    retrain:", f"    detect: {{{{data: {{{{ignore: [a, b, c]}}}}, detectors: {detectors}}}}}\n    retrain:"
    )
    world = World.begin(folder, hours=48, config=config)
    world.live(3)
    store, runner = world.daemon.assembly.store, world.daemon.models[MODEL]
    seen = runner.evidence.current.detectors
    assert seen is not None
    assert seen.names == ("evidently:psi of a", "evidently:MeanValue of b", "own_functions:far")
    assert not seen.is_learning
    check = store.checks(MODEL, limit=1, kind="window")[0]
    assert check.verdict == "ok", check.reason
    assert "own_functions:fails gave no score: own_functions:fails raised KeyError: 'no such thing'" in check.reason
    assert "own_functions:stuck gave no score: own_functions:stuck" in check.reason
    assert check.evidence["data"].evidence < 5
    assert world.daemon.assembly.metrics.board.value(model_families.DETECTORS_FAILED, MODEL) == 2

    def shifted(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
        return frame.assign(a=frame["a"] + 0.6), truth + 3 * 0.6

    world.live(12, shifted, until=lambda world: "alarm" in world.events)
    alarm = next(alarm for alarm in store.alarms(MODEL) if alarm.kind == "data")
    assert alarm.subject in {"own_functions:far", "evidently:psi of a"}
    assert alarm.sentence.startswith(f"{alarm.subject}: ")
    assert ", was " in alarm.sentence
    held = runner.evidence.current.detectors
    world.close()
    world.reopen()
    world.daemon.watch(world.clock.now())
    again = world.daemon.models[MODEL].evidence.current.detectors
    assert held is not None
    assert again is not None
    assert (again.names, again.alarmed) == (held.names, held.alarmed)
    assert not {"evidently", "own_functions"} & (set(sys.modules) - before)  # other tests import Evidently here
    world.close()

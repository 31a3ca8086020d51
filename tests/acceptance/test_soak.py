"""The soak of benchmarks/soak.py, compressed to about a minute: nothing acknowledged is lost, and nothing grows."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"
MB = 1_000_000


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["soak"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "seconds",
    [60.0, pytest.param(600.0, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=["a minute", "ten minutes"],
)
def test_four_models_a_hung_source_a_talkative_trainer_and_kills(
    tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every acknowledged event is there, no swap is half, no window checked twice; memory, files, threads are flat."""
    if shutil.which("gcc") is None:
        pytest.skip("Debian package gcc is not installed")
    monkeypatch.setenv("PYTHONPATH", "")  # set for the jobs, and put back afterwards
    soak = script()
    figures = soak.soak(tmp_path, soak.Plan(seconds, 500, build_every=seconds / 2, kill_every=seconds / 12))
    print("\n".join(figures.lines()))  # noqa: T201 - the figures are what this test is for
    assert figures.acknowledged > 0
    assert (figures.lost, figures.half_swaps, figures.repeated_windows) == (0, 0, 0)
    assert figures.kills.total() > 0
    assert figures.windows["store"] > 0
    assert figures.windows["files"] > 0
    for command in ("run", "serve"):
        first, last = figures.growth(command)
        starting = 11 if seconds <= 60 else 4  # one that has just begun has not started all of its threads
        assert last.threads <= first.threads + starting, command
        assert last.files <= first.files + 12, command
        warming = 120 * MB if seconds <= 60 else 40 * MB  # a daemon that has just begun fills its caches
        assert last.rss <= 1.2 * first.rss + warming, command

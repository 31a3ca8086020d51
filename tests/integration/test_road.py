"""The road of one prediction from its source to a transition stays short enough to be read."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "road.py"
STATIONS = {  # read, profile, score, gather, decide, record
    "driftd/loop/checks.py",
    "driftd_detectors/profile/profile.py",
    "driftd_detectors/scores/scoring.py",
    "driftd_detectors/evidence/evidence.py",
    "driftd/policy/advance.py",
    "driftd/store/state/writer.py",
}


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("road", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["road"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["road"]


@pytest.mark.parametrize("source", ["store", "files"])
def test_the_road_executes_few_files(benchmark: ModuleType, tmp_path: Path, source: str) -> None:
    """From a source to the transition of an alarm, few of our files run; no station is missed."""
    road = benchmark.road_of(source, tmp_path)
    assert set(road) >= STATIONS | {f"driftd/sources/{source}.py"}
    assert len(road) <= benchmark.LONGEST_ROAD[source], "\n".join(sorted(road))

"""`benchmarks/three_years.py` on a small history: what is kept for a while does not grow for ever."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def three_years(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import three_years  # type: ignore[import-not-found]  # noqa: PLC0415 - only from here is it on the path

    module: ModuleType = three_years
    return module


def test_the_state_is_flat_once_checks_are_forgotten(three_years: ModuleType, tmp_path: Path) -> None:
    """With ten days of checks kept, forty days take no more room than twenty, and no more time to read."""
    path = tmp_path / "state.db"
    seen = list(three_years.drive(path, windows=40 * 24, features=10, keep_days=10, every=10 * 24))
    assert seen[3].megabytes <= 1.1 * seen[1].megabytes
    assert seen[3].page <= 3 * seen[1].page + 0.5
    assert seen[3].start <= 3 * seen[1].start + 0.5

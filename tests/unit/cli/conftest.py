"""A config, its empty state, and commands run in the process of the tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_samples import CONFIG, Run
from driftd.cli.main import main
from driftd.paths import Places
from driftd.store.state.writer import StateStore


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    return path


@pytest.fixture
def driftd(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, on the config; its exit code, output and complaints."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["driftd", *arguments])
        monkeypatch.setenv("DRIFTD_CONFIG", str(config))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables; made once, since making one starts a child process."""
    path = tmp_path_factory.mktemp("empty") / "state.db"
    StateStore.open(path).close()
    return path


@pytest.fixture
def store(tmp_path: Path, empty: Path) -> Iterator[StateStore]:
    path = Places(tmp_path / "state").state_db
    path.parent.mkdir()
    shutil.copy(empty, path)
    with StateStore.open(path) as opened:
        yield opened

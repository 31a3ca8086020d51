"""What goes wrong in the first hour says what to do next."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli_samples import Run, publish
from driftd.store.state.writer import StateStore


def test_no_config(driftd: Run, config: Path) -> None:
    """Without a config: the command that writes one, and how another is named."""
    config.unlink()
    code, _, complained = driftd("status")
    assert code == 2
    assert "`driftd init` writes a config, --config or $DRIFTD_CONFIG names another" in complained


@pytest.mark.parametrize("command", [("history",), ("explain",), ("verify",), ("at", "now"), ("retrain", "demand")])
def test_no_state_yet(driftd: Run, command: tuple[str, ...]) -> None:
    """Before the first start of the daemon: the command that starts it."""
    code, _, complained = driftd(*command)
    assert code == 4
    assert "start `driftd run` first" in complained


def test_no_daemon_answers_a_request(driftd: Run, store: StateStore, config: Path) -> None:
    """What is asked waits for a daemon, and the command that starts it is named."""
    code, out, _ = driftd("retrain", "demand", "--wait", "0")
    assert code == 3
    assert f"start it with `driftd run --config {config}`" in out


def test_a_port_is_taken(driftd: Run, config: Path, tmp_path: Path) -> None:
    """The key to change is named."""
    publish(tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(config.read_text() + f"serve: {{listen: '127.0.0.1:{port}'}}\n")
        code, _, complained = driftd("serve")
    assert code == 1
    assert "change `listen` in the config or stop the other" in complained


def test_init_says_what_it_lacks(driftd: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, and a config that is there: each with the way on."""
    monkeypatch.chdir(tmp_path)
    code, _, complained = driftd("init")
    assert (code, "or --example for rows that driftd brings" in complained) == (2, True)
    code, _, complained = driftd("init", "rows.csv", "--target", "y")
    assert (code, "driftd run --config config.yaml" in complained) == (1, True)
    assert config.exists()


def test_an_unknown_model(driftd: Run) -> None:
    """Those that there are are named."""
    code, _, complained = driftd("open", "nobody")
    assert (code, "there are demand, supply" in complained) == (4, True)

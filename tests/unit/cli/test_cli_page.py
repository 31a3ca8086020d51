"""`driftd open` finds the page of the daemon, or says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_samples import Run
from driftd.cli.page import page_address
from driftd.config.schema import Http
from driftd.paths import Places
from driftd.store.state.writer import StateStore
from page_server import serve_page


def test_the_page_of_a_daemon_that_answers(
    driftd: Run, config: Path, store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is printed, or opened in a browser; that of a model names it."""
    with serve_page(Places(tmp_path / "state"), config) as address:
        listen = address.removeprefix("http://")
        config.write_text(config.read_text() + f"http: {{listen: '{listen}'}}\n")
        assert driftd("open", "--print")[:2] == (0, f"{address}/\n")
        assert driftd("open", "demand", "--print")[:2] == (0, f"{address}/#/model/demand\n")
        opened: list[str] = []
        monkeypatch.setattr("driftd.cli.page._opens", lambda found: opened.append(found) or True)
        assert driftd("open")[:2] == (0, f"opened {address}/\n")
        assert opened == [f"{address}/"]


def test_no_daemon_answers(driftd: Run, config: Path) -> None:
    """The complaint names the address and the command that starts one."""
    config.write_text(config.read_text() + "http: {listen: '127.0.0.1:1'}\n")
    code, _, complained = driftd("open")
    assert code == 1
    assert "no daemon answers at http://127.0.0.1:1/" in complained
    assert f"`driftd run --config {config}`" in complained


@pytest.mark.parametrize(
    ("listen", "address"),
    [("0.0.0.0:9464", "http://127.0.0.1:9464/"), ("[::]:80", "http://[::1]:80/"), ("10.0.0.1:1", "http://10.0.0.1:1/")],
)
def test_an_address_is_one_that_a_browser_takes(listen: str, address: str) -> None:
    """A daemon that listens everywhere is reached by the host's own address."""
    assert page_address(Http(listen=listen)) == address

"""The commands of README and of the first day, as a reader types them."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pytest

from document_examples import DOCS, Block, blocks, run_block
from driftd.config.load import load
from driftd.loop.daemon import Daemon
from driftd.loop.factory import Assembly
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from driftd.store.state.writer import StateStore
from driftd_processes import driftd

pytestmark = pytest.mark.slow

MINUTES = ("driftd demo",)  # it has tests of its own


def test_the_first_day_runs(tmp_path: Path) -> None:
    """Its commands all end well, and the daemon finds something to check at once."""
    for block in blocks("tutorial-first-day.md"):
        if block.language == "sh" and not block.text.startswith(MINUTES):
            run_block(block, tmp_path)
    places = Places(load(tmp_path / "config.yaml").state_dir)
    config = tmp_path / "config.yaml"
    daemon = Daemon(Assembly(config, load(config), places, StateStore.open(places.state_db), Metrics()))
    daemon.catch_up(time.time())
    checks = daemon.assembly.store.checks("flights", 1000, "window")
    daemon.close()
    assert len(checks) > 50
    assert all(check.verdict != "error" for check in checks)


def test_the_first_block_of_the_readme_is_of_commands_that_end(tmp_path: Path) -> None:
    """The five minutes with shipped data: what is installed and what stays is left out."""
    section = (DOCS.parent / "README.md").read_text().split("## Five minutes with shipped data")[1]
    block = re.search(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert block is not None
    lines = [line for line in block[1].splitlines() if shlex.split(line, comments=True)[0] == "driftd"]
    assert [shlex.split(line, comments=True)[1] for line in lines] == ["init", "check-config", "run", "open"]
    run_block(Block("sh", "\n".join(lines[:2]) + "\n"), tmp_path)
    refused = driftd(tmp_path, "init", "--example")
    assert (refused.returncode, "driftd run --config config.yaml" in refused.stderr) == (1, True)

"""A state folder that is read-only: under a daemon that runs, and before one that starts. The mounts are real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fault_counts import Counts, environment
from limits import HANG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
]

# New files are refused by a mount that is read-only. Those that are open already belong to the mount below it, as a
# kernel does not take them away: that writing into them fails, too, is injected.
UNDER_A_DAEMON = """
import json, subprocess, sys, time
from pathlib import Path
import httpx
from driftd.paths import Places
from driftd.serving.client import Driftd
from fault_counts import address, daemon, fail_calls, number, window_indices
from limits import HANG, wait
from loop_world import MODEL
from row_windows import CONFIG, FIRST, first_version, live

folder = Path(sys.argv[1])
config, log, places = folder / "config.yaml", folder / "log", Places(folder / "state")
config.write_text(CONFIG.format(state=places.root))
first_version(config, places)

def mount(*words):
    subprocess.run([*words, places.root], check=True)

def told(event):
    return [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == event]

with Driftd(places.root, MODEL) as application:
    live(application, FIRST)
    with daemon(config, log) as process, httpx.Client(base_url=address(log), timeout=HANG) as http:
        wait(lambda: window_indices(places, MODEL) == [0], "the first window")
        mount("mount", "--bind", places.root)
        mount("mount", "-o", "remount,bind,ro")
        with fail_calls(process.pid, "pwrite64,ftruncate", "EROFS"):
            for one in range(1, 12):
                live(application, FIRST + one)  # its files are open, and nothing is injected into it
            wait(lambda: number(http, "driftd_model_step_errors_total") >= 3, "failures are counted")
            before = number(http, "driftd_last_step_timestamp_seconds")
            wait(lambda: number(http, "driftd_last_step_timestamp_seconds") > before, "rounds go on")
            assert http.get("/-/healthy").status_code == 200
            assert http.get("/api/fleet").status_code == 200
            assert process.poll() is None
            assert 1 <= len(told("model_step_failed")) < number(http, "driftd_model_step_errors_total")
        mount("mount", "-o", "remount,bind,rw")
        wait(lambda: len(window_indices(places, MODEL)) == 12, "every window is checked")
        failed = number(http, "driftd_model_step_errors_total")
        wait(lambda: number(http, "driftd_last_step_timestamp_seconds") > time.time() - 1, "rounds go on")
        assert number(http, "driftd_model_step_errors_total") == failed
        assert process.poll() is None
    assert window_indices(places, MODEL) == list(range(12))
"""
BEFORE_A_START = """
import subprocess, sys
from pathlib import Path

from driftd.store.state.writer import StateStore
from row_windows import CONFIG

folder, state = Path(sys.argv[1]), Path(sys.argv[1]) / "state"
(folder / "config.yaml").write_text(CONFIG.format(state=state))
if sys.argv[2] == "used":
    StateStore.open(state / "state.db").close()
    (state / "driftd.lock").touch()
subprocess.run(["mount", "--bind", state, state], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
sys.exit(subprocess.call([sys.executable, "-m", "driftd.cli.main", "run", "--config", folder / "config.yaml"]))
"""


def in_private_mounts(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a program where its mounts are its own; skips where that cannot be had."""
    run = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", program, *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * HANG,
        check=False,
    )
    if "unshare" in run.stderr and run.returncode:
        pytest.skip(f"no private mounts here: {run.stderr}")
    return run


def test_a_daemon_whose_state_turns_read_only_stays_up_and_goes_on_when_it_can_write(tmp_path: Path) -> None:
    """While nothing can be written that is told and counted; afterwards each window is checked, once, by itself."""
    run = in_private_mounts(UNDER_A_DAEMON, tmp_path)
    assert run.returncode == 0, run.stderr + (tmp_path / "log").read_text()[-3000:]
    counts = Counts()
    counts.faults["read-only state"] += 1
    print(counts.line())  # noqa: T201 - the figures are what this test is for


@pytest.mark.parametrize("before", ["new", "used"])
def test_a_start_on_a_read_only_state_is_refused_in_one_sentence(tmp_path: Path, before: str) -> None:
    """A start that cannot write ends with 1 and one line that names the file and why, never with a traceback."""
    (tmp_path / "state").mkdir()
    run = in_private_mounts(BEFORE_A_START, tmp_path, before)
    assert run.returncode == 1
    assert run.stderr.startswith(f"driftd: {tmp_path}/state/")
    assert "Read-only file system: mount it for writing" in run.stderr
    assert len(run.stderr.splitlines()) == 1

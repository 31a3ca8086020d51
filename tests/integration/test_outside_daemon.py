"""The real daemon, killed with -9 while a build is made outside: it waits on, and the build is started once."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd_processes import driftd
from fault_counts import environment
from limits import wait
from loop_world import HOUR, LABEL_DELAY, hour
from outside_world import free_port, pipelines, run_example

pytestmark = pytest.mark.slow

HOURS = 72


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon over the config of a folder."""
    command = [sys.executable, "-m", "driftd.cli.main", "run", "--config", str(folder / "config.yaml")]
    with (folder / "daemon.log").open("ab") as log:
        daemon = subprocess.Popen(command, env=environment(), stderr=log)
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def write_rows(path: Path) -> None:
    """Labelled rows of three days, up to now."""
    start = time.time() // HOUR * HOUR - (HOURS + 1) * HOUR
    parts = []
    for number in range(HOURS):
        frame, truth = hour(number)
        at = start + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
        times = {
            "at": pd.to_datetime(at, unit="s", utc=True),
            "label_at": pd.to_datetime(at + LABEL_DELAY, unit="s", utc=True),
        }
        parts.append(frame.assign(y=truth, **times))
    pd.concat(parts, ignore_index=True).to_parquet(path)


def test_a_daemon_that_is_killed_waits_on_for_its_build(tmp_path: Path) -> None:
    """The builder is started once, its model comes back to the next daemon over its own HTTP, and is judged."""
    write_rows(tmp_path / "rows.parquet")
    made = driftd(tmp_path, "init", "rows.parquet", "--target", "y", "--name", "demand", "--label-time", "label_at")
    assert made.returncode == 0, made.stderr
    path, port = tmp_path / "config.yaml", free_port()
    with pipelines() as outside:
        text = re.sub(r"127\.0\.0\.1:9464", f"127.0.0.1:{port}", path.read_text())
        trainer = f"    trainer: {{webhook: '{outside.url}/start', deadline: 10m}}\n    detect:\n"
        text = re.sub(r"(?m)^    detect:\n", trainer, text)
        text = re.sub(r"(?m)^      refresh: .*$", '      refresh: "off"', text)
        path.write_text(text)
        assert driftd(tmp_path, "check-config").returncode == 0, driftd(tmp_path, "check-config").stderr
        registry = Registry(Places(load(path).state_dir))
        with running(tmp_path) as daemon:
            wait(lambda: driftd(tmp_path, "retrain", "demand", "--wait", "60").returncode == 0, "a build is asked for")
            wait(lambda: "waits for the builder outside" in driftd(tmp_path, "status").stdout, "it waits", pause=0.3)
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        assert run_example(outside.orders[0]).returncode == 1
        with running(tmp_path):
            wait(lambda: run_example(outside.orders[0]).returncode == 0, "it comes back", pause=1.0)
            wait(lambda: registry.versions("demand") == (1, 2) and registry.manifest("demand", 2).gate, "it is judged")
    assert len(outside.orders) == 1

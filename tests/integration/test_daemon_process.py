"""The real `driftd run` as a process: small, quick to start, and clean to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fault_counts import environment
from limits import HANG, time_limit, wait

pytestmark = pytest.mark.slow

CONFIG = """\
state_dir: {state}
http: {{listen: "127.0.0.1:0"}}
models:
  demand: {{task: regression, target: y}}
"""
OF_THE_PROCESS = (
    'driftd_info{version="',
    "driftd_started_timestamp_seconds ",
    "driftd_messages_waiting ",
    "driftd_last_step_timestamp_seconds ",
    "driftd_config_last_reload_success_timestamp_seconds ",
    'driftd_model_watched{model="demand"} 0.0',  # it has no version
    "driftd_disk_free_bytes ",
    "driftd_disk_size_bytes ",
    "driftd_disk_measured_timestamp_seconds ",
    'driftd_store_size_bytes{part="state"} ',
    'driftd_ticks_missed_total{job="tick"} ',
    "process_resident_memory_bytes ",
)
HEAVY = ("pandas", "sklearn", "scipy.stats", "evidently", "pyarrow.dataset", "plotly", "mlflow")


def test_it_answers_reloads_and_ends_within_seconds(tmp_path: Path) -> None:
    """It is ready within seconds, serves metrics, refuses a bad config and keeps the old one, and ends on SIGTERM."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    roots = os.pathsep.join(item for item in sys.path if item)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "run", "--config", str(path)],
        env={**os.environ, "PYTHONPATH": roots},
        stderr=subprocess.PIPE,
    )
    assert daemon.stderr is not None
    try:
        port = next(found[1] for line in daemon.stderr if (found := re.search(rb"127\.0\.0\.1:(\d+)", line)))
        with httpx.Client(base_url=f"http://127.0.0.1:{port.decode()}", timeout=HANG) as http:
            deadline = time.monotonic() + HANG
            while http.get("/-/ready").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert "default-src 'none'" in http.get("/").headers["content-security-policy"]
            fleet = http.get("/api/fleet").json()
            assert [item["attention"]["command"] for item in fleet["models"]] == ["driftd doctor"]
            assert "driftd init" in fleet["models"][0]["attention"]["detail"]
            while missing := [name for name in OF_THE_PROCESS if f"\n{name}" not in http.get("/metrics").text]:
                assert time.monotonic() < deadline, f"not shown: {missing}"  # the disk is measured beside the loop
                time.sleep(0.05)
            good = path.read_text()
            path.write_text(good + "nonsense: 1\n")
            refused = http.post("/-/reload")
            assert refused.status_code == 400
            assert "nonsense" in refused.text
            assert "driftd_config_last_reload_successful 0.0" in http.get("/metrics").text
            path.write_text(good)
            assert http.post("/-/reload").status_code == 200
            assert "driftd_config_last_reload_successful 1.0" in http.get("/metrics").text
        mapped = Path(f"/proc/{daemon.pid}/maps").read_text()
        assert "sklearn" not in mapped
        assert "pandas" not in mapped
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=time_limit(8)) == 0
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()


@contextmanager
def hung_up(command: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[dict[str, str]]]]:
    """A process that got SIGHUP as soon as it can bear it, long before it is started, and the lines of its log."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state") + 'serve: {listen: "127.0.0.1:0"}\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", command, "--config", str(path)],
        env=environment(),
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        status = Path(f"/proc/{process.pid}/status")
        wait(lambda: catches_hangups(status.read_text()), "SIGHUP is caught")
        process.send_signal(signal.SIGHUP)
        yield process, (json.loads(line) for line in process.stderr)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def catches_hangups(status: str) -> bool:
    """By the mask in /proc, whose lowest bit is signal 1: SIGHUP."""
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) & 1)


def test_a_hangup_during_the_start_reloads_after_it(tmp_path: Path) -> None:
    """`driftd run` that gets SIGHUP before it acts on signals says so once, starts, and reads its config again."""
    with hung_up("run", tmp_path) as (process, lines):
        events = []
        while not events or events[-1] != "config_unchanged":
            events.append(next(lines)["event"])
        assert [item for item in events if item in {"reload_after_start", "started", "config_unchanged"}] == [
            "reload_after_start",
            "started",
            "config_unchanged",
        ]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(10)) == 0


def test_a_server_outlives_hangups_and_says_what_it_does_instead(tmp_path: Path) -> None:
    """`driftd serve` goes on after SIGHUP, during its start and later, and tells each time that it takes a restart."""
    with hung_up("serve", tmp_path) as (process, lines):
        address = next(line["address"] for line in lines if line["event"] == "serving")
        ignored = (line for line in lines if line["event"] == "hangup_ignored")
        assert "restart" in next(ignored)["reason"]
        process.send_signal(signal.SIGHUP)
        assert "restart" in next(ignored)["reason"]
        assert httpx.get(f"http://{address}/-/healthy", timeout=HANG).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(10)) == 0


def test_the_daemon_imports_nothing_heavy() -> None:
    """None of the libraries that belong into child processes is loaded by importing the whole daemon."""
    code = (
        "import sys, driftd.loop.run, driftd.sources.store, driftd_detectors.monitor\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    roots = os.pathsep.join(item for item in sys.path if item)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"

"""A real drift, scraped by a real Prometheus, told by a real Alertmanager, and over when the new version serves."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from driftd.config.schema import Http
from driftd.observe import alert_document
from driftd.observe.http import HttpThread, Wiring, application
from driftd.store.state.request_queue import post_request
from limits import HANG
from loop_world import CONFIG, HOUR, MODEL, World

pytestmark = pytest.mark.slow

FIRES, WAITS = "DriftdPerformanceBelowTolerance", "DriftdApprovalWaiting"
# Nothing is swapped before the message came.
MANUAL = CONFIG.replace("promote: {{", "promote: {{approval: manual, ")
RUNBOOK = "https://wiki.example/runbook"
PROMETHEUS = """\
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: [driftd.rules.yml]
scrape_configs:
  - job_name: driftd
    static_configs: [{{targets: ["{daemon}"]}}]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["{alertmanager}"]}}]
"""
ALERTMANAGER = """\
route: {{receiver: team, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: team
    webhook_configs: [{{url: "http://{webhook}/"}}]
"""


def worse(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The world changes: what was right is six too low."""
    return frame, truth + 6


class Webhook(ThreadingHTTPServer):
    """Keeps the alerts that it is sent: name, status, annotations."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.sent: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def was_sent(self, name: str, status: str) -> bool:
        """Whether this alert came with this status."""
        return any(item["labels"]["alertname"] == name and item["status"] == status for item in self.sent)


class Receiver(BaseHTTPRequestHandler):
    """Takes what Alertmanager posts."""

    def do_POST(self) -> None:
        """Keep the alerts of one message."""
        assert isinstance(self.server, Webhook)
        self.server.sent += json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Watcher(threading.Thread):
    """Notes in which states Prometheus had each alert, in order."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.states: dict[str, list[str]] = {}
        self.address, self.ended = address, threading.Event()

    def run(self) -> None:
        """Look three times a second."""
        with httpx.Client(base_url=f"http://{self.address}", timeout=HANG) as client:
            while not self.ended.wait(0.3):
                for alert in client.get("/api/v1/alerts").json()["data"]["alerts"]:
                    if (alert["labels"]["alertname"], alert["state"]) == ("DriftdDown", "pending"):
                        continue  # a busy machine misses a scrape of half a second
                    seen = self.states.setdefault(alert["labels"]["alertname"], [])
                    if seen[-1:] != [alert["state"]]:
                        seen.append(alert["state"])


def binary(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}, of the Debian package {package}")
    return found


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return f"127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def started(command: list[str], address: str, folder: Path) -> Iterator[None]:
    """A server that answers `/-/ready`, ended at the end."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        eventually(lambda: ready(address), f"{command[0]} is not ready: see its log in {folder}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=HANG)


def ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready", timeout=HANG).status_code == 200
    except httpx.TransportError:
        return False


def scraped(prometheus: str) -> bool:
    """Whether the daemon is scraped, and no rule holds any more that said that it is not."""
    targets, alerts = (httpx.get(f"http://{prometheus}/api/v1/{of}").json()["data"] for of in ("targets", "alerts"))
    return [item["health"] for item in targets["activeTargets"]] == ["up"] and not alerts["alerts"]


def eventually(holds: Callable[[], bool], otherwise: str, seconds: float = HANG) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


@contextmanager
def monitored(world: World, folder: Path) -> Iterator[tuple[Webhook, Watcher]]:
    """The daemon's own HTTP, Prometheus with the shipped rules, Alertmanager, and a webhook at its end."""
    alertmanager, prometheus, webhook = free_address(), free_address(), Webhook()
    daemon = world.daemon
    unused = Wiring(daemon.assembly.metrics, daemon.is_ready, lambda: None, dict, lambda _model, _alarm: Path("/none"))
    http = HttpThread(application(unused), Http(listen="127.0.0.1:0"))
    (folder / "alertmanager.yml").write_text(ALERTMANAGER.format(webhook=f"127.0.0.1:{webhook.server_port}"))
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(daemon=http.address, alertmanager=alertmanager))
    (folder / "driftd.rules.yml").write_text(alert_document.as_yaml("prometheus", RUNBOOK, hold="2s"))
    with ExitStack() as stack:
        stack.callback(webhook.shutdown)
        http.start()
        stack.callback(http.stop)
        options = [f"--web.listen-address={alertmanager}", "--cluster.listen-address=", "--storage.path=am"]
        command = [binary("prometheus-alertmanager", "prometheus-alertmanager"), "--config.file=alertmanager.yml"]
        stack.enter_context(started([*command, *options], alertmanager, folder))
        options = [f"--web.listen-address={prometheus}", "--storage.tsdb.path=tsdb"]
        command = [binary("prometheus", "prometheus"), "--config.file=prometheus.yml"]
        stack.enter_context(started([*command, *options], prometheus, folder))
        eventually(lambda: scraped(prometheus), "Prometheus does not find the daemon")  # its discovery takes 5 s
        watcher = Watcher(prometheus)
        watcher.start()
        stack.callback(watcher.ended.set)
        yield webhook, watcher


def test_a_drift_wakes_somebody_and_the_swap_ends_it(tmp_path: Path) -> None:
    """The rule on performance goes pending and fires, the message has the figures, and it resolves after the swap."""
    start = (time.time() // HOUR - 119) * HOUR  # rules compare with the time now
    world = World.begin(tmp_path, config=MANUAL, start=start)
    with monitored(world, tmp_path) as (webhook, watcher):
        world.live(2)
        time.sleep(2)  # for a scrape, and an evaluation of the rules
        assert watcher.states == {}, "something fires in a calm world"
        world.live(12, worse, until=lambda world: world.phase == "awaiting_approval")
        for name in (FIRES, WAITS):
            eventually(partial(webhook.was_sent, name, "firing"), f"{name} was not delivered; {watcher.states}")
        message = next(item for item in webhook.sent if item["labels"]["alertname"] == FIRES)
        now, database = world.clock.now(), world.places.state_db
        post_request(database, at=now, who="ada", model=MODEL, kind="approve", arguments={})
        world.live(2, worse, until=lambda world: world.phase == "probation")
        eventually(lambda: webhook.was_sent(FIRES, "resolved"), f"it was never resolved; {watcher.states}")
    world.close()
    assert watcher.states[FIRES] == ["pending", "firing"]
    assert set(watcher.states) == {FIRES, WAITS}
    assert message["labels"]["severity"] == "critical"
    assert message["annotations"]["runbook_url"] == f"{RUNBOOK}#performance-below-tolerance"
    assert message["annotations"]["summary"].startswith("demand: performance got worse to ")
    assert "; at worst 0." in message["annotations"]["summary"]

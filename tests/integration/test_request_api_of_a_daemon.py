"""Requests over HTTP to the real `driftd run`: kept, answered by the loop, and told in the history with who asked."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from driftd.paths import Places
from driftd.store.state.reader import StateReader
from fault_counts import environment
from limits import HANG, time_limit, wait
from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow

OPERATOR = "an-operator-of-some-length"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a version, and a token that may operate."""
    tokens = tmp_path / "token"
    tokens.write_text(f"{OPERATOR} role=operate name=ada\n")
    tokens.chmod(0o600)
    listen = "http: {{listen: 127.0.0.1:0}}"
    config = CONFIG.replace(listen, f"http: {{{{listen: 127.0.0.1:0, token_file: {tokens}}}}}")
    World.begin(tmp_path, hours=30, config=config).close()
    return tmp_path


@pytest.fixture
def http(folder: Path) -> Iterator[httpx.Client]:
    """A client of a daemon that is ready."""
    daemon = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "run", "--config", str(folder / "config.yaml")],
        env=environment(),
        stderr=subprocess.PIPE,
    )
    assert daemon.stderr is not None
    try:
        port = next(found[1] for line in daemon.stderr if (found := re.search(rb"127\.0\.0\.1:(\d+)", line)))
        with httpx.Client(base_url=f"http://127.0.0.1:{port.decode()}", timeout=HANG) as client:
            wait(lambda: client.get("/-/ready").status_code == 200, "the daemon is ready")
            yield client
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=time_limit(10)) == 0
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()


def answer_of(http: httpx.Client, posted: httpx.Response) -> dict[str, object]:
    """What the loop says to a request."""
    found: list[dict[str, object]] = []

    def is_answered() -> bool:
        found[:] = [http.get(posted.headers["location"]).json()]
        return found[0]["status"] != "waiting"

    assert posted.status_code == 202, posted.text
    wait(is_answered, "the request is answered")
    return found[0]


def test_what_is_asked_by_http_is_done_by_the_loop(http: httpx.Client, folder: Path) -> None:
    """A request is answered within a round, done or refused with its sentence; the history says who asked."""
    http.headers["Authorization"] = f"Bearer {OPERATOR}"
    api = f"/api/v1/models/{MODEL}"
    refused = answer_of(http, http.post(f"{api}/approve", json={"version": 8}))
    assert (refused["status"], refused["outcome"]) == ("refused", "nothing awaits approval (the model is steady)")
    done = answer_of(http, http.post(f"{api}/reset-evidence", json={"reason": "INC-1"}))
    assert done["status"] == "done"
    assert str(done["outcome"]).startswith("ada by API from 127.0.0.1 resets the evidence against version 1")
    with StateReader.read_only(Places(folder / "state").state_db) as reader:
        line = next(line for line in reader.history(MODEL, 10) if line.event == "evidence_reset")
    assert (line.actor, line.reason) == ("ada by API from 127.0.0.1", done["outcome"])
    headers = {"Idempotency-Key": "7f3a"}
    pause = {"what": ["checks"], "until": "2h", "reason": "INC-2"}
    paused = answer_of(http, http.post(f"{api}/pause", json=pause, headers=headers))
    assert http.post(f"{api}/pause", json=pause, headers=headers).json()["id"] == paused["id"]
    wait(lambda: http.get("/api/status").json()[MODEL]["phase"] == "paused", "the pause holds")
    shown = http.get(f"/api/models/{MODEL}").json()
    assert [(order["kind"], order["subject"], order["reason"]) for order in shown["orders"]] == [
        ("pause", "checks", "INC-2")
    ]
    assert any("checks paused until" in sentence for sentence in shown["attention"]["also"])
    assert answer_of(http, http.post(f"{api}/resume", json={}))["status"] == "done"
    wait(lambda: http.get("/api/status").json()[MODEL]["phase"] == "steady", "the model goes on")
    del http.headers["Authorization"]
    assert http.post(f"{api}/retrain", json={}).status_code == 401
    assert http.get("/openapi.json").json()["openapi"] == "3.1.0"

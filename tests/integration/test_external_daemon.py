"""The real daemon beside a system that logs its predictions: a hand-over survives a `kill -9`, and is taken back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftd.config.load import load
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.state.reader import StateReader
from driftd_processes import driftd
from external_world import DEPLOY, own_model
from fault_counts import environment
from limits import wait
from loop_world import HOUR, LABEL_DELAY, hour

pytestmark = pytest.mark.slow

LOGGED, DRIFTED = 72, 16  # hours; the newest quarter of what came since the change judges


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


def write_log(path: Path, numbers: range, start: float, *, turned: bool) -> None:
    """Hours of the system's log; with `turned` the meaning of a feature has changed, and the system does not know."""
    with path.open("w") as log:
        for number in numbers:
            frame, truth = hour(number)
            truth = truth - 5 * frame["a"].to_numpy() if turned else truth
            at = start + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
            said = {"at": at, "prediction": own_model(frame), "label": truth, "label_at": at + LABEL_DELAY}
            rows = frame.assign(prediction_id=[f"{number}-{row}" for row in range(len(frame))], **said)
            log.write(rows.to_json(orient="records", lines=True))


def calls(folder: Path) -> list[dict[str, Any]]:
    """What the deploy command was told."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_hand_over_survives_a_kill_is_taken_back_and_confirmed_late(tmp_path: Path) -> None:
    """The command that hung when the daemon was killed is told again; nobody confirms; a person does afterwards."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "deploy.py").write_text(DEPLOY)
    start = time.time() // HOUR * HOUR - (LOGGED + DRIFTED + 2) * HOUR
    write_log(tmp_path / "logs" / "a.jsonl", range(LOGGED), start, turned=False)
    options = ("--serving", "external", "--source", "files", "--window", "1h", "--name", "demand")
    trainer = ("--trainer", "driftd.trainers:gradient_boosting")
    made = driftd(tmp_path, "init", "logs/*.jsonl", *options, *trainer)
    assert made.returncode == 0, made.stderr
    assert "stands for what your system serves" in made.stdout
    command = json.dumps([sys.executable, str(tmp_path / "deploy.py"), str(tmp_path)])
    deploy = f"    deploy: {{command: {command}, confirm_within: 3s, timeout: 20s}}\n    parameters: {{max_iter: 30}}\n"
    path = tmp_path / "config.yaml"
    text = re.sub(r"    # deploy: .*\n", lambda _: deploy, path.read_text())
    text = text.replace("approval: auto,", "approval: auto, block: 1h,")
    path.write_text(text.replace("127.0.0.1:9464", '"127.0.0.1:0"'))
    places = Places(load(path).state_dir)
    assert driftd(tmp_path, "check-config").returncode == 0
    write_log(tmp_path / "logs" / "b.jsonl", range(LOGGED, LOGGED + DRIFTED), start, turned=True)

    def events() -> list[str]:
        with StateReader.read_only(places.state_db) as reader:
            return [line.event for line in reversed(reader.history("demand", 100))]

    (tmp_path / "orders.txt").write_text("hang")
    with running(tmp_path) as daemon:
        wait(lambda: calls(tmp_path), "the command is called")
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    assert "handed_over" not in events()
    (tmp_path / "orders.txt").write_text("")
    with running(tmp_path):
        wait(lambda: len(calls(tmp_path)) == 3, "it is called again, and told to take back")
        assert [(call["action"], call["version"]) for call in calls(tmp_path)] == [
            ("deploy", 2),
            ("deploy", 2),
            ("take_back", 1),
        ]
        wait(lambda: "hand_over_taken_back" in events(), "it is taken back")
        assert "another system serves it" in driftd(tmp_path, "status").stdout
        late = driftd(tmp_path, "confirm", "demand", "2", "--why", "it serves after all", "--wait", "60")
        assert late.returncode == 0, late.stdout
        assert "version 2 is confirmed" in late.stdout
        wait(lambda: "promoted" in events(), "the version is taken up")
    decided = [event for event in events() if event != "gate_inconclusive"]
    assert decided.index("alarm") < decided.index("handed_over") < decided.index("hand_over_taken_back")
    assert Registry(places).current("demand") == 2

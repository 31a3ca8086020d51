"""Telling programs: what they are given, and those that fail, hang, fork, talk without end or are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftd.config.schema import Receiver
from driftd.events import Event
from driftd.notify.channels import RetryPace
from limits import time_limit
from notify_samples import eventually, program, run_notifier, running

SECRET = "secret-token"


def test_a_program_gets_json_and_variables(tmp_path: Path) -> None:
    """A command reads the facts on its standard input and in DRIFTD_*, and systemd's socket is kept from it."""
    out = tmp_path / "out"
    hook = program(tmp_path, f"cat > {out}.json; env | sort > {out}.env; mv {out}.env {out}")
    with run_notifier(tmp_path / "state.db") as output:
        os.environ["NOTIFY_SOCKET"] = "/run/nowhere"
        try:
            output.apply(page=hook)
            number = output.decide(Event.ROLLED_BACK)
            eventually(out.exists)
        finally:
            del os.environ["NOTIFY_SOCKET"]
        eventually(lambda: ("page", number) in output.confirmed)
    assert '"event": "rolled_back"' in Path(f"{out}.json").read_text()
    environment = out.read_text().splitlines()
    assert {"DRIFTD_EVENT=rolled_back", "DRIFTD_SEVERITY=warning", "DRIFTD_MODEL=demand"} <= set(environment)
    assert not [line for line in environment if line.startswith("NOTIFY_SOCKET")]


def test_a_program_that_fails_is_run_again_and_quoted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An exit code other than 0 is a failure; the last line that the program said is in the log."""
    mark = tmp_path / "second"
    hook = program(tmp_path, f"test -e {mark} && exit 0; touch {mark}; echo the pager is away >&2; exit 3")
    with run_notifier(tmp_path / "state.db") as output:
        output.apply(page=hook)
        number = output.decide()
        eventually(lambda: ("page", number) in output.confirmed)
        assert output.sample("driftd_notifications_failed_total", "page") == 1
    assert "exit code 3: the pager is away" in "".join(capfd.readouterr())


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """When its time is over, a program and its children are killed, and it is tried again."""
    nap = f"61.{os.getpid()}"
    hook = program(tmp_path, f"sleep {nap} & sleep {nap} & wait", timeout=0.5)
    with run_notifier(tmp_path / "state.db", RetryPace(poll=0.02, settle=0.02, first_pause=60)) as output:
        output.apply(page=hook)
        output.decide()
        eventually(lambda: len(running(nap)) == 2)
        eventually(lambda: output.sample("driftd_notifications_failed_total", "page") == 1)
        eventually(lambda: not running(nap))


def test_a_program_that_leaves_a_child_behind_counts_at_once_and_the_child_ends(tmp_path: Path) -> None:
    """A background child that holds the program's output open does not hold the delivery up, and is ended."""
    nap = f"62.{os.getpid()}"
    with run_notifier(tmp_path / "state.db") as output:
        output.apply(page=program(tmp_path, f"sleep {nap} & exit 0", timeout=30.0))
        number = output.decide()
        eventually(lambda: ("page", number) in output.confirmed, time_limit(5.0))
        eventually(lambda: not running(nap))


def test_a_program_that_talks_without_end_neither_blocks_nor_fills_memory(tmp_path: Path) -> None:
    """Megabytes on standard error are read and dropped."""
    with run_notifier(tmp_path / "state.db") as output:
        output.apply(page=program(tmp_path, "head -c 30000000 /dev/zero >&2; exit 0", timeout=20.0))
        number = output.decide()
        eventually(lambda: ("page", number) in output.confirmed)


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A command that cannot be started is told as such, and tried again."""
    with run_notifier(tmp_path / "state.db") as output:
        output.apply(page=Receiver.model_validate({"command": [str(tmp_path / "nowhere")]}))
        output.decide()
        eventually(lambda: output.sample("driftd_notifications_failed_total", "page") >= 2)
    assert "No such file" in "".join(capfd.readouterr())

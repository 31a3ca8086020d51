"""The job that tells another system what to do: programs, webhooks, what they are told, and how they fail."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from driftd.events import HandOverAction
from driftd.training.tasks.hand_over import Arguments, HandOverError, run
from notify_samples import endpoint

RECORDER = """\
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
told = {name: value for name, value in os.environ.items() if name.startswith("DRIFTD_")}
(folder / "told.json").write_text(json.dumps({"stdin": json.load(sys.stdin), "variables": told}))
"""


def order(tmp_path: Path, **given: Any) -> Arguments:
    """What the daemon asks of the job, for a model without a version of driftd's."""
    usual: dict[str, Any] = {"action": HandOverAction.ASK, "reason": "mae rose", "timeout": 20.0}
    return Arguments(model="demand", state_dir=str(tmp_path), **{**usual, **given})


def test_a_program_gets_the_message_twice(tmp_path: Path) -> None:
    """As JSON on standard input and as variables, where what is not there is empty."""
    (tmp_path / "recorder.py").write_text(RECORDER)
    output = run(order(tmp_path, command=(sys.executable, str(tmp_path / "recorder.py"), str(tmp_path))))
    assert str(output["sentence"]).endswith("no artefact")
    heard = json.loads((tmp_path / "told.json").read_text())
    expected = {"action": "ask", "model": "demand", "reason": "mae rose", "version": None, "from": None}
    assert heard["stdin"] == {**expected, "artefact": None, "sha256": None, "confirm_by": None}
    assert heard["variables"]["DRIFTD_ACTION"] == "ask"
    assert heard["variables"]["DRIFTD_REASON"] == "mae rose"
    assert heard["variables"]["DRIFTD_ARTEFACT"] == ""


def test_a_program_that_fails_says_why_by_its_last_line(tmp_path: Path) -> None:
    """The error names the exit code; what follows an option of a secret is not shown."""
    command = (
        sys.executable,
        "-c",
        "print('working', flush=True); raise SystemExit('the cluster is away')",
        "--token",
        "s3cret",
    )
    with pytest.raises(HandOverError, match=r"exit code 1: the cluster is away") as failed:
        run(order(tmp_path, command=command))
    assert "s3cret" not in str(failed.value)


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    """After its time, though it left a child that holds its output open."""
    command = ("/bin/sh", "-c", "sleep 600 & sleep 600")
    with pytest.raises(HandOverError, match=r"took longer than 0\.5 s"):
        run(order(tmp_path, command=command, timeout=0.5))


def test_a_webhook_gets_the_message(tmp_path: Path) -> None:
    """An answer of 2xx is good; any other is an error that does not hold the address, which is a secret."""
    with endpoint() as taken:
        output = run(order(tmp_path, webhook=f"{taken.url}?token=s3cret"))
        assert taken.got[0]["action"] == "ask"
        assert "s3cret" not in str(output["sentence"])
    with endpoint(answer=lambda _: (503, {}, 0.0)) as away, pytest.raises(HandOverError, match="answers 503") as failed:
        run(order(tmp_path, webhook=f"{away.url}?token=s3cret"))
    assert "s3cret" not in str(failed.value)
    with pytest.raises(HandOverError, match="the webhook cannot be told") as failed:
        run(order(tmp_path, webhook="http://127.0.0.1:9/x?token=s3cret"))
    assert "s3cret" not in str(failed.value)


def test_a_webhook_that_answers_slowly_is_not_waited_for(tmp_path: Path) -> None:
    """The time is for the whole answer, also where it comes letter by letter."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not over.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=(listener,), daemon=True)
        server.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x?token=s3cret"
        with pytest.raises(HandOverError, match=r"gave no answer within 0\.5 s \(deploy\.timeout\)") as failed:
            run(order(tmp_path, webhook=address, timeout=0.5))
        assert "s3cret" not in str(failed.value)
        over.set()
        server.join()


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """The error says what to configure."""
    with (
        endpoint(answer=lambda _: (302, {"location": "http://127.0.0.1:9/"}, 0.0)) as moved,
        pytest.raises(HandOverError, match=r"a redirect \(302\), which is not followed: configure the address"),
    ):
        run(order(tmp_path, webhook=moved.url))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which program could not be started, and why."""
    with pytest.raises(HandOverError, match=r"exit code 127: the program '/no/such/one' cannot be started: No such"):
        run(order(tmp_path, command=("/no/such/one", "x")))


def test_a_program_that_a_signal_ends_names_the_signal(tmp_path: Path) -> None:
    """As the kernel does to one that takes too much memory."""
    with pytest.raises(HandOverError, match=r"exit code -9: the signal SIGKILL"):
        run(order(tmp_path, command=("/bin/sh", "-c", "kill -9 $$")))


def test_an_address_in_a_file_is_read_at_each_hand_over(tmp_path: Path) -> None:
    """So that it can be renewed while the daemon runs."""
    with endpoint() as taken:
        (tmp_path / "address").write_text(f"{taken.url}\n")
        run(order(tmp_path, webhook_file=str(tmp_path / "address")))
        assert len(taken.got) == 1


def test_without_a_way_people_do(tmp_path: Path) -> None:
    """Nothing is called, and the sentence says so."""
    assert "so people do" in str(run(order(tmp_path))["sentence"])

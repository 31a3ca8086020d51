"""`driftd demo` on a terminal serves the page of its state until Ctrl-C, and in a pipe ends by itself."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from driftd_processes import environment
from limits import HANG, wait

pytestmark = pytest.mark.slow

DAYS = 68  # of the year: nine of them are replayed, after the training of version 1
EVERY = 4  # so many flights of the year there is one of the replay
SHORT = f"""
from dataclasses import replace
from driftd.cli.main import main
from driftd.demonstration import run

whole = run.flights
def flights():
    stream = whole()
    frame = stream.frame
    kept = frame["at"] < frame["at"].iloc[0] + {DAYS} * 86400
    return replace(stream, frame=frame[kept].iloc[::{EVERY}].reset_index(drop=True))
run.flights = flights
main()
"""


def start(folder: Path, *arguments: str, **streams: object) -> subprocess.Popen[bytes]:
    """`driftd demo` on the first weeks of the year, in a process of its own."""
    command = [sys.executable, "-c", SHORT, "demo", "--folder", str(folder), *arguments]
    return subprocess.Popen(command, env=environment() | {"TERM": "xterm"}, **streams)  # type: ignore[call-overload]


def digests(folder: Path) -> dict[str, str]:
    """The hash of every file of a state."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_until(terminal: int, wanted: str) -> str:
    """What is printed on a terminal until a pattern is."""
    text, deadline = "", time.monotonic() + HANG
    while not re.search(wanted, text):
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 1.0)[0]:
            text += os.read(terminal, 65_536).decode("utf-8", "replace")
    return text


def test_a_demonstration_in_a_pipe_ends_and_its_page_changes_nothing(tmp_path: Path) -> None:
    """It tells the year in words and ends; on a terminal its page is served until Ctrl-C, and no byte changes."""
    folder = tmp_path / "demo"
    told = start(folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    text = told.communicate(timeout=3 * HANG)[0].decode()
    assert told.returncode == 0, text
    assert "the year in words" in text
    assert "From March to March the model that driftd kept" in text
    assert "The page of this year" not in text
    before = digests(folder / "state")
    terminal, inner = pty.openpty()
    served = start(folder, "--page", stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    os.close(inner)
    found = re.search(r"http://127\.0\.0\.1:\d+/", read_until(terminal, r"Ctrl-C ends"))
    assert found is not None
    fleet = httpx.get(f"{found[0]}api/fleet", timeout=HANG).json()
    assert [model["model"] for model in fleet["models"]] == ["airtime"]
    assert httpx.get(found[0], timeout=HANG).status_code == 200
    told_of = httpx.get(f"{found[0]}api/models/airtime", timeout=HANG)
    assert float(told_of.headers["driftd-ended"]) >= told_of.json()["last_check"]  # 2013 is its present
    assert not httpx.get(f"{found[0]}api/v1/session", timeout=HANG).json()["has_tokens"]
    last = told_of.json()["extent"]["last"]
    quality = f"{found[0]}api/models/airtime/quality?first={last}&last={last}"
    wait(lambda: httpx.get(quality, timeout=HANG).json()["status"] == "done", "the look is done")
    assert httpx.post(f"{found[0]}-/reload", timeout=HANG).status_code == 400
    served.send_signal(2)  # what Ctrl-C is
    assert "driftd demo --page" in read_until(terminal, "Once more")
    assert served.wait(HANG) == 0
    os.close(terminal)
    assert digests(folder / "state") == before


def test_a_page_needs_a_demonstration(tmp_path: Path) -> None:
    """`--page` of a folder without a demonstration says how to run one."""
    served = start(tmp_path / "none", "--page", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = served.communicate(timeout=HANG)[0].decode()
    assert served.returncode == 1
    assert "`driftd demo --folder" in text

"""What the fault tests share: the counts that they print, a program killed at drawn moments, and the real daemon."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftd.paths import Places
from driftd.store.schema_versions import DatabaseError
from driftd.store.state.reader import StateAbsentError, StateReader
from limits import HANG, time_limit, wait

ROOT = Path(__file__).parent
COUNTED = "faults injected:"  # the terminal summary shows each line that begins so


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with its search path and the tests' own folder."""
    path = os.pathsep.join([entry for entry in sys.path if entry] + [str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, **more}


@dataclass(slots=True)
class Counts:
    """What was done to the system and what it cost."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: int = 0
    half_swaps: int = 0

    def line(self) -> str:
        """The counts in one line."""
        kills = ", ".join(f"{name} {number}" for name, number in sorted(self.kills.items()))
        faults = ", ".join(f"{name} {number}" for name, number in sorted(self.faults.items()))
        return (
            f"{COUNTED} kills {self.kills.total()}{f' ({kills})' if kills else ''}; other faults "
            f"{self.faults.total()}{f' ({faults})' if faults else ''}; acknowledged events {self.acknowledged}; "
            f"events lost {self.lost}; half swaps {self.half_swaps}"
        )


@contextmanager
def daemon(path: Path, log: Path | None = None, *before: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real `driftd run`, killed at the end; `before` are words before its command, `more` its environment."""
    with (log or Path(os.devnull)).open("ab") as written:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "driftd.cli.main", "run", "--config", str(path)],
            env=environment(**more),
            stderr=written,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def address(log: Path) -> str:
    """Where a daemon listens, by its log."""
    wait(lambda: re.search(rb"127\.0\.0\.1:[1-9]\d+", log.read_bytes()), "the daemon's address")
    found = re.search(rb"127\.0\.0\.1:[1-9]\d+", log.read_bytes())
    assert found is not None
    return f"http://{found[0].decode()}"


def number(http: httpx.Client, metric: str) -> float:
    """The sum of a metric's values; 0 while it is absent."""
    found = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? (\S+)", http.get("/metrics").text, re.MULTILINE)
    return sum(float(item) for item in found)


def strace(calls: str, error: str, *paths: Path) -> list[str]:
    """The words before a command, or a `-p`, that have such calls fail; `EIO:when=2+2` is every second one."""
    if shutil.which("strace") is None:
        pytest.skip("Debian package strace is not installed")
    on_files = [word for path in paths for word in ("-P", str(path))]
    return [
        "strace",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={error}",
        *on_files,
    ]


@contextmanager
def fail_calls(pid: int, calls: str, error: str, *paths: Path) -> Iterator[None]:
    """While this is open, every such call of a living process fails; only those on the given files, if any are."""
    tracer = subprocess.Popen([*strace(calls, error, *paths), "-p", str(pid)])
    try:
        threads = Path(f"/proc/{pid}/task")
        wait(
            lambda: all("TracerPid:\t0\n" not in (item / "status").read_text() for item in threads.iterdir()), "strace"
        )
        yield
    finally:
        _end_tracer(tracer)


def _end_tracer(tracer: subprocess.Popen[bytes]) -> None:
    """Let go of the process: strace asks each thread to stop first, and waits for ever where one ended meanwhile."""
    tracer.terminate()
    try:
        tracer.wait(timeout=time_limit(5.0))
    except subprocess.TimeoutExpired:
        tracer.kill()  # the kernel then lets every thread go
        tracer.wait(timeout=HANG)


def events_of(places: Places, model: str) -> list[str]:
    """What was decided, oldest first."""
    return _read(places, lambda reader: [line.event for line in reversed(reader.history(model, 10_000))])


def open_kinds(places: Places, model: str) -> list[str]:
    """The kinds of the actions at work."""
    return _read(
        places, lambda reader: [str(item.kind) for item in reader.open_actions(model) if item.status == "started"]
    )


def window_indices(places: Places, model: str) -> list[int]:
    """The windows that were checked, in the order in which they were."""
    return _read(
        places, lambda reader: [item.window_index for item in reversed(reader.checks(model, 10_000, "window"))]
    )


def _read(places: Places, look: Callable[[StateReader], list[Any]]) -> list[Any]:
    """Nothing while there is no database yet, or one that is being made."""
    try:
        with StateReader.read_only(places.state_db) as reader:
            return look(reader)
    except StateAbsentError:
        return []
    except DatabaseError as error:
        if "just starting" not in str(error):
            raise
        return []

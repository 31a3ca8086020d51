"""Programs as children of a process that has their libraries in memory: most of what a short program takes is imports.

For programs whose own start is not what is tested. The process is driftd's fork server with another child's work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftd.training.fork_server import PRELOADED, ForkedProcess, ForkServer
from limits import HANG

_ROOT = Path(__file__).parent
_OF_PROGRAMS = ("pyarrow.parquet", "driftd.loop.run", "driftd.serving.run", "driftd.serving.client")
_SERVER = ForkServer(idle=900.0)
_SERVER.preloaded = (*PRELOADED, *_OF_PROGRAMS, "warm_child")
_ALONE = threading.Lock()  # a question to the server and its answer; tests start programs from threads as well


class Program:
    """A child of the warm process, used as a `subprocess.Popen` is."""

    def __init__(self, forked: ForkedProcess) -> None:
        self.pid = forked.pid
        self._forked = forked
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None and self._forked.has_ended():
            with _ALONE:
                self.returncode = self._forked.reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises `subprocess.TimeoutExpired`."""
        until = time.monotonic() + (HANG if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or HANG)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


Process = Program | subprocess.Popen[bytes]


def load_reports_too() -> None:
    """Have Evidently loaded as well, where daemons write several reports; of no use once a program was started."""
    if "second_opinion_libraries" not in _SERVER.preloaded:
        _SERVER.preloaded = ("second_opinion_libraries", *_SERVER.preloaded)


def start_driftd(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """A command of driftd as a process of its own, whose output is appended to a log."""
    return _start(["-m", "driftd.cli.main", *arguments], environment, Path.cwd(), log, log)


def run_program(
    program: Path, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of Python to its end, in a folder."""
    with tempfile.TemporaryDirectory(prefix="driftd-program.") as name:
        output, errors = Path(name) / "output", Path(name) / "errors"
        child = _start([str(program)], environment, folder or Path.cwd(), output, errors)
        code = child.wait()
        return subprocess.CompletedProcess([str(program)], code, output.read_text(), errors.read_text())


def _start(command: list[str], environment: Mapping[str, str], folder: Path, output: Path, errors: Path) -> Process:
    for path in (output, errors):
        path.touch()
    paths = os.pathsep.join((environment.get("PYTHONPATH", ""), str(_ROOT)))
    order = {"command": command, "folder": str(folder.absolute()), "errors": str(errors.absolute())}
    full = {**environment, "PYTHONPATH": paths, "DRIFTD_TEST_PROGRAM": json.dumps(order)}
    with _ALONE:
        _SERVER.ensure(full)
        _SERVER.await_ready()
        forked = _SERVER.fork(folder, output, full)
    if forked is not None:
        return Program(forked)
    with output.open("ab") as out, errors.open("ab") as err:  # variables are set that libraries read as they load
        return subprocess.Popen([sys.executable, *command], env=environment, cwd=folder, stdout=out, stderr=err)

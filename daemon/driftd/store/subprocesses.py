"""Short child processes: for work whose memory is given back, and for looks that may hang."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Literal

from driftd.errors import DriftdError

_running: set[subprocess.Popen[str]] = set()
_ending = threading.Event()


class ChildError(DriftdError):
    """The child failed; the message is its last words."""


def run_apart(module: str, arguments: Sequence[str], seconds: float) -> str:
    """Run `python -m module arguments` with the same search path, and return what it printed.

    Raises ChildError when it fails, takes longer than `seconds`, or is ended by `end_children`.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    piped = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=piped, stderr=piped, text=True) as child:
        _running.add(child)
        try:
            if _ending.is_set():
                child.kill()
            printed, complained = child.communicate(timeout=seconds)
        except BaseException as error:
            child.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ChildError(f"{module} was stopped: it took longer than {seconds:.0f} s") from None
            raise
        finally:
            _running.discard(child)
    if child.returncode != 0:
        last_words = complained.strip().splitlines()[-1:] or [f"exit code {child.returncode}, no message"]
        raise ChildError("driftd is stopping" if _ending.is_set() else last_words[0])
    return printed


def are_ending() -> bool:
    """Whether no further child is to be started: the process ends."""
    return _ending.is_set()


def end_children() -> None:
    """For a process that ends: kill the children that its threads wait for, and those that they would start yet.

    What runs apart is made so that the next run goes on from where this one was ended.
    """
    _ending.set()
    for child in list(_running):
        child.kill()


PROBE_SECONDS = 10.0
_PROBE = """
import glob, os, sys
for pattern in sys.argv[1:]:
    if pattern.startswith(("http://", "https://")):
        import urllib.request
        try:
            urllib.request.urlopen(pattern).close()
        except OSError:  # refused, denied, not found: that is an answer
            pass
        continue
    for path in glob.glob(pattern):
        os.stat(path)
        names = []
        for folder, _, files in os.walk(path):
            names += [os.path.join(folder, file) for file in files]
            if len(names) > 2000:
                break
        names = sorted(names) if os.path.isdir(path) else [path]
        for name in names[:2] + names[-4:]:
            try:
                with open(name, "rb") as file:
                    file.read(1)
            except OSError:  # closed to us, or gone meanwhile: that is an answer
                pass
"""

Reached = Literal["waiting", "reached", "hangs"]


class PathProbe:
    """A look at paths in a child process: it can be killed where a thread that hangs cannot.

    `paths` are files, folders or patterns of files, or web addresses; a folder is listed and some of its files are
    opened; what is absent or closed to us answers too. Only `wait` waits.
    """

    def __init__(self, paths: Sequence[str], seconds: float = PROBE_SECONDS) -> None:
        self._end = time.monotonic() + seconds
        self._is_killed = False
        command = [sys.executable, "-I", "-S", "-c", _PROBE, *paths]
        null = subprocess.DEVNULL
        self._child = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)

    def poll(self) -> Reached:
        """How the look goes. A child that even SIGKILL does not end is `waiting` until it is gone."""
        if self._child.poll() is not None:
            return "hangs" if self._is_killed else "reached"
        if not self._is_killed and time.monotonic() >= self._end:
            self.close()
        return "waiting"

    def wait(self) -> Reached:
        """Wait for the answer, no longer than the probe's time and a little for its end."""
        try:
            self._child.wait(max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.close()
            return "hangs"
        return self.poll()

    def close(self) -> None:
        """Kill the child; `poll` collects it."""
        self._is_killed = self._child.poll() is None
        if self._is_killed:
            self._child.kill()


def probe_hangs(paths: Sequence[str], seconds: float = PROBE_SECONDS) -> bool:
    """Whether paths do not answer within some seconds, before a thread of this process is lost to them."""
    return bool(paths) and PathProbe(paths, seconds).wait() == "hangs"

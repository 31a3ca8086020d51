"""Runs one module of ours in a short child process, so that the memory it takes is given back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence

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


def end_children() -> None:
    """For a process that ends: kill the children that its threads wait for, and those that they would start yet.

    What runs apart is made so that the next run goes on from where this one was ended.
    """
    _ending.set()
    for child in list(_running):
        child.kill()

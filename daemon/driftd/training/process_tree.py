"""The processes of a job: kept together while it works, ended together, and ended with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Protocol

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int, by: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent ends; end at once when `parent` has ended already.

    Raises OSError when the kernel refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it ended before we asked, so no signal would ever come
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is out of reach.

    Raises OSError when the kernel refuses.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


_LAST_WORDS_SECONDS = 10.0  # for what is still in the pipe when all who wrote to it have ended
_SWEEPS = 200  # a family that forks as fast as it is killed is given up after so many


class Output(Protocol):
    """What a keeper does with the output of its worker."""

    def enter(self) -> None:
        """Called in the worker, before it works."""
        ...

    def watch(self, pipe: int, worker: int) -> None:
        """Read what the worker prints until all is read; called in a thread of the keeper, with the worker's pid."""
        ...

    def close(self) -> None:
        """Called in the keeper when the worker, and all that it started, has ended."""
        ...


def keep(parent: int, output: Output | None = None, streams: tuple[int, ...] = (1, 2)) -> None:
    """Fork: returns in the child, which does the work; the keeper stays behind and ends as the child ended.

    `parent` is the process that both must not outlive. With an `output`, what the child prints to `streams` goes there.
    """
    adopt_orphans()
    signal.signal(signal.SIGTERM, _abandon)
    die_with_parent(parent, by=signal.SIGTERM)
    keeper = os.getpid()
    reading, writing = (-1, -1) if output is None else os.pipe()
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent(keeper)
        if output is not None:
            os.close(reading)
            for stream in streams:
                os.dup2(writing, stream)
            os.close(writing)
            output.enter()
        return
    if output is None:
        _end_as(_await_worker(worker))
        return
    os.close(writing)
    watcher = threading.Thread(target=output.watch, args=(reading, worker), daemon=True)
    watcher.start()
    status = _await_worker(worker)
    watcher.join(_LAST_WORDS_SECONDS)
    output.close()
    _end_as(status)


def end_below(pid: int) -> None:
    """Kill all that descends from a process, again and again until nothing is left to fork anew."""
    for _ in range(_SWEEPS):
        below = descendants(pid)
        if not below:
            return
        for child in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def descendants(pid: int) -> list[int]:
    """The living processes below a process, by /proc."""
    parents: dict[int, int] = {}
    dead: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                parents[int(entry.name)] = int(parent)
                if state in "ZX":
                    dead.add(int(entry.name))
    found: list[int] = []
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found.extend(frontier - dead)
    return found


def _abandon(_caught: int, _frame: FrameType | None) -> None:
    end_below(os.getpid())
    os._exit(0)


def _await_worker(worker: int) -> int:
    """Wait for the worker, and bury every orphan that ends meanwhile. Returns the worker's wait status."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == worker:
            end_below(os.getpid())
            return status


def _end_as(status: int) -> None:
    """End with the exit code or by the signal of the worker, so that whoever waits for the keeper learns it."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler to take back
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    os._exit(1)


_NOT_STARTED = 127  # the exit code by which a shell says that there is no such program


def _become(command: list[str]) -> None:
    """Replace this process by a program; where it cannot be started, say why and end."""
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command is the one that the operator configured
    except OSError as error:
        where = "" if os.sep in command[0] else " on the PATH of driftd"
        sys.stderr.write(f"the program {command[0]!r} cannot be started{where}: {error.strerror}\n")
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    _become(sys.argv[2:])

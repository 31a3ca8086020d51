"""One daemon a state directory: a file lock that the kernel lets go of when its holder dies, however that happens."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 5.0  # seconds that a predecessor, told to stop or just killed, may take to let go
_LOOK = 0.05


class StateInUseError(Exception):
    """Another process owns the state directory; the message says which and what to do."""

    plain = True


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a state directory: a process, what it does there, and since when (epoch seconds)."""

    pid: int
    task: str
    since: float


@contextmanager
def held(path: Path, task: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Own a state directory by the lock file at `path`, for as long as the block lasts.

    The file stays when the lock goes: removing it would let two processes each lock a file of their own. Raises
    StateInUseError when somebody else still has it after `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if not _locked(descriptor, patience):
            raise StateInUseError(_in_use(path))
        told = {"pid": os.getpid(), "task": task, "since": time.time()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(told).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> Holder | None:
    """Who holds the lock now; None when nobody does. Takes nothing away from whoever tries at the same moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _locked(descriptor, 0.0, fcntl.LOCK_SH):
            return None
        told = _told(os.pread(descriptor, 4096, 0))
        return Holder(int(told.get("pid", 0)), str(told.get("task", "driftd")), float(told.get("since", 0.0)))
    finally:
        os.close(descriptor)


def _locked(descriptor: int, patience: float, kind: int = fcntl.LOCK_EX) -> bool:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_LOOK)
        else:
            return True


def _in_use(path: Path) -> str:
    found = holder(path)
    who = f"{found.task} (process {found.pid})" if found is not None and found.pid else "another process"
    return (
        f"{path.parent} is in use by {who}: one daemon at a time works on a state directory. "
        "Stop the other one first (systemctl stop driftd), or give this one a state_dir of its own."
    )


def _told(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except ValueError:
        return {}  # its holder has the lock, but has not written its name yet
    return told if isinstance(told, dict) else {}

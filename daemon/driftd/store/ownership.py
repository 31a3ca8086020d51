"""Who owns a state directory: the user that its files belong to, and the one daemon that holds its lock."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftd.errors import DriftdError
from driftd.paths import Places

OTHERS = 0o007  # who is neither the owner nor of the group has no business in a state
_FIRST_PERSON = 1000  # numbers of users below it are those of services (login.defs, sysusers.d)


class ForeignStateError(DriftdError):
    """A state directory of another user, in which this one must not make anything; the message says what to run."""


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """Work as the owner of an existing folder, where root does; children that are started inside stay that user.

    Raises ForeignStateError when the folder belongs to another user and this one is not root.
    """
    if not folder.exists() or folder.stat().st_uid == os.geteuid():
        yield
        return
    found = folder.stat()
    if os.geteuid() != 0:
        name = name_of(found.st_uid)
        raise ForeignStateError(
            f"{folder} belongs to {name}, and so must all that is made in it: run this as `sudo -u {name} driftd ...`, "
            f"or with sudo alone (root works as {name} there)"
        )
    with _work_as(found.st_uid, found.st_gid, 0o777 & ~found.st_mode):
        yield


@contextmanager
def rather_as_owner(places: Places) -> Iterator[None]:
    """For what reads, or asks: root works as the user whose `state.db` it is, everybody else as who they are.

    Even a reader leaves files behind (SQLite's index of a log, the catalogue of a folder of logs), and a file of root's
    is one that the daemon cannot write. Where root has a part in the state, it goes on as root. Members of the state's
    group may read and ask, so they are let through.
    """
    if os.geteuid() != 0:
        yield
        return
    found = [path.stat() for path in (places.root, places.state_db) if path.exists()]
    if not found or any(status.st_uid == 0 for status in found):
        yield
        return
    with _work_as(found[-1].st_uid, found[-1].st_gid, 0o777 & ~found[0].st_mode):
        yield


def command_for(folder: Path, command: str) -> str:
    """A command line of driftd's that a person at this host can type as it stands, whoever they are."""
    try:
        owner = folder.stat().st_uid
    except OSError:
        return f"driftd {command}"
    asker = os.getresuid()[2]  # who this process is when it works as another for a while
    is_mine = owner == asker and not 0 < owner < _FIRST_PERSON
    name = name_of(owner)
    user = f"'#{name}'" if name.isdecimal() else name  # as sudo takes a number
    return f"driftd {command}" if is_mine else f"sudo -u {user} driftd {command}"


def name_of(user: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


@contextmanager
def close_to_others() -> Iterator[None]:
    """Make nothing that everybody may read: folders 0750 and files 0640 where the umask was 022."""
    umask = os.umask(0o077)
    os.umask(umask | OTHERS)
    try:
        yield
    finally:
        os.umask(umask)


@contextmanager
def _work_as(user: int, group: int, umask: int) -> Iterator[None]:
    groups, before = os.getgroups(), os.umask(umask | OTHERS)
    os.setgroups([group])
    os.setresgid(group, group, 0)
    os.setresuid(user, user, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
        os.umask(before)


PATIENCE = 5.0  # seconds that a predecessor, told to stop or just killed, may take to let go
_LOOK = 0.05


class StateInUseError(DriftdError):
    """Another process owns the state directory; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a state directory: a process, what it does there, and since when (epoch seconds)."""

    pid: int
    task: str
    since: float


@contextmanager
def hold_lock(path: Path, task: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Own a state directory by the lock file at `path`, for as long as the block lasts.

    The file stays when the lock goes: removing it would let two processes each lock a file of their own. Raises
    StateInUseError when somebody else still has it after `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        if not _lock(descriptor, patience):
            raise StateInUseError(_in_use(path))
        entry = {"pid": os.getpid(), "task": task, "since": time.time()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(entry).encode(), 0)
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
        if _lock(descriptor, 0.0, fcntl.LOCK_SH):
            return None
        return _parse_holder(os.pread(descriptor, 4096, 0))
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float, kind: int = fcntl.LOCK_EX) -> bool:
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


def _parse_holder(content: bytes) -> Holder:
    try:
        entry = json.loads(content)
    except ValueError:
        entry = None  # its holder has the lock, but has not written its name yet
    entry = entry if isinstance(entry, dict) else {}
    return Holder(int(entry.get("pid", 0)), str(entry.get("task", "driftd")), float(entry.get("since", 0.0)))

"""Files that survive a crash: hashing them, forcing them to the disk, replacing them in one step."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk: what makes a rename survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force everything below a folder, and the folder itself, to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds before the folder
        if not path.is_symlink():  # a link is an entry of its folder
            sync(path)
    sync(folder)


STAGED = ".staged-"
_YOUNG, _DAY = 60.0, 86_400.0  # seconds


def make_staging(parent: Path) -> Path:
    """An empty folder, invisible to readers, to fill and to rename; its name says which process does."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent, prefix=f"{STAGED}{os.getpid()}-"))


def sweep_staging(parent: Path, now: float) -> list[Path]:
    """Remove the staging folders below a folder whose process has ended without renaming them; returns them.

    What is younger than a minute stays, and for a day what names no process of this host.
    """
    left = []
    for path in parent.glob(f"{STAGED}*"):
        owner = path.name.removeprefix(STAGED).split("-")[0]
        with contextlib.suppress(FileNotFoundError):
            age = now - path.stat().st_mtime
            is_alive = owner.isdecimal() and Path("/proc", owner).exists()
            if not is_alive and age > (_YOUNG if owner.isdecimal() else _DAY):
                shutil.rmtree(path, ignore_errors=True)
                left.append(path)
    return left


@contextmanager
def hold_in_use(folder: Path) -> Iterator[None]:
    """Keep retention away from what is in a folder, for as long as another process than the daemon reads it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_in_use(path: Path) -> bool:
    """Whether another process holds a lock on a folder (see `hold_in_use`) or a file; no for what is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file's content in one step: a temporary neighbour, synced, renamed over it, the folder synced."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o640)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)

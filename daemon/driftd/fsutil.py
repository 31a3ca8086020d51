"""Files that survive a crash: hashing them, forcing them to the disk, replacing them in one step."""

from __future__ import annotations

import hashlib
import os
import tempfile
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

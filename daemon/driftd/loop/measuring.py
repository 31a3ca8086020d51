"""How much room there is, and what takes it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from driftd.places import Places

FOLDERS = {"events": "events", "models": "versions", "snapshots": "snapshots", "jobs": "jobs", "reports": "reports"}


def room(places: Places) -> tuple[int, int]:
    """Free bytes for driftd and the size of the file system of `state_dir`. Raises OSError when it cannot be asked."""
    asked = os.statvfs(places.root)
    return asked.f_bavail * asked.f_frsize, asked.f_blocks * asked.f_frsize


def sizes(places: Places) -> dict[str, int]:
    """Bytes on disk of each part of `state_dir`; `state` is everything that is in none of the folders."""
    found = dict.fromkeys(["state", *FOLDERS.values()], 0)
    with contextlib.suppress(FileNotFoundError):
        for path in places.root.iterdir():
            found[FOLDERS.get(path.name, "state")] += taken(path)
    return found


def taken(path: Path) -> int:
    """Bytes on disk of a file or a folder with all that is in it; what vanishes meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        total += path.lstat().st_blocks * 512
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
            total += sum(taken(Path(entry.path)) for entry in entries)
    return total

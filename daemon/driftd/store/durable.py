"""Forcing files and folders to the disk."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk: what makes a rename survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force everything below a folder, and the folder itself, to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds before the folder
        sync(path)
    sync(folder)

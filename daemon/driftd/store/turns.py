"""Writers of an events database take turns with whoever replaces the file, so that no event goes into a removed one.

Any number of writers may be at it at once; a restore waits for those under way (milliseconds), holds new ones up while
it renames, and lets them go on. What they then find is another file, and they open it anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """One process's place in the line of an events database. One thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        gate = path.with_name(f"{path.name}.gate")
        self._descriptor = os.open(gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write; waits while the file is being replaced."""
        yield from self._held(fcntl.LOCK_SH)

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Replace the file; waits for the writes under way."""
        yield from self._held(fcntl.LOCK_EX)

    def close(self) -> None:
        """Leave the line."""
        os.close(self._descriptor)

    def _held(self, kind: int) -> Iterator[None]:
        fcntl.flock(self._descriptor, kind)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

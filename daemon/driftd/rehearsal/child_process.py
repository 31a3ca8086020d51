"""A process of a rehearsal: it finds its order in a folder, leaves its progress and its result there, and can be ended.

The order and the result are files, so that a process that ends badly leaves nothing that looks like a result.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from driftd.errors import DriftdError

PROGRESS, LOG = "progress", "process.log"


class RehearsalError(DriftdError):
    """A rehearsal cannot go on; the message says why and what to do."""


class ChildProcess:
    """A module that runs as a process of its own; it dies with this one."""

    def __init__(self, module: str, folder: Path) -> None:
        """Start it on what lies in `folder`. The thread that starts it must live on."""
        self._folder = folder
        (folder / PROGRESS).unlink(missing_ok=True)
        with (folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,  # Ctrl-C ends the parent, which ends this one
            )

    def progress(self) -> float:
        """The share of the work that is done, from 0 to 1."""
        if self._process.poll() == 0:
            return 1.0
        with contextlib.suppress(FileNotFoundError, ValueError):
            return float((self._folder / PROGRESS).read_text())
        return 0.0

    def is_done(self) -> bool:
        """Whether it has ended well. Raises RehearsalError when it ended otherwise."""
        code = self._process.poll()
        if code is None:
            return False
        if code != 0:
            log = (self._folder / LOG).read_text(errors="replace").strip()
            last = log.rpartition("\n")[2]
            raise RehearsalError(f"{self._folder.name} ended with exit code {code}: {last}\n{log[-1500:]}")
        return True

    def kill(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def write_progress(folder: Path, share: float) -> None:
    """Say how much is done, from 0 to 1; a reader never sees half a number."""
    unfinished = folder / f".{PROGRESS}"
    unfinished.write_text(f"{share:.4f}")
    unfinished.replace(folder / PROGRESS)


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}

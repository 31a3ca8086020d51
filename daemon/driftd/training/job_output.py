"""What a job writes, within bounds: its log in two files, its scratch folder in bytes. Standard library only."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOG, LOG_BEFORE = "log.txt", "log.before.txt"
SCRATCH = "scratch"
LOG_BYTES = 8 << 20  # of each of the two files: the older one goes when the newer one is full
_PIECE = 1 << 16
_LOOK_SECONDS = 2.0
_LONGEST_TEMPORARY = 70  # characters: sockets below a longer TMPDIR would have names that the kernel refuses


class BoundedLog:
    """A log that a pipe is written to; the two newest pieces of it stay. A full disk loses words, not the job."""

    def __init__(self, folder: Path, most: int = LOG_BYTES) -> None:
        self._path = folder / LOG
        self._before = folder / LOG_BEFORE
        self._most = most
        self._open()

    def write(self, piece: bytes) -> None:
        """Append some bytes."""
        with contextlib.suppress(OSError):
            if self._size and self._size + len(piece) > self._most:
                os.close(self._file)
                self._path.replace(self._before)
                self._open()
            self._size += os.write(self._file, piece)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size


class JobOutput:
    """The output of a worker, as its keeper sees it."""

    def __init__(self, folder: Path, most_bytes: int | None, fail: Callable[[str], None]) -> None:
        """`fail` is told why the job is ended, where its scratch folder takes more than `most_bytes`."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._fail = fail

    def enter(self) -> None:
        """In the worker: have temporary files made in the job's own folder, where a sweep finds what a kill left."""
        scratch = (self._folder / SCRATCH).absolute()
        scratch.mkdir(mode=0o700, exist_ok=True)
        os.environ["DRIFTD_SCRATCH"] = str(scratch)
        if len(str(scratch)) <= _LONGEST_TEMPORARY:
            os.environ["TMPDIR"] = str(scratch)

    def watch(self, pipe: int, worker: int) -> None:
        """In the keeper: write the log until nobody has the other end of the pipe, and bound the scratch folder."""
        log = BoundedLog(self._folder)
        look_at = time.monotonic() + _LOOK_SECONDS
        with os.fdopen(pipe, "rb", buffering=0) as stream:
            while True:
                has_piece = select.select([stream], [], [], max(0.0, look_at - time.monotonic()))[0]
                if time.monotonic() >= look_at:  # also of a worker that prints without a pause
                    self._end_if_too_large(worker)
                    look_at = time.monotonic() + _LOOK_SECONDS
                if not has_piece:
                    continue
                piece = stream.read(_PIECE)
                if not piece:
                    break
                log.write(piece)
        log.close()

    def close(self) -> None:
        """In the keeper, when all has ended: nothing stays of the scratch folder."""
        shutil.rmtree(self._folder / SCRATCH, ignore_errors=True)

    def _end_if_too_large(self, worker: int) -> None:
        if self._most_bytes is None or (taken := bytes_below(self._folder / SCRATCH)) <= self._most_bytes:
            return
        self._fail(
            f"its temporary files took {taken:,} bytes, more than limits.disk allows ({self._most_bytes:,}): raise it, "
            "or have the trainer write less"
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def drop_scratch(folder: Path) -> None:
    """Have the scratch folder of a job that was killed go, off this thread: it may hold a million files."""
    gone = folder / f"{SCRATCH}.{time.monotonic_ns()}"  # a name that no further try of the job uses
    with contextlib.suppress(OSError):
        (folder / SCRATCH).rename(gone)
        threading.Thread(target=shutil.rmtree, args=(gone,), kwargs={"ignore_errors": True}, daemon=True).start()


def bytes_below(folder: Path) -> int:
    """Bytes on disk of all that is in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118 - many files
    return total

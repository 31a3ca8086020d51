"""The daemon's side of the helper process: asks, waits a limited time, ends it when it hangs, starts it anew."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog
from numpy.typing import NDArray

from driftd.errors import DriftdError
from driftd.records import Window
from driftd.training.job_output import LOG, SCRATCH
from driftd.training.jobs import JobLimits, job_environment, kill_family
from driftd_detectors.serialization import pack, unpack

log = structlog.get_logger()

CLOSE_SECONDS = 5.0  # that the end of a child waits for the thread that asks it
LOAD_SECONDS = 120.0  # for importing what a function needs, once for each helper
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0  # seconds before a function that hung or crashed is asked again
_HEAD = 8  # bytes of a message's length
_PIECE = 1 << 16
_WAKE_SECONDS = 1.0  # how often a waiting main loop says that it is alive


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """To import what a function needs, before it is asked: a library may take longer to import than a score to make."""

    use: str


class LossRequest(msgspec.Struct, frozen=True, kw_only=True, tag="losses"):
    """For the losses of rows; the arrays `label`, `prediction`, `score`, `label_at` come along as in `Outcomes`."""

    use: str
    classes: tuple[str, ...]
    unseen: tuple[str, ...]


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True, tag="scores"):
    """For a detector's score of a window; without a window for those of the reference's own windows."""

    use: str
    columns: tuple[str, ...]
    parameters: dict[str, object]
    model: str
    model_config: dict[str, object]
    state_dir: str
    version: int
    window: Window | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back, beside the arrays: a score, or why there is none."""

    error: str = ""
    score: float | None = None


Arrays = Mapping[str, NDArray[Any]]


class HelperError(DriftdError):
    """A function of the user gave no answer; the message says why."""


@dataclass(slots=True)
class HelperProcess:
    """One long-lived child in which the user's metrics and detectors run, for all models.

    Start it from a thread that lives as long as its process: it dies with the thread that started it. `waiting` is
    called during every wait by the caller's thread; what it raises ends the wait.
    """

    folder: Path  # for its log
    limits: JobLimits
    waiting: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[bytes] | None = None
    _loaded: set[str] = field(default_factory=set)  # functions that the child has imported
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)  # how often in a row, and when to ask again

    @property
    def pid(self) -> int | None:
        """The process id of the child; None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the child unless it runs. Raises OSError when none can be started."""
        with self._alone():
            if self._process is None or self._process.poll() is not None:
                self._close()
                self._begin()

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)  # of one that was killed
        arguments = [str(os.getpid()), json.dumps(self.limits.to_dict()), str(self.folder)]
        with (self.folder / LOG).open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "driftd.plugins.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=job_environment(self.limits),
                start_new_session=True,
                bufsize=0,
            )
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # both are pipes
            os.set_blocking(pipe.fileno(), False)
        log.info("helper_started", pid=self._process.pid)

    def ask(self, request: LossRequest | ScoreRequest, arrays: Arrays, seconds: float) -> tuple[Answer, Arrays]:
        """The answer to a request.

        Raises HelperError when the function fails, when there is no answer in time (then the child is ended), when the
        child ends, or when it did so lately and the wait is not over.
        """
        with self._alone():
            return self._ask(request, arrays, seconds)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread at a time: those of several models' sources may ask at once."""
        while not self._lock.acquire(timeout=_WAKE_SECONDS):
            self.waiting()
        try:
            yield
        finally:
            self._lock.release()

    def _ask(self, request: LossRequest | ScoreRequest, arrays: Arrays, seconds: float) -> tuple[Answer, Arrays]:
        use = request.use
        count, not_before = self._failures.get(use, (0, 0.0))
        left = not_before - time.monotonic()
        if left > 0:
            raise HelperError(f"{use} hung or crashed {count} times in a row; it is asked again in {left:.0f} s")
        if self._process is None or self._process.poll() is not None:
            raise HelperError("the helper process does not run")
        if use not in self._loaded:
            self._answer(LoadRequest(use=use), {}, LOAD_SECONDS, count)
            self._loaded.add(use)
        found = self._answer(request, arrays, seconds, count)
        self._failures.pop(use, None)
        return found

    def _answer(
        self, request: LoadRequest | LossRequest | ScoreRequest, arrays: Arrays, seconds: float, count: int
    ) -> tuple[Answer, Arrays]:
        """One request and its answer; `count` failures of the function came before."""
        message = pack(msgspec.to_builtins(request), arrays)
        try:
            answer = self._exchange(len(message).to_bytes(_HEAD, "big") + message, time.monotonic() + seconds)
        except (TimeoutError, OSError) as error:
            self._give_up(request.use, count + 1, error)
            late = isinstance(error, TimeoutError)
            why = f"gave no answer within {seconds:.0f} s" if late else "crashed the helper process"
            raise HelperError(f"{request.use} {why}; see {self.folder / 'log.txt'}") from error
        values, found = unpack(answer)
        said = msgspec.convert(values, Answer)
        if said.error:
            raise HelperError(said.error)
        return said, found

    def close(self) -> None:
        """End the child and all that it started; whoever waits for its answer is told so."""
        process = self._process
        if process is not None and process.returncode is None:
            kill_family(process.pid)
        is_alone = self._lock.acquire(timeout=CLOSE_SECONDS)
        self._close()
        if is_alone:
            self._lock.release()

    def _close(self) -> None:
        self._loaded.clear()
        if self._process is None:
            return
        if self._process.returncode is None:
            kill_family(self._process.pid)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def _give_up(self, use: str, count: int, error: Exception) -> None:
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (count - 1))
        self._failures[use] = count, time.monotonic() + wait
        log.warning("helper_ended", function=use, error=str(error), again_in_seconds=wait)
        self._close()

    def _exchange(self, request: bytes, end: float) -> bytes:
        """Write a request, then read the answer. Raises TimeoutError, and OSError when the child is gone."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None  # noqa: PT018 - started
        rest = memoryview(request)
        while rest:
            self._await(process.stdin.fileno(), end, write=True)
            rest = rest[os.write(process.stdin.fileno(), rest[:_PIECE]) :]
        answer = bytearray()
        while len(answer) < _HEAD or len(answer) < _HEAD + int.from_bytes(answer[:_HEAD], "big"):
            self._await(process.stdout.fileno(), end, write=False)
            piece = os.read(process.stdout.fileno(), _PIECE)
            if not piece:
                raise ConnectionResetError("the helper process ended")
            answer += piece
        return bytes(answer[_HEAD:])

    def _await(self, pipe: int, end: float, *, write: bool) -> None:
        poll = select.poll()
        poll.register(pipe, select.POLLOUT if write else select.POLLIN)
        while not poll.poll(1000 * max(0.0, min(_WAKE_SECONDS, end - time.monotonic()))):
            if time.monotonic() >= end:
                raise TimeoutError("no answer in time")
            self.waiting()

"""Limits the time of everything that reads from a source, so that one hanging source never stops the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from driftd.errors import DriftdError
from driftd.store.integrity import is_damage

P = ParamSpec("P")
R = TypeVar("R")

WAKE_SECONDS = 1.0  # how often a waiting main loop says that it is alive


class SourceHangsError(DriftdError):
    """A source did not answer in time; its thread is left behind and the source is opened anew."""


class SourceDamagedError(DriftdError):
    """The database that a source reads is damaged; the message is SQLite's."""


class TimeoutWorker:
    """One worker thread, in which all reading of one source happens; replaced when it hangs.

    A thread cannot be killed: the abandoned one is a daemon thread and ends when its read does. `waiting` is called
    before and during every wait, by the caller's own thread; what it raises ends the wait.
    """

    def __init__(self, name: str, seconds: float, waiting: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._seconds = seconds
        self._waiting = waiting
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._start()

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the worker thread; its exceptions come out here.

        Raises SourceHangsError when it has not returned within the limit, SourceDamagedError when what it read from is
        broken (every further look would be wasted, and its verdict wrong), and whatever `waiting` raises.
        """
        self._waiting()
        done = threading.Event()
        result: list[R] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                result.append(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - handed to the caller, not swallowed
                errors.append(error)
            done.set()

        self._work.put(work)
        if not self._wait(done):
            self._start()
            raise SourceHangsError(
                f"the source of {self._name} did not answer within {self._seconds:.0f} s: look whether its files or "
                "database can be reached, or raise limits.check_timeout"
            )
        if errors and is_damage(errors[0]):
            raise SourceDamagedError(str(errors[0])) from errors[0]
        if errors:
            raise errors[0]
        return result[0]

    def _wait(self, done: threading.Event) -> bool:
        end = time.monotonic() + self._seconds
        while not done.wait(max(0.0, min(WAKE_SECONDS, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
            self._waiting()
        return True

    def close(self) -> None:
        """Let the worker thread end."""
        self._work.put(None)

    def _start(self) -> None:
        self._work = SimpleQueue()
        threading.Thread(target=self._serve, args=(self._work,), name=f"source-{self._name}", daemon=True).start()

    @staticmethod
    def _serve(work: SimpleQueue[Callable[[], None] | None]) -> None:
        while (call := work.get()) is not None:
            call()

"""Signs of life and the status line for the service manager, a log that repeats no failure, a time limit on sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from driftd.errors import DriftdError
from driftd.observe.systemd import ServiceManager
from driftd.records import ModelState
from driftd.store.integrity import is_damage
from driftd_detectors.assessment import LatestVerdicts

APART_SECONDS = 60.0


@dataclass(slots=True)
class LogThrottle:
    """What was told when, and how many of each kind were kept back since."""

    apart: float = APART_SECONDS
    _told_at: dict[tuple[str, ...], float] = field(default_factory=dict)
    _kept_back: dict[tuple[str, ...], int] = field(default_factory=dict)

    def due(self, *kind: str, now: float) -> int | None:
        """Whether one more of a kind is to be told: then how many before it were kept back, else None.

        A clock that was set back keeps nothing back.
        """
        told_at = self._told_at.get(kind)
        if told_at is not None and 0 <= now - told_at < self.apart:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return None
        self._told_at[kind] = now
        return self._kept_back.pop(kind, 0)


class StopAskedError(BaseException):
    """The main loop was told to stop while it waited. No Exception: nothing that handles failures may hold it up."""


STANDSTILL_SECONDS = 120.0  # as WatchdogSec of the unit: longer without a sign of life, and the main loop hangs


@dataclass(slots=True)
class Service:
    """The process as its manager sees it."""

    manager: ServiceManager = field(default_factory=ServiceManager)
    stop_asked: str | None = None  # why; set by a signal handler
    alive_at: float = field(default_factory=time.monotonic)  # the last sign of life, by the monotonic clock

    def alive(self) -> None:
        """Say that the main loop turns; call it only where nothing is half done.

        Raises StopAskedError when the process was told to stop.
        """
        self.alive_at = time.monotonic()
        self.manager.alive()
        if self.stop_asked is not None:
            raise StopAskedError(self.stop_asked)

    def standstill(self) -> str | None:
        """Why the process is not healthy: the main loop gave no sign of life for long. None while it moves."""
        seconds = time.monotonic() - self.alive_at
        if seconds < STANDSTILL_SECONDS:
            return None
        return f"the main loop has not moved for {seconds:.0f} s: systemctl restart driftd, and keep the log"


def status_line(
    states: Iterable[tuple[ModelState, LatestVerdicts]], obstacles: Mapping[str, str], refusal: str | None
) -> str:
    """Phase and last verdict of each model, after what needs a person; short, for `systemctl status`.

    `states` has what the last checks of each model concluded; `obstacles` says why a model is not under watch;
    `refusal` why the config on disk is not in force.
    """
    sentences = [f"config refused, the one before is in force: {refusal}"] if refusal is not None else []
    sentences += [f"{model} not watched: {reason}" for model, reason in obstacles.items()]
    sentences += [_standing(state, verdicts) for state, verdicts in states]
    return "; ".join(sentences) or "no models in the config"


def _standing(state: ModelState, verdicts: LatestVerdicts) -> str:
    verdict = verdicts.overall or "not checked yet"
    blocked = " blocked" if state.blocked is not None else ""
    return f"{state.model} v{state.champion} {state.phase} {verdict}{blocked}"


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

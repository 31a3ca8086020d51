"""Signs of life and the status line for the service manager, a log that repeats no failure, a time limit on sources."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import NoReturn, ParamSpec, TypeVar, cast

import structlog

from driftd.errors import DriftdError
from driftd.formatting import format_duration
from driftd.observe.systemd import ServiceManager
from driftd.records import ModelState
from driftd.sources.engines.protocol import EngineError
from driftd.sources.file_system import StoreAwayError
from driftd.store.integrity import is_damage
from driftd.store.subprocesses import PathProbe
from driftd_detectors.assessment import LatestVerdicts

log = structlog.get_logger()

APART_SECONDS = 60.0
MOST_LISTED = 12  # models; of more, the status line has counts
_NAMED = 3


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


def describe_faults(faults: Mapping[str, str], models: int) -> str:
    """Which of so many models fail, and why the first of them, in one sentence. `faults` has one at least."""
    names = sorted(faults)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    named = ", ".join(names[:_NAMED])
    return f"{len(names)} of {models} models fail ({named}{more}); {names[0]}: {faults[names[0]]}"


def status_line(
    states: Sequence[tuple[ModelState, LatestVerdicts]], obstacles: Mapping[str, str], refusal: str | None
) -> str:
    """Phase and last verdict of each model, after what needs a person; short, for `systemctl status`.

    `states` has what the last checks of each model concluded; `obstacles` says why a model is not under watch;
    `refusal` why the config on disk is not in force. Of many models there are counts.
    """
    sentences = [f"config refused, the one before is in force: {refusal}"] if refusal is not None else []
    sentences += [f"{model} not watched: {reason}" for model, reason in list(obstacles.items())[:MOST_LISTED]]
    if len(obstacles) > MOST_LISTED:
        sentences.append(f"{len(obstacles) - MOST_LISTED} more are not watched")
    standings = [_standing(state, verdicts) for state, verdicts in states]
    if len(standings) > MOST_LISTED:
        counts = Counter(standings).most_common()
        sentences += [f"{number} of {len(standings)} models {how}" for how, number in counts]
    else:
        named = [f"{state.model} v{state.champion}" for state, _ in states]
        sentences += [f"{name} {how}" for name, how in zip(named, standings, strict=True)]
    return "; ".join(sentences) or "no models in the config"


def _standing(state: ModelState, verdicts: LatestVerdicts) -> str:
    verdict = verdicts.overall or "not checked yet"
    blocked = " blocked" if state.blocked is not None else ""
    return f"{state.phase} {verdict}{blocked}"


P = ParamSpec("P")
R = TypeVar("R")

WAKE_SECONDS = 1.0  # how often a waiting main loop says that it is alive
KEPT_SECONDS = 60.0  # beyond the time of a call: an answer that nobody has asked for by then is too old
FIRST_LOOK, LONGEST_LOOK, MOST_DOUBLINGS = 15.0, 600.0, 10  # seconds from a hang to the next look; doubles each time


class SourceUnansweredError(DriftdError):
    """A source has not answered yet: nothing is known of it just now, and the others are not kept waiting."""


class SourceBusyError(SourceUnansweredError):
    """A source is still at work on what it was asked; the answer is there for a later round."""


class SourceHangsError(SourceUnansweredError):
    """A source did not answer in time. It is not asked again before its thread is back or its paths answer."""


class SourceRefusesError(SourceHangsError):
    """An engine or a store gives no rows: it is away, a right is missing, a query takes too long or is too dear.

    No verdict follows from that. The windows wait, as for a source that hangs, and the next round asks again.
    """


class SourceDamagedError(DriftdError):
    """The database that a source reads is damaged; the message is SQLite's."""


@dataclass(slots=True)
class _Call:
    """One call of a source in the worker thread, and what came of it."""

    key: Hashable
    function: Callable[[], object]
    finished: Callable[[], None]  # called at the end where nobody waits for it any more
    began: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    results: list[object] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    is_left: bool = False  # whoever asked went on meanwhile
    took: float = 0.0  # seconds

    def make(self) -> None:
        """Call the function."""
        try:
            self.results.append(self.function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, not swallowed
            self.errors.append(error)
        self.took = time.monotonic() - self.began

    def end(self) -> None:
        """Tell those who wait, or who went on."""
        self.done.set()
        if self.is_left:
            self.finished()

    def outcome(self) -> object:
        """What the function returned; raises what it raised, or SourceDamagedError or SourceRefusesError."""
        if self.errors and is_damage(self.errors[0]):
            raise SourceDamagedError(str(self.errors[0])) from self.errors[0]
        if self.errors and isinstance(self.errors[0], EngineError | StoreAwayError):
            raise SourceRefusesError(str(self.errors[0])) from self.errors[0]
        if self.errors:
            raise self.errors[0]
        return self.results[0]


class _Threads:
    """The threads in which sources are read: one for each call under way, of any source; one more waits for the next.

    A call that hangs keeps its thread; the others go on in other ones.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: SimpleQueue[_Call] | None = None  # of the thread that waits

    def take_up(self, call: _Call) -> None:
        """Have a call made. Raises RuntimeError when no thread can be started."""
        with self._lock:
            work, self._idle = self._idle, None
        if work is None:
            work = SimpleQueue()
            threading.Thread(target=self._serve, args=(work,), name="source", daemon=True).start()
        work.put(call)

    def _serve(self, work: SimpleQueue[_Call]) -> None:
        goes_on = True
        while goes_on:
            call = work.get()
            call.make()
            with self._lock:  # before the end is told: who makes the next call finds this thread
                goes_on = self._idle is None
                if goes_on:
                    self._idle = work
            call.end()
            del call  # with what it read


_threads = _Threads()


class TimeoutWorker:
    """Has all reading of one source happen in a thread that waits for it, one call at a time.

    A thread cannot be killed. When a call takes longer than `seconds` the source hangs: nothing is asked of it until
    the thread is back, or until a child process that can be killed has found that `paths` answer again; then another
    thread takes over (`generation` counts them, and the source must be opened anew). So one thread is lost to a source
    that hangs, and never a second one while the first may come back. A source at rest has none.

    Parameters
    ----------
    name
        The model, for messages.
    seconds
        The time that one call may take.
    waiting
        Called before and during every wait, by the caller's own thread; what it raises ends the wait.
    patience
        How long a caller waits for a call before it goes on without the answer (SourceBusyError); the call's whole
        time unless set.
    paths
        What the source reads from, for the look whether it answers again; without any, only its thread can tell.
    finished
        Called in the thread of a call when a call has ended that its caller did not wait for.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        waiting: Callable[[], None] = lambda: None,
        *,
        patience: float | None = None,
        paths: Sequence[str] = (),
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._waiting = waiting
        self._patience = seconds if patience is None else min(patience, seconds)
        self._paths = tuple(paths)
        self._finished = finished
        self._under_way: _Call | None = None
        self._kept: dict[Hashable, _Call] = {}  # that ended after their callers had gone on
        self._lost: _Call | None = None  # in whose thread nothing else can be done
        self._probe: PathProbe | None = None
        self._looks = 0
        self._next_look = 0.0
        self.generation = 0
        self.hangs = 0  # how often the source hung so far
        self.took = 0.0  # seconds, of the call whose answer was given last

    @property
    def is_under_way(self) -> bool:
        """Whether a call is not over."""
        return self._under_way is not None and not self._under_way.done.is_set()

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in a thread; see `resume`. An answer that comes later is lost."""
        return self.resume(object(), partial(function, *args, **kwargs))

    def resume(self, key: Hashable, function: Callable[[], R]) -> R:
        """Call a function in a thread; its exceptions come out here.

        The answer to a call that was left is given to whoever asks next with the same `key`, without a new call.
        Raises SourceBusyError, SourceHangsError, SourceDamagedError when what it read from is broken (every further
        look would be wasted, and its verdict wrong), and whatever `waiting` raises.
        """
        self._waiting()
        self._collect()
        if (kept := self._kept.pop(key, None)) is not None:
            return cast("R", self._answer(kept))
        if self._under_way is not None:
            self._raise_unanswered(self._under_way)
        call = _Call(key, function, self._finished)
        _threads.take_up(call)
        self._under_way = call
        if not self._wait(call):
            call.is_left = True
            self._raise_unanswered(call)
        self._under_way = None
        return cast("R", self._answer(call))

    def _answer(self, call: _Call) -> object:
        self.took = call.took
        return call.outcome()

    def close(self) -> None:
        """Let go of the source: late answers are lost. It may be called again."""
        self._kept.clear()
        if self._under_way is not None:
            self._under_way.key = object()  # that nobody asks for
        if self._probe is not None:
            self._probe.close()

    def _collect(self) -> None:
        """Keep the answer to a call that has ended since; of those that nobody has asked for, not for long."""
        call, now = self._under_way, time.monotonic()
        self._kept = {key: kept for key, kept in self._kept.items() if now - kept.began < KEPT_SECONDS + self._seconds}
        if call is None or not call.done.is_set():
            return
        self._under_way = None
        self._kept[call.key] = call
        if self._looks:
            log.info("source_answers_again", model=self._name, after_seconds=round(now - call.began, 1))
            self._end_looks()

    def _raise_unanswered(self, call: _Call) -> NoReturn:
        waited = time.monotonic() - call.began
        if waited < self._seconds - 1e-6:  # of a float's rounding
            raise SourceBusyError(f"the source of {self._name} is still being read, for {waited:.0f} s now")
        if not self._looks:
            self.hangs += 1
            log.warning("source_hangs", model=self._name, seconds=round(waited, 1), paths=list(self._paths))
            self._wait_for_look()
        elif self._is_reached():
            self._replace(call)
            raise SourceBusyError(f"the source of {self._name} answers again and is opened anew")
        raise SourceHangsError(
            f"the source of {self._name} has not answered for {format_duration(waited)}: look whether its files or "
            "database can be reached, or raise limits.check_timeout"
        )

    def _is_reached(self) -> bool:
        """Whether the paths answer, by a look every now and then. Never waits."""
        if self._lost is not None and not self._lost.done.is_set():
            return False  # a second thread would be lost beside the first
        if self._probe is None:
            if self._paths and time.monotonic() >= self._next_look:
                self._probe = PathProbe(self._paths)
            return False
        found = self._probe.poll()
        if found == "hangs":
            self._wait_for_look()
        return found == "reached"

    def _wait_for_look(self) -> None:
        self._probe = None
        self._next_look = time.monotonic() + min(LONGEST_LOOK, FIRST_LOOK * 2.0**self._looks)
        self._looks = min(self._looks + 1, MOST_DOUBLINGS)

    def _end_looks(self) -> None:
        if self._probe is not None:
            self._probe.close()
        self._probe, self._looks = None, 0

    def _replace(self, call: _Call) -> None:
        """Leave the thread that hangs, and go on with another one."""
        log.info("source_opened_anew", model=self._name, after_seconds=round(time.monotonic() - call.began, 1))
        self._lost, self._under_way = call, None
        self._kept.clear()
        self._end_looks()
        self.generation += 1

    def _wait(self, call: _Call) -> bool:
        end = call.began + self._patience
        while not call.done.wait(max(0.0, min(WAKE_SECONDS, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
            self._waiting()
        return True

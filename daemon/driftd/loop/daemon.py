"""The daemon: one inbox, one writer, a round over every model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from driftd.loop.watched import WatchedModel
from driftd.observe.metrics import Metrics
from driftd.store.state import StateStore

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The config may have changed. `answer`, if any, is called with None or with why it was refused."""

    answer: Callable[[str | None], None] | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End cleanly."""

    reason: str


Message = Tick | Reload | Stop


@dataclass(slots=True)
class Daemon:
    """Owns the state database and every model under watch; everybody else only posts messages."""

    store: StateStore
    metrics: Metrics
    models: dict[str, WatchedModel]
    reload: Callable[[], str | None]  # applies the config on disk; returns why it was refused, or None
    inbox: SimpleQueue[Message] = field(default_factory=SimpleQueue)
    stopping: str | None = None

    def run(self, now: Callable[[], float], idle_seconds: float = 5.0) -> None:
        """The main loop: take a message, act on it, until told to stop."""
        while self.stopping is None:
            self.handle(self._next(idle_seconds), now())
        self.close()

    def handle(self, message: Message, now: float) -> None:
        """Act on one message."""
        match message:
            case Tick():
                self.round(now)
            case Reload(answer):
                refusal = self.reload()
                if answer is not None:
                    answer(refusal)
            case Stop(reason):
                self.stopping = reason

    def round(self, now: float) -> bool:
        """Step every model once. True while one has more to check at this very moment."""
        behind = False
        for name, model in list(self.models.items()):
            try:
                behind = model.step(now) or behind
            except Exception as error:  # noqa: BLE001 - the loop boundary: one model's failure never touches another
                self._failed(name, model, error)
        self.metrics.last_step.set(now)
        if behind:
            self.inbox.put(Tick())
        return behind

    def catch_up(self, now: float, patience: float = 600.0) -> None:
        """Step until nothing is due and no child works: how a virtual clock waits, in real time, for real work."""
        end = time.monotonic() + patience
        while self.round(now) or any(model.is_working for model in self.models.values()):
            if time.monotonic() > end:
                raise TimeoutError(f"work is still going on after {patience:.0f} s")
            if any(model.is_working for model in self.models.values()):
                time.sleep(0.02)

    def close(self) -> None:
        """Kill the children, close the store."""
        for model in self.models.values():
            model.close()
        self.store.close()
        log.info("stopped", reason=self.stopping)

    def _next(self, idle_seconds: float) -> Message:
        try:
            return self.inbox.get(timeout=idle_seconds)
        except Empty:
            return Tick()

    def _failed(self, name: str, model: WatchedModel, error: Exception) -> None:
        self.metrics.model_errors.labels(name).inc()
        model.standing = f"the last round failed: {type(error).__name__}: {error}"
        log.error("model_step_failed", model=name, error=str(error), kind=type(error).__name__, exc_info=True)

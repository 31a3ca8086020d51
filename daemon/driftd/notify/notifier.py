"""The notifier: a thread of its own that tells every receiver, each at its own pace. Nothing waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog

from driftd.config.receiver import Receiver
from driftd.notify.telling import Telling
from driftd.notify.trying import Pace
from driftd.observe.metrics import Metrics

log = structlog.get_logger()

__all__ = ["Notifier", "Pace"]

Found = TypeVar("Found")


class Resolvers(ThreadPoolExecutor):
    """Looks up each name in a thread of its own that nobody waits for.

    A name server that hangs holds up neither another receiver, as a full pool would, nor the end of the process.
    """

    def submit(self, fn: Callable[..., Found], /, *args: Any, **kwargs: Any) -> Future[Found]:
        """Call `fn` in a new thread."""
        future: Future[Found] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
                    future.set_exception(error)

        threading.Thread(target=work, name="notifier-name", daemon=True).start()
        return future


class Notifier:
    """Reads decisions from the state database and tells them; never writes.

    How far a receiver was told goes back by `confirm`, which posts it to the main loop. A crash between a delivery and
    its confirmation tells twice; nothing is lost.
    """

    def __init__(
        self,
        state_db: Path,
        confirm: Callable[[str, int], None],
        metrics: Metrics,
        now: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._state_db = state_db
        self._confirm = confirm
        self._metrics = metrics
        self._now = now
        self._pace = pace or Pace()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tellings: dict[str, tuple[Telling, asyncio.Task[None]]] = {}

    def apply(self, receivers: Mapping[str, Receiver]) -> None:
        """Tell exactly these receivers from now on; those that are as before are not disturbed.

        The thread begins with the first receiver: a daemon that tells nobody has none.
        """
        if self._thread is None:
            if not receivers:
                return
            self._begin()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._take_up, dict(receivers))

    def stop(self) -> None:
        """End within a few seconds; what was not told yet is told after the next start."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(self._pace.stop + 1.0)
        self._thread = None

    def _begin(self) -> None:
        begun = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(begun),), name="notifier", daemon=True)
        self._thread.start()
        begun.wait()

    async def _main(self, begun: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(Resolvers())
        self._ending = asyncio.Event()
        begun.set()
        await self._ending.wait()
        under_way = [task for telling, task in self._tellings.values() if telling.is_delivering]
        if under_way:
            await asyncio.wait(under_way, timeout=self._pace.stop)
        for name in list(self._tellings):
            self._drop(name)

    def _end(self) -> None:
        for telling, _ in self._tellings.values():
            telling.ending.set()
        self._ending.set()

    def _take_up(self, receivers: dict[str, Receiver]) -> None:
        told = {}  # a changed receiver goes on where it was, which the store may not know yet
        for name, (telling, _) in list(self._tellings.items()):
            if receivers.get(name) != telling.receiver:
                told[name] = self._drop(name)
        for name in self._metrics.receivers() - receivers.keys():
            self._metrics.remove_receiver(name)
        for name, receiver in receivers.items():
            if name not in self._tellings:
                self._take(name, receiver, told.get(name, -1))

    def _take(self, name: str, receiver: Receiver, until: int) -> None:
        self._metrics.add_receiver(name)
        telling = Telling(name, receiver, self._state_db, self._confirm, self._metrics, self._now, self._pace, until)
        self._tellings[name] = (telling, asyncio.get_running_loop().create_task(telling.run(), name=name))

    def _drop(self, name: str) -> int:
        telling, task = self._tellings.pop(name)
        telling.ending.set()
        task.cancel()
        return telling.until

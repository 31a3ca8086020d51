"""Delivers decisions to every receiver, in order, in a thread each, until each has taken them."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

from driftd.config.schema import Receiver
from driftd.decisions import is_wanted
from driftd.notify import channels
from driftd.notify.channels import DeliveryError, RetryPace
from driftd.notify.message import Message, message
from driftd.observe.metrics import Metrics
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredTransition

__all__ = ["Notifier", "RetryPace"]

log = structlog.get_logger()

DIGEST_OF = 5  # more than so many that wait are told as one
LATE = 3600.0  # seconds; so is what waits together since longer than that
READ_AT_ONCE = 1000


async def deliver(receiver: Receiver, message: Message) -> None:
    """Deliver one message by the receiver's way. Raises DeliveryError."""
    await (
        channels.run_command(receiver, message)
        if receiver.command is not None or receiver.plugin is not None
        else channels.post_webhook(receiver, message)
    )


def batches(waiting: list[StoredTransition], now: float) -> list[list[StoredTransition]]:
    """Each decision for itself, or all in one digest when they are many, or several and old."""
    old = len(waiting) > 1 and now - waiting[0].at > LATE
    return [waiting] if old or len(waiting) > DIGEST_OF else [[decision] for decision in waiting]


@dataclass(slots=True)
class ReceiverWorker:
    """One receiver and how far it has been told. Lives in the notifier's thread; only reads the store."""

    name: str
    receiver: Receiver
    state_db: Path
    confirm: Callable[[str, int], None]  # "this receiver was told of everything up to this transition"
    metrics: Metrics
    now: Callable[[], float]
    pace: RetryPace
    until: int = -1
    failures: int = 0
    is_delivering: bool = False
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: StateReader | None = None

    async def run(self) -> None:
        """Tell until told to end."""
        try:
            while not self.ending.is_set():
                await self._rest(await self._turn())
        finally:
            self._forget_reader()

    async def _turn(self) -> float:
        """Tell what waits; returns how long to rest."""
        try:
            if not self._pending_decisions():
                return self.pace.poll
            await self._rest(self.pace.settle)
            for batch in batches(self._pending_decisions(), self.now()):
                if self.ending.is_set():
                    break
                await self._tell(batch)
        except DeliveryError as error:
            return self._handle_failure(str(error), error.retry_after)
        except Exception as error:  # noqa: BLE001 - a loop boundary: one receiver's trouble never touches another
            self._forget_reader()
            return self._handle_failure(f"{type(error).__name__}: {error}", None)
        return 0.0 if self.ending.is_set() else min(self.pace.poll, 1.0)

    async def _tell(self, batch: list[StoredTransition]) -> None:
        self.is_delivering = True
        try:
            await deliver(self.receiver, message(self.name, batch))
        finally:
            self.is_delivering = False
        self.failures = 0
        self._note_delivery(batch[-1].id)
        self.metrics.record_notification(self.name, self.now())
        log.info(
            "notification_sent",
            receiver=self.name,
            transitions=[decision.id for decision in batch[:20]],
            count=len(batch),
        )

    def _handle_failure(self, sentence: str, retry_after: float | None) -> float:
        self.failures += 1
        pause = self.pace.pause(self.failures, random.random(), retry_after)  # noqa: S311 - to spread tries, not for secrecy
        self.metrics.count_failed_notification(self.name)
        log.warning(
            "notification_failed",
            receiver=self.name,
            error=sentence,
            failures=self.failures,
            next_try_seconds=round(pause, 1),
        )
        return pause

    def _pending_decisions(self) -> list[StoredTransition]:
        """What the receiver wants to know and does not yet, oldest first; passes over what it does not want."""
        if self._reader is None:
            self._reader = StateReader.read_only(self.state_db, lasts=True)
        if self.until < 0:
            known = self._reader.told_until(self.name)
            if known is None:  # the main loop could not put it into the store yet: where to begin is not known
                return []
            self.until = known
        wanted: list[StoredTransition] = []
        seen = self.until
        while found := self._reader.decided_after(seen, READ_AT_ONCE):
            seen = found[-1].id
            wanted += [decision for decision in found if self._wants(decision)]
        if not wanted and seen > self.until:
            self._note_delivery(seen)
        self.metrics.set_pending_notifications(self.name, len(wanted))
        return wanted

    def _wants(self, decision: StoredTransition) -> bool:
        models = self.receiver.models
        return (not models or decision.model in models) and is_wanted(decision.event, self.receiver.on)

    def _note_delivery(self, until: int) -> None:
        self.until = until
        self.confirm(self.name, until)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.ending.wait(), seconds)
        except TimeoutError:
            return

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


Found = TypeVar("Found")


class ThreadPerLookup(ThreadPoolExecutor):
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
        pace: RetryPace | None = None,
    ) -> None:
        self._state_db = state_db
        self._confirm = confirm
        self._metrics = metrics
        self._now = now
        self._pace = pace or RetryPace()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tellings: dict[str, tuple[ReceiverWorker, asyncio.Task[None]]] = {}

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
        self._loop.set_default_executor(ThreadPerLookup())
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
        positions = {}  # a changed receiver goes on where it was, which the store may not know yet
        for name, (telling, _) in list(self._tellings.items()):
            if receivers.get(name) != telling.receiver:
                positions[name] = self._drop(name)
        for name in self._metrics.receivers() - receivers.keys():
            self._metrics.remove_receiver(name)
        for name, receiver in receivers.items():
            if name not in self._tellings:
                self._take(name, receiver, positions.get(name, -1))

    def _take(self, name: str, receiver: Receiver, until: int) -> None:
        self._metrics.add_receiver(name)
        telling = ReceiverWorker(
            name, receiver, self._state_db, self._confirm, self._metrics, self._now, self._pace, until
        )
        self._tellings[name] = (telling, asyncio.get_running_loop().create_task(telling.run(), name=name))

    def _drop(self, name: str) -> int:
        telling, task = self._tellings.pop(name)
        telling.ending.set()
        task.cancel()
        return telling.until

"""Telling one receiver: what was decided since, in order, again and again until it has been taken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from driftd.config.receiver import Receiver
from driftd.notify import program, webhook
from driftd.notify.message import Message, message
from driftd.notify.trying import DeliveryError, Pace
from driftd.observe.metrics import Metrics
from driftd.severities import is_wanted
from driftd.store.state_reader import StateReader
from driftd.store.state_records import StoredTransition

log = structlog.get_logger()

DIGEST_OF = 5  # more than so many that wait are told as one
LATE = 3600.0  # seconds; so is what waits together since longer than that
READ_AT_ONCE = 1000


async def deliver(receiver: Receiver, told: Message) -> None:
    """Deliver one message by the receiver's way. Raises DeliveryError."""
    await (program.run(receiver, told) if receiver.command is not None else webhook.post(receiver, told))


def batches(waiting: list[StoredTransition], now: float) -> list[list[StoredTransition]]:
    """Each decision for itself, or all in one digest when they are many, or several and old."""
    old = len(waiting) > 1 and now - waiting[0].at > LATE
    return [waiting] if old or len(waiting) > DIGEST_OF else [[one] for one in waiting]


@dataclass(slots=True)
class Telling:
    """One receiver and how far it has been told. Lives in the notifier's thread; only reads the store."""

    name: str
    receiver: Receiver
    state_db: Path
    confirm: Callable[[str, int], None]  # "this receiver was told of everything up to this transition"
    metrics: Metrics
    now: Callable[[], float]
    pace: Pace
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
            if not self._waiting():
                return self.pace.poll
            await self._rest(self.pace.settle)
            for batch in batches(self._waiting(), self.now()):
                if self.ending.is_set():
                    break
                await self._tell(batch)
        except DeliveryError as error:
            return self._failed(str(error), error.retry_after)
        except Exception as error:  # noqa: BLE001 - a loop boundary: one receiver's trouble never touches another
            self._forget_reader()
            return self._failed(f"{type(error).__name__}: {error}", None)
        return 0.0 if self.ending.is_set() else min(self.pace.poll, 1.0)

    async def _tell(self, batch: list[StoredTransition]) -> None:
        self.is_delivering = True
        try:
            await deliver(self.receiver, message(self.name, batch))
        finally:
            self.is_delivering = False
        self.failures = 0
        self._told(batch[-1].id)
        self.metrics.notified(self.name, self.now())
        log.info("notification_sent", receiver=self.name, transitions=[one.id for one in batch[:20]], count=len(batch))

    def _failed(self, sentence: str, asked: float | None) -> float:
        self.failures += 1
        pause = self.pace.pause(self.failures, random.random(), asked)  # noqa: S311 - to spread tries, not for secrecy
        self.metrics.notification_failed(self.name)
        log.warning(
            "notification_failed",
            receiver=self.name,
            error=sentence,
            failures=self.failures,
            next_try_seconds=round(pause, 1),
        )
        return pause

    def _waiting(self) -> list[StoredTransition]:
        """What the receiver wants to know and does not yet, oldest first; passes over what it does not want."""
        if self._reader is None:
            self._reader = StateReader.read_only(self.state_db)
        if self.until < 0:
            known = self._reader.told_until(self.name)
            if known is None:  # the main loop could not put it into the store yet: where to begin is not known
                return []
            self.until = known
        wanted: list[StoredTransition] = []
        seen = self.until
        while found := self._reader.decided_after(seen, READ_AT_ONCE):
            seen = found[-1].id
            wanted += [one for one in found if self._wants(one)]
        if not wanted and seen > self.until:
            self._told(seen)
        self.metrics.notifications_pending(self.name, len(wanted))
        return wanted

    def _wants(self, decision: StoredTransition) -> bool:
        models = self.receiver.models
        return (not models or decision.model in models) and is_wanted(decision.event, self.receiver.on)

    def _told(self, until: int) -> None:
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

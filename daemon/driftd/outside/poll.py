"""Waits for a build outside: until it comes back, is said to have failed, is put aside, or is late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from driftd.formatting import format_time
from driftd.outside.exchange import (
    ArtefactWriter,
    Exchange,
    ExchangeError,
    Order,
    Outcome,
    SettledError,
    shorten_log,
)
from driftd.outside.start import OutsideError, Status, Way, ask_status, cancel_build, open_artefact

LOOK_SECONDS = 0.5
_PIECE = 1 << 20


@dataclass(slots=True)
class BuildPoll:
    """Waits for one build. `wait` may be begun again after a crash: all that it knows is in the folder."""

    exchange: Exchange
    way: Way
    every: float  # seconds between two questions
    say: Callable[[str], None]  # for the log
    _asked_at: float = float("-inf")
    _trouble: str = ""

    def wait(self) -> Outcome:
        """How the build ended. A builder of which nothing is wanted any more is told so, where it can be."""
        order = self.exchange.order
        if order is None:
            raise OutsideError("the order of the build is gone: the next build orders it anew")
        while (outcome := self.exchange.outcome) is None:
            now = time.time()
            if now >= order.deadline:
                self.exchange.settle(Outcome(state="late", sentence=self._describe_lateness(order)))
            elif not self._ask(order):
                time.sleep(min(LOOK_SECONDS, max(0.01, order.deadline - now)))
        if outcome.state in ("late", "closed"):
            self._cancel()
        return outcome

    def _describe_lateness(self, order: Order) -> str:
        trouble = f"; the last answer: {self._trouble}" if self._trouble else ""
        return f"{self.way.place} gave nothing back by {format_time(order.deadline)} (trainer.deadline){trouble}"

    def _ask(self, order: Order) -> bool:
        """Ask how it goes, where that is due; whether the build has ended by that."""
        answer = self.exchange.answer
        if answer is None or answer.status_url is None or time.monotonic() - self._asked_at < self.every:
            return False
        self._asked_at = time.monotonic()
        try:
            status = ask_status(self.way, answer.status_url)
            return self._follow(status, order)
        except (OutsideError, ExchangeError) as error:  # it may answer the next time, until the deadline
            if str(error) != self._trouble:
                self.say(str(error))
            self._trouble = str(error)
            return False

    def _follow(self, status: Status, order: Order) -> bool:
        if status.state == "failed":
            log = f": {shorten_log(status.log)}" if status.log else ""
            return self.exchange.settle(Outcome(state="failed", sentence=f"{self.way.place} says that it failed{log}"))
        if status.state != "succeeded":
            return False
        if not status.artefact or not status.sha256:
            raise OutsideError("the build has succeeded, but its status names no `artefact` and `sha256`")
        name = Path(urlsplit(status.artefact).path).name
        with ArtefactWriter(self.exchange, name, status.sha256, order.largest, commit=status.commit) as writer:
            for piece in self._pieces(status.artefact):
                writer.add(piece)
            try:
                writer.finish()
            except SettledError:
                return True
        return True

    def _pieces(self, artefact: str) -> Iterator[bytes]:
        if urlsplit(artefact).scheme in {"http", "https"}:
            yield from open_artefact(self.way, artefact)
            return
        if not Path(artefact).is_absolute():
            raise OutsideError(f"the artefact is no address and no whole path of a file: {artefact[:200]!r}")
        if not Path(artefact).is_file():  # a pipe, or a device, would have the job wait or read for ever
            raise OutsideError(f"the artefact {artefact[:200]} is no file here")
        try:
            with Path(artefact).open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
        except OSError as error:
            raise OutsideError(f"the artefact {artefact[:200]} cannot be read: {error.strerror}") from None

    def _cancel(self) -> None:
        answer = self.exchange.answer
        if answer is None or answer.cancel_url is None:
            return
        try:
            cancel_build(self.way, answer.cancel_url)
        except OutsideError as error:
            self.say(str(error))

"""Where `now` comes from: the real clock of the daemon, or a virtual one for history, tests and the demonstration."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of the present moment."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        ...


class RealClock:
    """The wall clock."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return time.time()


class VirtualClock:
    """A clock that stands still until it is moved; never backwards."""

    def __init__(self, start: float) -> None:
        self._now = start

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return self._now

    def advance_to(self, moment: float) -> None:
        """Move to a later moment; raises ValueError for an earlier one."""
        if moment < self._now:
            raise ValueError(f"a virtual clock does not go back from {self._now} to {moment}")
        self._now = moment

"""SIGHUP ends a process that does not expect it. Those that stay catch it before they start, which takes seconds.

This is the first thing that they load, so nothing heavy is imported here.
"""

from __future__ import annotations

import signal
from types import FrameType


class Hangups:
    """Whether SIGHUP came since anybody asked. The handler only leaves a mark: it may interrupt a log line half-way."""

    def __init__(self) -> None:
        self._came = False

    def catch(self) -> None:
        """From here on SIGHUP does not end this process."""
        signal.signal(signal.SIGHUP, self._note)

    def taken(self) -> bool:
        """Whether one came since the last call."""
        came, self._came = self._came, False
        return came

    def _note(self, _caught: int, _frame: FrameType | None) -> None:
        self._came = True


hangups = Hangups()  # signals belong to the process, not to anything in it

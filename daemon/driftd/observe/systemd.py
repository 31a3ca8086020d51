"""Talks to systemd (sd_notify(3)), and holds SIGHUP back until the process can take it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import MutableMapping
from types import FrameType

from driftd.formatting import visible


class SighupLatch:
    """Whether SIGHUP came since anybody asked. The handler only leaves a mark: it may interrupt a log line half-way."""

    def __init__(self) -> None:
        self._came = False

    def catch(self) -> None:
        """From here on SIGHUP does not end this process."""
        signal.signal(signal.SIGHUP, self._note)

    def take(self) -> bool:
        """Take the signal: whether one came since the last call."""
        came, self._came = self._came, False
        return came

    def _note(self, _caught: int, _frame: FrameType | None) -> None:
        self._came = True


hangups = SighupLatch()  # signals belong to the process, not to anything in it


SILENT_SECONDS = 5.0  # how often the loop wakes where nobody wants signs of life
SIGNS_A_SPAN = 4  # of the watchdog's span; systemd asks for at least two
LONGEST_STATUS = 400  # characters; `systemctl status` shows one line


class ServiceManager:
    """The service manager above this process, or nobody.

    Signs of life are to be given by the loop that does the work, never by a thread of their own: what they prove is
    that this loop still turns.
    """

    def __init__(self, address: str | None = None, *, watchdog_seconds: float | None = None) -> None:
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # noqa: FBT003 - the loop must never wait for the one that watches it
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._wants_signs = watchdog_seconds is not None
        self.cadence = (watchdog_seconds or SILENT_SECONDS * SIGNS_A_SPAN) / SIGNS_A_SPAN
        self._last_sign = float("-inf")
        self._status = ""

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] | None = None) -> ServiceManager:
        """Whom the environment names. Its variables are removed from it, so that no child inherits them."""
        environment = os.environ if environment is None else environment
        address = environment.pop("NOTIFY_SOCKET", None)
        span, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_meant = span.isdecimal() and int(span) > 0 and pid in {"", str(os.getpid())}
        return cls(address, watchdog_seconds=int(span) / 1e6 if is_meant else None)

    def alive(self) -> None:
        """A sign of life; as many calls as one likes cost one datagram for each quarter of the watchdog's span."""
        now = time.monotonic()
        if self._wants_signs and now - self._last_sign >= self.cadence and self._send("WATCHDOG=1"):
            self._last_sign = now

    def ready(self) -> None:
        """Started, or done with a reload: everything is in force."""
        self._send("READY=1")

    def announce_reload(self) -> None:
        """Tell systemd that a reload begins; it is over with `ready`, whatever came of it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def announce_stop(self) -> None:
        """Tell systemd that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`, sent when it changes."""
        line = visible(" ".join(text.split()))[:LONGEST_STATUS]
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def _send(self, message: str) -> bool:
        """Whether it went out. A manager that cannot take it now (its queue is full) is told again later."""
        if self._socket is None or self._address is None:
            return False
        with contextlib.suppress(OSError):
            self._socket.sendto(message.encode(), self._address)
            return True
        return False

"""Delivering to a program: JSON on its standard input, DRIFTD_* in its environment, an end when its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import Self

from driftd.config.receiver import Receiver
from driftd.notify.message import Message, encoded
from driftd.notify.trying import DeliveryError

_TAIL_BYTES = 2000
_CHUNK_BYTES = 1 << 16
_CHUNKS_AT_END = 16  # one that fled its group may go on talking: it is not listened to for ever
_LINE_SHOWN = 200
_KEPT_BACK = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


async def run(receiver: Receiver, message: Message) -> None:
    """Run the program of a receiver. Raises DeliveryError unless it ends with 0 within the receiver's time.

    What it started in its process group is ended with it, and all of it dies with the daemon.
    """
    assert receiver.command is not None
    with LastWords() as words:
        process = _started(receiver.command, message, words.writer)
        words.listen()
        try:
            async with asyncio.timeout(receiver.timeout):
                await _end_of(process.pid)
        except TimeoutError:
            raise DeliveryError(f"the program was ended: it took longer than {receiver.timeout:g} s") from None
        finally:  # it is not reaped yet, so its number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode != 0:
            raise DeliveryError(f"the program ended with {_how(process.returncode)}{words.last_line()}")


class LastWords:
    """The end of what a program says on standard error, read as it comes so that the program never waits for it."""

    def __enter__(self) -> Self:
        self._tail = bytearray()
        self._loop = asyncio.get_running_loop()
        self._pipe, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        if self.writer >= 0:
            os.close(self.writer)

    def listen(self) -> None:
        """Begin to read; the program has its end of the pipe now, and we let go of ours."""
        os.close(self.writer)
        self.writer = -1
        self._loop.add_reader(self._pipe, self._read)

    def last_line(self) -> str:
        """`: <the last line>`, or nothing."""
        for _ in range(_CHUNKS_AT_END):
            if not self._read():
                break
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1][:_LINE_SHOWN]}" if lines else ""

    def _read(self) -> bool:
        try:
            chunk = os.read(self._pipe, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._pipe)
        self._tail += chunk
        del self._tail[:-_TAIL_BYTES]
        return bool(chunk)


def _started(command: tuple[str, ...], message: Message, stderr: int) -> subprocess.Popen[bytes]:
    """Start a program on a leash; its standard input is a file in memory, so that nobody waits for it to be read."""
    stdin = os.memfd_create("driftd-notification")
    try:
        os.write(stdin, encoded(message.facts))
        os.lseek(stdin, 0, os.SEEK_SET)
        inherited = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
        return subprocess.Popen(
            [sys.executable, "-m", "driftd.build.leash", str(os.getpid()), *command],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**inherited, **message.variables},
            start_new_session=True,
        )
    finally:
        os.close(stdin)


async def _end_of(pid: int) -> None:
    """Wait until a child has ended, without reaping it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    watched = os.pidfd_open(pid)
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def _how(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"the signal {signal.Signals(-code).name}"

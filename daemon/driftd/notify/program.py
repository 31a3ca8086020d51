"""Delivering to a program: JSON on its standard input, DRIFTD_* in its environment, an end when its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

from driftd.config.model import Receiver
from driftd.notify.message import Message, encoded
from driftd.notify.trying import DeliveryError

_TAIL_BYTES = 2000
_LINE_SHOWN = 200
_LAST_WORDS_SECONDS = 0.2
_KEPT_BACK = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


async def run(receiver: Receiver, message: Message) -> None:
    """Run the program of a receiver. Raises DeliveryError unless it ends with 0 within the receiver's time.

    It and everything that it started in its process group is ended afterwards, and dies with the daemon.
    """
    assert receiver.command is not None
    program = await _started(receiver.command, message)
    tail = bytearray()
    reading = asyncio.create_task(_read(program, tail))
    try:
        async with asyncio.timeout(receiver.timeout):
            code = await program.wait()
    except TimeoutError:
        raise DeliveryError(f"the program was ended: it took longer than {receiver.timeout:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading, _LAST_WORDS_SECONDS)
    if code != 0:
        said = tail.decode("utf-8", "replace").strip().splitlines()[-1:]
        words = f": {said[0][:_LINE_SHOWN]}" if said else ""
        how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
        raise DeliveryError(f"the program ended with {how}{words}")


async def _started(command: tuple[str, ...], message: Message) -> asyncio.subprocess.Process:
    """Start a program on a leash; its standard input is a file in memory, so that nobody waits for it to be read."""
    stdin = os.memfd_create("driftd-notification")
    try:
        os.write(stdin, encoded(message.facts))
        os.lseek(stdin, 0, os.SEEK_SET)
        inherited = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "driftd.build.leash", str(os.getpid()), *command),
            stdin=stdin,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**inherited, **message.variables},
            start_new_session=True,
        )
    finally:
        os.close(stdin)


async def _read(program: asyncio.subprocess.Process, tail: bytearray) -> None:
    """Keep the end of what the program says, so that it never waits for a reader."""
    assert program.stderr is not None
    while chunk := await program.stderr.read(4096):
        tail += chunk
        del tail[:-_TAIL_BYTES]

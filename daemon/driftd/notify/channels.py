"""Delivers one notification: to a webhook by one POST, or to a command; and when to try again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from driftd.config.schema import AddressFileError, Receiver, address_in
from driftd.errors import DriftdError
from driftd.notify.message import Message, encode
from driftd.paths import credential

if TYPE_CHECKING:
    import httpx

_MOST_DOUBLINGS = 30


class DeliveryError(DriftdError):
    """A message was not taken. The sentence says why and holds no secret; `retry_after` is what the other asked for."""

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class RetryPace:
    """How quickly a receiver is told, and how patiently again. In seconds."""

    poll: float = 2.0  # between two looks at the store
    settle: float = 2.0  # what is decided together is told together
    first_pause: float = 1.0  # after a failed try; doubles with each
    longest_pause: float = 300.0
    stop: float = 2.0  # what a delivery under way may still take when the daemon ends

    def pause(self, failures: int, chance: float, retry_after: float | None = None) -> float:
        """How long to wait after so many failures in a row; `chance` in [0, 1) spreads it over half to whole."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        wanted = min(retry_after or 0.0, self.longest_pause)
        return max(longest * (0.5 + chance / 2), wanted)


_ANSWER_BYTES = 2000  # of a refusal are read for the log; the rest is not waited for
_ANSWER_SHOWN = 200
_OK, _REDIRECT, _TOO_MANY, _UNAVAILABLE = range(200, 300), range(300, 400), 429, 503


async def post_webhook(receiver: Receiver, message: Message) -> None:
    """Post a message. Raises DeliveryError when it was not taken in time; the error does not hold the address."""
    import httpx  # noqa: PLC0415 - 6 MB that a daemon without webhooks does without

    for chatty in ("httpx", "httpcore"):  # their lines name the address, which is a secret
        logging.getLogger(chatty).setLevel(logging.WARNING)
    address = _address(receiver)
    try:
        async with (
            asyncio.timeout(receiver.timeout),
            httpx.AsyncClient(verify=_authorities(), follow_redirects=False, timeout=receiver.timeout) as client,
            client.stream("POST", address, content=encode(message.body), headers=_HEADERS) as answer,
        ):
            await _judge(answer)
    except TimeoutError:
        raise DeliveryError(f"no answer within {receiver.timeout:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        reason = str(error).replace(address, "the webhook") or "no words"
        raise DeliveryError(f"{type(error).__name__}: {reason}") from None


_HEADERS = {"content-type": "application/json; charset=utf-8", "user-agent": "driftd"}


async def _judge(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in _OK:
        return
    if status in _REDIRECT:
        raise DeliveryError(f"it answers with a redirect ({status}), which is not followed: configure where it leads")
    said = b""
    async for chunk in answer.aiter_raw():
        said += chunk
        if len(said) >= _ANSWER_BYTES:
            break
    words = " ".join(said[:_ANSWER_BYTES].decode("utf-8", "replace").split())[:_ANSWER_SHOWN]
    after = answer.headers.get("retry-after", "") if status in {_TOO_MANY, _UNAVAILABLE} else ""
    raise DeliveryError(
        f"it answers {status}{f': {words}' if words else ''}", retry_after=float(after) if after.isdecimal() else None
    )


def _address(receiver: Receiver) -> str:
    if receiver.webhook is not None:
        return receiver.webhook.get_secret_value()
    assert receiver.webhook_file is not None  # the config has exactly one way, and a command is not posted
    try:
        return address_in(credential(receiver.webhook_file))
    except AddressFileError as error:
        raise DeliveryError(str(error)) from None


def _authorities() -> ssl.SSLContext:
    """The system's certificate authorities (or those of SSL_CERT_FILE, SSL_CERT_DIR), certifi's where it has none."""
    found = ssl.get_default_verify_paths()
    if found.cafile is not None or found.capath is not None:
        return ssl.create_default_context()
    import certifi  # noqa: PLC0415 - comes with httpx

    return ssl.create_default_context(cafile=certifi.where())


_TAIL_BYTES = 2000
_CHUNK_BYTES = 1 << 16
_CHUNKS_AT_END = 16  # one that fled its group may go on talking: it is not listened to for ever
_LINE_SHOWN = 200
_KEPT_BACK = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


async def run_command(receiver: Receiver, message: Message) -> None:
    """Run the program of a receiver, or its plug-in. Raises DeliveryError unless it ends with 0 in the receiver's time.

    What it started in its process group is ended with it, and all of it dies with the daemon.
    """
    command, given = receiver.command, encode(message.facts)
    if receiver.plugin is not None:
        command = (sys.executable, "-m", "driftd.run_plugin", "receiver", receiver.plugin)
        given = json.dumps({"message": json.loads(given), "options": receiver.options}).encode()
    assert command is not None
    with OutputTail() as words:
        process = _start(command, given, message.variables, words.writer)
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


class OutputTail:
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


def _start(
    command: tuple[str, ...], given: bytes, variables: Mapping[str, str], stderr: int
) -> subprocess.Popen[bytes]:
    """Start a program on a leash; its standard input is a file in memory, so that nobody waits for it to be read."""
    stdin = os.memfd_create("driftd-notification")
    try:
        os.write(stdin, given)
        os.lseek(stdin, 0, os.SEEK_SET)
        inherited = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
        return subprocess.Popen(
            [sys.executable, "-m", "driftd.training.process_tree", str(os.getpid()), *command],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**inherited, **variables},
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

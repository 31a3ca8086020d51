"""The bodies of requests: how long one may be, and how much of all may be in memory at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Receive

from driftd.serving.posted import TOO_LARGE, UNAVAILABLE, RefusedError

SMALL = 65_536  # bytes that every connection may always send: what is usual is never refused for what others send
AT_ONCE = 16  # bodies of the longest length in memory at once


class ClientGoneError(Exception):
    """The client went away before its request was whole; nobody is left to be answered."""


class Bodies:
    """Reads bodies, each of at most `longest` bytes.

    Thousands of connections may be open: without a bound on all together, clients that each send a long body slowly
    would take more memory than there is.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._most = AT_ONCE * max(longest, SMALL)
        self._taken = 0

    @asynccontextmanager
    async def read(self, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body; its room is free again when it was dealt with. Raises RefusedError, ClientGoneError."""
        parts: list[bytes] = []
        size = counted = 0
        try:
            more = True
            while more:
                message = await receive()
                parts.append(self._part(message, size))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > SMALL:
                    counted += self._take(size - counted)
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self._taken -= counted

    def _part(self, message: Message, before: int) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        if before + len(part) > self._longest:
            raise RefusedError(TOO_LARGE, f"the body is larger than {self._longest} bytes (serve.max_body)")
        return part

    def _take(self, size: int) -> int:
        if self._taken + size > self._most:
            told = f"other requests take {self._taken / 1e6:.0f} MB at this moment: send smaller ones, or again later"
            raise RefusedError(UNAVAILABLE, told)
        self._taken += size
        return size

"""Limits on connections: how many silent clients wait, and how slowly one may send or read."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANDSHAKE_SECONDS = 10.0
AT_LEAST_SECONDS, AT_LEAST_ROUNDS = 0.05, 4  # of the event loop, which makes a connection in two of them
FEWEST, SHARE = 16, 4  # so many may stand in the doorway: a quarter of the connections that may be open


@dataclass(frozen=True, slots=True)
class _SilentClient:
    client: socket.socket
    since: float
    rounds: int


class AcceptLimiter(socket.socket):
    """A listening socket that lets in no more clients than it can, and turns out whoever says nothing for too long.

    Every accepted socket counts from the moment it is accepted, until the protocol reports its connection (`entered`)
    or it is closed. When the doorway is full, the one that stands there longest makes room for the next.
    """

    def __init__(self, listening: socket.socket, most_connections: int) -> None:
        super().__init__(fileno=listening.detach())
        self._most = max(FEWEST, most_connections // SHARE)
        self._newcomers: dict[int, _SilentClient] = {}  # by file number, in the order of arrival
        self._rounds = 0  # of the event loop in which there was no room

    def accept(self) -> tuple[socket.socket, Any]:
        """The next client. Raises BlockingIOError when there is none, or when it has to wait for room."""
        loop = asyncio.get_running_loop()
        self._newcomers = {
            number: newcomer for number, newcomer in self._newcomers.items() if newcomer.client.fileno() == number
        }
        if len(self._newcomers) >= self._most:
            self._rounds += 1
            number, longest = next(iter(self._newcomers.items()))
            if loop.time() - longest.since > AT_LEAST_SECONDS and self._rounds - longest.rounds >= AT_LEAST_ROUNDS:
                self._turn_out(number)
            raise BlockingIOError  # the next one stays in the kernel's queue; the event loop asks again at once
        client, address = super().accept()
        self._newcomers[client.fileno()] = _SilentClient(client, loop.time(), self._rounds)
        loop.call_later(HANDSHAKE_SECONDS, self._look_after, client.fileno(), client)
        return client, address

    def forget_newcomer(self, number: int) -> None:
        """The client with this file number has a connection: how long that may last is the protocol's to say."""
        self._newcomers.pop(number, None)

    def _look_after(self, number: int, client: socket.socket) -> None:
        if number in self._newcomers and self._newcomers[number].client is client:
            self._turn_out(number)

    def _turn_out(self, number: int) -> None:
        """End a client's connection from outside: the event loop reads its end, and lets go of it."""
        newcomer = self._newcomers.pop(number)
        try:
            newcomer.client.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has gone by itself


HEAD_SECONDS = 10.0  # for the head of a request
BODY_SECONDS = 60.0  # for its body, or for each further MiB of it
BODY_PIECE = 1 << 20
STALLED_SECONDS = 30.0  # for a client that reads nothing of its answer
HEAD_BYTES = 65_536
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-type: text/plain\r\ncontent-length: 21\r\n\r\ntoo many connections\n"
)


class TimeoutConfig(uvicorn.Config):
    """uvicorn's settings, with the doorway that the clients come through."""

    doorway: AcceptLimiter | None = None


class TimeoutProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a time for each part of a request, which uvicorn itself has for idle connections only.

    Without it a client that sends a byte now and then (slowloris) holds its connection for ever. And there are only so
    many connections: when all are taken, the one that keeps driftd waiting longest makes room for a newcomer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn would count connections only when a head is whole, so that slow heads are not bounded at all.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = self._body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client came: its first request is due."""
        super().connection_made(transport)
        if isinstance(self.config, TimeoutConfig) and self.config.doorway is not None:
            self.config.doorway.forget_newcomer(transport.get_extra_info("socket").fileno())
        if self._most is not None and len(self.connections) > self._most and not self._make_room():
            transport.write(BUSY)
            transport.close()
            return
        self._allow(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Some bytes came; a head may be no larger than 64 KiB."""
        if self._timer is None and self.timeout_keep_alive_task is not None:
            self._allow(HEAD_SECONDS)  # an empty line begins no request, but would end the wait for an idle client
        if self._in_head:
            self._head += len(data)
            if self._head > HEAD_BYTES and not self._ends_head(data):
                self.send_400_response("The head of the request is larger than 64 KiB.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins, the first or a later one of its connection."""
        self._in_head, self._head = True, 0
        if self._timer is None:
            self._allow(HEAD_SECONDS)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole; the body is due."""
        self._in_head, self._head, self._body = False, 0, 0
        self._allow(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body came; an artefact of gigabytes has its time as long as it goes on coming."""
        self._body += len(body)
        if self._body >= BODY_PIECE and self._timer is not None:
            self._body = 0
            self._allow(BODY_SECONDS)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; the answer takes as long as it takes."""
        self._disallow()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_SECONDS, self._lose)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._disallow()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        waiting = [
            connection
            for connection in self.connections
            if isinstance(connection, TimeoutProtocol) and connection is not self and connection.is_waiting
        ]
        for longest in sorted(waiting, key=lambda connection: connection._since)[:1]:
            longest._lose()
        return bool(waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether it is the client's turn: to send, to read, or to ask again."""
        return any(timer is not None for timer in (self._timer, self._stalled, self.timeout_keep_alive_task))

    def _ends_head(self, data: bytes) -> bool:
        return b"\r\n\r\n" in data[: max(0, len(data) - (self._head - HEAD_BYTES))]

    def _allow(self, seconds: float) -> None:
        self._disallow()
        self._timer = self.loop.call_later(seconds, self._lose)

    def _disallow(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lose(self) -> None:
        self.connections.discard(self)  # at once: it must not be chosen again before the loop has closed it
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

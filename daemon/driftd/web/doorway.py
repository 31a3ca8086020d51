"""The listening socket, and those who came in and have not said a word yet.

asyncio makes a protocol's connection only once TLS is agreed upon: until then a client that says nothing is on nobody's
list, holds an open file for a minute, and a few hundred of them leave none for the stores.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

HANDSHAKE_SECONDS = 10.0
AT_LEAST_SECONDS, AT_LEAST_ROUNDS = 0.05, 4  # of the event loop, which makes a connection in two of them
FEWEST, SHARE = 16, 4  # so many may stand in the doorway: a quarter of the connections that may be open


@dataclass(frozen=True, slots=True)
class _Newcomer:
    client: socket.socket
    since: float
    rounds: int


class Doorway(socket.socket):
    """A listening socket that lets in no more clients than it can, and turns out whoever says nothing for too long.

    Every accepted socket counts from the moment it is accepted, until the protocol reports its connection (`entered`)
    or it is closed. When the doorway is full, the one that stands there longest makes room for the next.
    """

    def __init__(self, listening: socket.socket, most_connections: int) -> None:
        super().__init__(fileno=listening.detach())
        self._most = max(FEWEST, most_connections // SHARE)
        self._newcomers: dict[int, _Newcomer] = {}  # by file number, in the order of arrival
        self._rounds = 0  # of the event loop in which there was no room

    def accept(self) -> tuple[socket.socket, Any]:
        """The next client. Raises BlockingIOError when there is none, or when it has to wait for room."""
        loop = asyncio.get_running_loop()
        self._newcomers = {number: one for number, one in self._newcomers.items() if one.client.fileno() == number}
        if len(self._newcomers) >= self._most:
            self._rounds += 1
            number, longest = next(iter(self._newcomers.items()))
            if loop.time() - longest.since > AT_LEAST_SECONDS and self._rounds - longest.rounds >= AT_LEAST_ROUNDS:
                self._turn_out(number)
            raise BlockingIOError  # the next one stays in the kernel's queue; the event loop asks again at once
        client, address = super().accept()
        self._newcomers[client.fileno()] = _Newcomer(client, loop.time(), self._rounds)
        loop.call_later(HANDSHAKE_SECONDS, self._look_after, client.fileno(), client)
        return client, address

    def entered(self, number: int) -> None:
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

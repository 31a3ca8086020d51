"""Clients that are slow on purpose, on real sockets: they lose their connections, and nobody else does."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from limits import time_limit
from real_servers import MODEL, ROW, Server, make_state, message, run_server

pytestmark = pytest.mark.slow

SLOW = 200
LOST_SECONDS = 16.0  # in which a head must have been lost: ten are allowed


@contextmanager
def crowd(server: Server, count: int, begin: bytes) -> Iterator[list[socket.socket]]:
    """So many open connections, each of which has sent a beginning."""
    with ExitStack() as held:
        clients = [held.enter_context(server.connect()) for _ in range(count)]
        for client in clients:
            client.sendall(begin)
        yield clients


def is_lost(client: socket.socket) -> bool:
    """Whether the server has ended a connection."""
    client.setblocking(False)
    try:
        return client.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def lost(clients: list[socket.socket], trickle: bytes) -> int:
    """How many have lost their connection in time, while each sends a little now and then."""
    gone: set[int] = set()
    began = time.monotonic()
    while len(gone) < len(clients) and time.monotonic() - began < time_limit(LOST_SECONDS):
        for number, client in enumerate(clients):
            if number not in gone:
                try:
                    client.send(trickle)
                except BlockingIOError:
                    pass
                except OSError:
                    gone.add(number)
                if is_lost(client):
                    gone.add(number)
        time.sleep(0.5)
    return len(gone)


def predicts(server: Server) -> None:
    begun = time.monotonic()
    status, came = server.post(f"/v1/models/{MODEL}/predict", json.dumps({"features": ROW}).encode())
    assert status == 200, came
    assert time.monotonic() - begun < time_limit(2)


def is_scraped(server: Server) -> None:
    begun = time.monotonic()
    assert server.get("/metrics")[0] == 200
    assert time.monotonic() - begun < time_limit(2)


@pytest.mark.parametrize(("command", "good"), [("serve", predicts), ("run", is_scraped)])
def test_two_hundred_slow_heads(tmp_path: Path, command: str, good: Callable[[Server], None]) -> None:
    """A good client is served at once beside 200 that send their heads by the byte; those lose their connections."""
    with run_server(command, make_state(tmp_path, version=command == "serve")) as server:
        server.post(f"/v1/models/{MODEL}/predict", json.dumps({"features": ROW}).encode())  # loads the version
        with crowd(server, SLOW, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ") as clients:
            for _ in range(20):
                good(server)
            assert lost(clients, b"y") == SLOW
        good(server)


def test_clients_between_two_requests_cannot_stay_by_sending_empty_lines(tmp_path: Path) -> None:
    """After an answer, empty lines are no request: the connection is ended as one whose head does not come."""
    whole = message("GET", "/-/healthy", b"").replace(b"Connection: close\r\n", b"")
    with run_server("run", make_state(tmp_path, version=False)) as server, crowd(server, 20, whole) as clients:
        assert all(client.recv(4096).startswith(b"HTTP/1.1 200") for client in clients)
        assert lost(clients, b"\r\n") == 20


def test_more_connections_than_files_may_be_open(tmp_path: Path) -> None:
    """When others take every connection there is, a newcomer still gets one and the daemon still opens its files."""
    with run_server("run", make_state(tmp_path, version=False), open_files=512) as server:
        with crowd(server, 900, b"GET / HTTP/1.1\r\n"):
            for _ in range(20):
                is_scraped(server)
            descriptors = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
            assert descriptors < 450
        assert b"Too many open files" not in server.log.read_bytes()


@pytest.mark.parametrize(("command", "good"), [("serve", predicts), ("run", is_scraped)])
def test_silent_clients_before_tls_is_agreed_upon(tmp_path: Path, command: str, good: Callable[[Server], None]) -> None:
    """Beside 600 that connect and say nothing, of 256 files, a good client is served; the silent ones are let go of."""
    certificate = make_certificate(tmp_path)
    config = make_state(tmp_path, http=certificate, serve=certificate, version=command == "serve")
    with ExitStack() as held:
        server = held.enter_context(run_server(command, config, tls=True, open_files=256))
        server.post(f"/v1/models/{MODEL}/predict", json.dumps({"features": ROW}).encode())  # loads the version
        clients = held.enter_context(crowd(server, 600, b""))
        for _ in range(20):
            good(server)
        descriptors = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        assert descriptors < 128, "the silent ones take no more than their share"
        assert lost(clients, b"") == 600
        good(server)
        assert b"Too many open files" not in server.log.read_bytes()


def make_certificate(folder: Path) -> str:
    """A certificate that nobody signed; returns the part of the config that names it."""
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run([*made.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return f', tls: {{certificate: "{certificate}", key: "{key}"}}'

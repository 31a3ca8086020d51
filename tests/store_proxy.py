"""A proxy in front of a store, which counts what is asked and answers as a store in trouble does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Trouble = Literal["none", "denied", "get denied", "keys", "stalls", "slow down"]
_ANSWERS = {
    "denied": (403, "AccessDenied"),
    "get denied": (403, "AccessDenied"),
    "keys": (403, "InvalidAccessKeyId"),
    "slow down": (503, "SlowDown"),
}


@dataclass
class Proxy:
    """Its address, what was asked of it, and the trouble that it makes."""

    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)  # the names of the keys that requests were signed with
    trouble: Trouble = "none"
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """End the trouble, and what stalls."""
        self.trouble = "none"
        self.released.set()


class _Server(ThreadingHTTPServer):
    """With what its handlers share."""

    daemon_threads = True

    def __init__(self, proxy: Proxy, host: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy, self.host = proxy, host


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.proxy.asked.append(f"{self.command} {self.path}")
        credential = self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
        self.server.proxy.keys |= {credential} if credential else set()
        trouble = self.server.proxy.trouble
        if trouble == "stalls":
            self.server.proxy.released.wait()
        elif trouble != "none" and not (trouble == "get denied" and "list-type" in self.path):
            return self._refuse(*_ANSWERS[trouble])
        return self._pass_on()

    do_HEAD = do_GET  # noqa: N815 - the name of the library

    def _refuse(self, status: int, code: str) -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code} of a key</Message></Error>'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass_on(self) -> None:
        connection = http.client.HTTPConnection(self.server.host)
        connection.request(self.command, self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        try:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"connection", "server", "date", "transfer-encoding"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # who asked has gone
            pass
        connection.close()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def proxy_of(endpoint: str) -> Iterator[Proxy]:
    """A proxy until the end of the block."""
    proxy = Proxy()
    server = _Server(proxy, endpoint.removeprefix("http://"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        proxy.release()
        server.shutdown()
        server.server_close()

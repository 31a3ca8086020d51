"""A world for tests of builds outside: the daemon's HTTP, and a server that plays the system of pipelines."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from driftd.api.builds import BuildApi
from driftd.api.routes import ApiWiring, RequestApi
from driftd.config.schema import Http
from driftd.observe.http import HttpThread, Wiring, application
from driftd.observe.metrics import Metrics
from driftd.paths import Places
from loop_world import CONFIG, MODEL, World

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "pipelines"


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def skops_file(schema: str = "{}") -> bytes:
    """What has the form of a file of skops, and is no model."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("schema.json"), schema)
    return content.getvalue()


Order = dict[str, Any]


@dataclass
class Pipelines:
    """A server that starts what `act` does with each order, in a thread of its own."""

    act: Callable[[Order], object] = lambda _: None
    answer: Callable[[Order], tuple[int, object]] = lambda _: (201, {})
    url: str = ""
    bodies: list[Any] = field(default_factory=list)  # as they were posted
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # the paths of other requests
    messages: list[Any] = field(default_factory=list)  # what was posted to other paths
    pages: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def orders(self) -> list[Order]:
        """The orders in what was posted, whatever is around them."""
        return [found for body in self.bodies if (found := find_order(body)) is not None]


def find_order(body: Any) -> Order | None:
    """The order within a body of any of the systems."""
    if isinstance(body, str):
        return find_order(json.loads(body)) if body.startswith("{") else None
    if not isinstance(body, dict):
        return None
    if "token" in body and "snapshot" in body:
        return body
    return next((found for value in body.values() if (found := find_order(value)) is not None), None)


@contextmanager
def pipelines(**options: Any) -> Iterator[Pipelines]:
    """Serve while the block runs."""
    found = Pipelines(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not self.path.startswith("/start"):
                found.asked.append(self.path)
                found.messages.append(json.loads(raw) if raw else None)
                self.give(200, b"{}")
                return
            is_form = self.headers["content-type"] == "application/x-www-form-urlencoded"
            body = dict(httpx.QueryParams(raw.decode())) if is_form else json.loads(raw)
            found.bodies.append(body)
            found.headers.append(dict(self.headers))
            order = find_order(body) or {}
            status, content = found.answer(order)
            if status < 300:
                thread = threading.Thread(target=found.act, args=(order,))
                found.threads.append(thread)
                thread.start()
            self.give(status, json.dumps(content).encode())

        def do_GET(self) -> None:
            found.asked.append(self.path)
            self.give(*found.pages.get(self.path, (404, b"")))

        def give(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the other side went away

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        for started in found.threads:
            started.join()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def build_api(places: Places, port: int, token_file: Path | None = None) -> Iterator[str]:
    """The daemon's HTTP with its guard, as far as builders ask it, and people by the tokens of a file."""
    unused = Wiring(Metrics(), lambda: None, lambda: None, dict, lambda *_: Path("/nonexistent"))
    people = RequestApi(ApiWiring(places.state_db, lambda: (MODEL,), lambda: None))
    routes = [*BuildApi(places).routes(), *people.routes()]
    http = HttpThread(application(unused, routes), Http(listen=f"127.0.0.1:{port}", token_file=token_file))
    http.start()
    try:
        yield f"http://{http.address}"
    finally:
        http.stop()


def run_example(order: Order, program: Path = EXAMPLES / "build.py") -> subprocess.CompletedProcess[str]:
    """The shipped script builds what was ordered, as a pipeline would start it."""
    environment = {**os.environ, "DRIFTD_ORDER": json.dumps(order)}
    return subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def with_trainer(folder: Path, trainer: str, more: str = "") -> None:
    """Have the config of a world build outside."""
    text = CONFIG.format(state=folder / "state").replace("retrain: {on", "retrain: {refresh: off, on")
    (folder / "config.yaml").write_text(f"{text}    trainer: {trainer}\n{more}")


@contextmanager
def outside_world(folder: Path, trainer: str) -> Iterator[World]:
    """A model whose builds are made outside; `{port}` in the trainer is where the daemon's HTTP answers."""
    world, port = World.begin(folder, hours=72), free_port()
    world.close()
    with_trainer(folder, trainer.replace("{port}", str(port)))
    with build_api(world.places, port):
        world.reopen()
        try:
            yield world
        finally:
            world.close()

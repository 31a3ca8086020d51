"""Receivers that misbehave, decisions to tell, and patience."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from driftd.config.schema import Receiver
from driftd.events import Event
from driftd.notify import Notifier, RetryPace
from driftd.observe.metrics import Metrics
from driftd.records import DecisionFigures, ModelState, Transition
from driftd.store.state.records import StoredTransition
from driftd.store.state.writer import StateStore
from limits import HANG

QUICK = RetryPace(poll=0.02, settle=0.02, first_pause=0.02, longest_pause=0.1, stop=1.0)
NOW = 1_760_000_000.0


def decision(number: int = 1, event: str = Event.ALARM, **changes: Any) -> StoredTransition:
    """A stored transition."""
    values: dict[str, Any] = {
        "id": number,
        "at": NOW,
        "model": "demand",
        "event": event,
        "phase_from": "steady",
        "phase_to": "steady",
        "reason": "price has shifted by 0.4 standard deviations",
        "figures": {"evidence": 12.5},
        "actor": "driftd",
        "config_hash": "0123456789ab",
    }
    return StoredTransition(**{**values, **changes})


@dataclass
class Endpoint:
    """A real HTTP server on a port of its own; `answers` decides what each request gets (status, headers, seconds)."""

    tls: ssl.SSLContext | None = None
    answer: Callable[[int], tuple[int, dict[str, str], float]] = lambda _: (200, {}, 0.0)
    got: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0
    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def events(self) -> list[str]:
        """The events that were taken."""
        return [item["event"] for body in self.got for item in body["driftd"]["transitions"]]

    @property
    def ids(self) -> list[int]:
        """The transitions that were taken, in the order in which they came."""
        return [item["id"] for body in self.got for item in body["driftd"]["transitions"]]


@contextmanager
def endpoint(**options: Any) -> Iterator[Endpoint]:
    """Serve an endpoint while the block runs."""
    found = Endpoint(**options)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found.tries += 1
            found.headers.append(dict(self.headers))
            status, headers, seconds = found.answer(found.tries)
            over.wait(seconds)
            if status == 200:
                found.got.append(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "9")
            self.end_headers()
            self.wfile.write(b"no_thanks" if status != 200 else b"thank_you")

        def log_message(self, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the other side went away, as it should when its time was over

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if found.tls is not None:
        server.socket = found.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme, host = ("http", "127.0.0.1") if found.tls is None else ("https", "localhost")
    found.url = f"{scheme}://{host}:{server.server_port}/T0/secret-token"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Told:
    """A store with decisions in it, and a notifier that reads it; confirmations are written as the main loop would."""

    store: StateStore
    path: Path
    metrics: Metrics
    notifier: Notifier
    confirmed: list[tuple[str, int]]
    now: float = NOW

    def decide(self, event: Event = Event.ALARM, model: str = "demand", *, at: float | None = None) -> int:
        """Write a decision; returns its id."""
        state = ModelState(model)
        made = Transition(state, f"{event} of {model}", event, (), DecisionFigures(version=3))
        with self.store.transaction():
            line = self.store.save_transition(
                state, made, at=self.now if at is None else at, actor="driftd", config_hash="ab"
            )
        assert line is not None
        return line

    def apply(self, **receivers: Receiver) -> None:
        """As the main loop does when a config comes into force."""
        self.store.keep_receivers(receivers)
        self.notifier.apply(receivers)

    def land(self) -> None:
        """As the main loop does with the confirmations in its inbox."""
        for receiver, until in self.confirmed:
            self.store.save_told(receiver, until)
        self.confirmed.clear()

    def sample(self, name: str, receiver: str) -> float:
        """The value of a series of the receiver."""
        text = self.metrics.expose()[0].decode()
        found = re.search(rf'^{name}{{receiver="{re.escape(receiver)}"}} (.+)$', text, re.MULTILINE)
        return float(found[1]) if found is not None else 0.0


@contextmanager
def run_notifier(path: Path, pace: RetryPace = QUICK) -> Iterator[Told]:
    """A notifier over the store at `path`."""
    store, metrics = StateStore.open(path), Metrics()
    confirmed: list[tuple[str, int]] = []
    output = Told(store, path, metrics, None, confirmed)  # type: ignore[arg-type]  # set in the next line
    output.notifier = Notifier(
        path, lambda name, until: confirmed.append((name, until)), metrics, lambda: output.now, pace
    )
    try:
        yield output
    finally:
        output.notifier.stop()
        store.close()


def eventually(true: Callable[[], object], seconds: float = HANG) -> None:
    """Wait until something is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.01)


def webhook(url: str, **options: object) -> Receiver:
    return Receiver.model_validate({"webhook": url, **options})


def program(tmp_path: Path, text: str, **options: object) -> Receiver:
    path = tmp_path / f"hook{len(list(tmp_path.iterdir()))}"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Receiver.model_validate({"command": [str(path)], **options})


def running(marker: str) -> list[int]:
    """The processes whose command line holds a marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found

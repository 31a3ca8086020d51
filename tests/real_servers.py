"""Both HTTP servers as real processes, and requests as bytes on a socket: no client that would mend them on the way."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from driftd.config.load import load
from driftd.paths import Places
from driftd.training.bootstrap import FileColumns
from first_versions import first_version_of
from limits import HANG
from loop_world import hour

MODEL = "demand"
ROW = {"a": 0.5, "b": -1.0, "c": "red"}
CONFIG = """\
state_dir: {state}
http: {{listen: "127.0.0.1:0"{http}}}
serve: {{listen: "127.0.0.1:0", max_body: 200000, max_batch: 500{serve}}}
models:
  demand: {{task: regression, target: y, window: {{every: 1h}}, parameters: {{max_iter: 5}}}}
"""


@dataclass(frozen=True)
class Server:
    """A process that answers."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    tls: bool = False

    @property
    def resident(self) -> int:
        """Bytes of memory in use."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connect(self, timeout: float = HANG) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def connect_whole(self) -> socket.socket:
        """A connection on which a request can be sent: with TLS, where the server has it."""
        if not self.tls:
            return self.connect()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the test made the certificate itself
        return context.wrap_socket(self.connect())

    def ask(self, request: bytes, *, whole: bool = True, patience: float = HANG) -> tuple[int, bytes]:
        """Send bytes and read to the end: the first status (0: none), and all that came.

        Sending is ended at once when the request is not `whole`, else when no answer came within `patience` seconds.
        """
        with self.connect_whole() as client:
            came, ended = b"", not whole
            try:
                client.sendall(request)
                if ended:
                    client.shutdown(socket.SHUT_WR)
                while True:
                    client.settimeout(HANG if ended else patience)
                    try:
                        part = client.recv(65536)
                    except TimeoutError:
                        assert not ended, f"no answer, and no end: {request[:300]!r}"
                        ended = True
                        client.shutdown(socket.SHUT_WR)
                        continue
                    if not part:
                        break
                    came += part
            except (ConnectionResetError, BrokenPipeError):
                pass  # it refused before it had read all
        found = re.match(rb"HTTP/1\.1 (\d{3})", came)
        return int(found[1]) if found else 0, came

    def get(self, path: str, *headers: str) -> tuple[int, bytes]:
        return self.ask(message("GET", path, b"", *headers), patience=HANG)

    def post(self, path: str, body: bytes, *headers: str) -> tuple[int, bytes]:
        return self.ask(message("POST", path, body, *headers), patience=HANG)


def message(method: str, path: str, body: bytes, *headers: str) -> bytes:
    """A request as a sound client sends it, the path as it is given."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def make_state(folder: Path, *, http: str = "", serve: str = "", version: bool = True) -> Path:
    """A config, whose model has a first version if wanted; returns the path of the config."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(state=folder / "state", http=http, serve=serve))
    if version:
        rows = pd.concat([frame.assign(y=truth) for frame, truth in map(hour, range(10))])
        places = Places(folder / "state")
        first_version_of(MODEL, load(path).models[MODEL], rows, FileColumns(), places, now=time.time())
    return path


@contextmanager
def run_server(
    command: str, config: Path, *, tls: bool = False, open_files: int | None = None, **environment: str
) -> Iterator[Server]:
    """`driftd run` or `driftd serve`, once it answers where it says that it listens; with so many files at most."""
    log = config.parent / f"{command}.log"
    roots = os.pathsep.join(item for item in sys.path if item)
    bounded = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"]  # for good
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *bounded,
                sys.executable,
                "-m",
                "driftd.cli.main",
                command,
                "--config",
                str(config),
                "--log-level",
                "debug",
            ],
            env={**os.environ, "PYTHONPATH": roots, **environment},
            stdout=stream,
            stderr=stream,
        )
        try:
            end = time.monotonic() + HANG
            while not (found := re.search(rb'"address": "127\.0\.0\.1:(\d+)"', log.read_bytes())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            server = Server(process, int(found[1]), log, tls)
            while server.get("/-/healthy")[0] != 200:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield server
        finally:
            process.kill()
            process.wait()

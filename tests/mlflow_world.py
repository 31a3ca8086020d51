"""MLflow for tests: a real server behind a door that can be shut, and what its registry says of a model."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from driftd.registry import Registry
from driftd.registry.manifest import write_manifest
from loop_world import CONFIG, MODEL

NAME, ALIAS = "demand-registered", "champion"


@dataclass
class Door:
    """A port of loopback that leads to another, unless it is shut: then nobody answers there, as of a server away."""

    target: tuple[str, int]
    port: int = 0
    connections: int = 0  # so far
    _listener: socket.socket | None = None
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let requests through."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse what comes, and cut off what is under way."""
        if self._listener is not None:
            _close(self._listener)
        self._listener = None
        while self._open:
            _close(self._open.pop())

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            outer = socket.create_connection(self.target)
            self._open += [inner, outer]
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _close(source)
    _close(target)


@contextmanager
def door_to(address: str) -> Iterator[Door]:
    """An open door to a server."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    door = Door((parts.hostname, parts.port))
    door.open()
    try:
        yield door
    finally:
        door.shut()


@dataclass
class MlflowRegistry:
    """What is in a registered model, asked of the server itself."""

    address: str
    name: str

    @property
    def client(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient  # noqa: PLC0415 - only such tests pay for it

        return MlflowClient(tracking_uri=self.address, registry_uri=self.address)

    def versions(self) -> dict[str, int]:
        """The version of driftd's by the number of the version there."""
        found = self.client.search_model_versions(f"name='{self.name}'")
        return {str(version.version): int(version.tags.get("driftd_version", 0)) for version in found}

    def alias(self) -> int | None:
        """Which version of driftd's the alias names; 0 for one of others."""
        number = self.client.get_registered_model(self.name).aliases.get(ALIAS)
        return None if number is None else self.versions()[str(number)]

    def move(self, number: str) -> None:
        """Move the alias, as somebody would."""
        self.client.set_registered_model_alias(self.name, ALIAS, number)

    def number(self, version: int) -> str:
        """The number there of a version of driftd's."""
        return next(number for number, own in self.versions().items() if own == version)


def registered_config(address: str, name: str, **more: str) -> str:
    """The config of a world whose versions are registered."""
    keys = {"tracking_uri": address, "name": name, "look_every": "30m", "timeout": "60s", **more}
    place = ", ".join(f'{key}: "{value}"' for key, value in keys.items())
    return f"{CONFIG.rstrip()}\n    registry: {{{{mlflow: {{{{{place}}}}}}}}}\n"


def copy_version(registry: Registry, folder: Path, version: int, of: int = 1) -> None:
    """Publish the same model as another version."""
    staged = folder / f"staged-{version}"
    shutil.copytree(registry.file(MODEL, of, registry.manifest(MODEL, of).artefact).parent, staged)
    write_manifest(staged, replace(registry.manifest(MODEL, of), version=version, parent=of))
    registry.publish(MODEL, version, staged)

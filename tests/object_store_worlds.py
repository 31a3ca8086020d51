"""Buckets of a real S3 server on loopback: files are copied into them as an application would write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from driftd.config.object_store_schema import ObjectStoreConfig
from engine_servers import object_store

KEYS = "[default]\naws_access_key_id = some\naws_secret_access_key = thing\n"


@dataclass
class Store:
    """A running server: its address, its log of requests, a file of keys, and a client that may write."""

    endpoint: str
    log: Path
    keys: Path
    client: Any

    def settings(self, **more: Any) -> ObjectStoreConfig:
        """How a source reaches it."""
        return ObjectStoreConfig(endpoint=self.endpoint, region="us-east-1", credentials_file=self.keys, **more)

    def bucket(self, name: str) -> str:
        """A new bucket; gives its path in a config."""
        self.client.create_dir(name)
        return f"s3://{name}"

    def put(self, path: str, content: bytes) -> None:
        """Write an object, whole."""
        with self.client.open_output_stream(path.removeprefix("s3://"), compression=None) as out:
            out.write(content)

    def put_folder(self, folder: Path, path: str) -> None:
        """Write the files of a folder under their names below a prefix."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{path}/{file.relative_to(folder)}", file.read_bytes())

    def delete(self, path: str) -> None:
        """Remove an object."""
        self.client.delete_file(path.removeprefix("s3://"))

    def requests(self) -> list[str]:
        """The requests so far, such as `GET /bucket?list-type=2`."""
        return re.findall(r'"(?:\x1b\[\d+m)*((?:GET|HEAD) [^ ]+) HTTP', self.log.read_text())


@contextmanager
def running_store(folder: Path) -> Iterator[Store]:
    """A server until the end of the block."""
    from pyarrow.fs import S3FileSystem  # noqa: PLC0415 - the tests of other files need none of it

    with object_store(folder) as endpoint:
        (folder / "keys").write_text(KEYS)
        client = S3FileSystem(
            access_key="some",
            secret_key="thing",
            endpoint_override=endpoint,
            region="us-east-1",
            allow_bucket_creation=True,
            check_directory_existence_before_creation=False,
        )
        yield Store(endpoint, folder / "log.txt", folder / "keys", client)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One server for the tests of a module; each makes buckets of its own."""
    with running_store(tmp_path_factory.mktemp("store")) as running:
        yield running

"""Copies files to a place that another system reads: a folder, or a prefix of an object store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from driftd.config.object_store_schema import ObjectStoreConfig, scheme_of
from driftd.errors import DriftdError
from driftd.fsutil import make_staging, sha256_of, sync_tree


class StorageError(DriftdError):
    """A file cannot be copied to where another system reads it; the message holds no key."""


class StoragePlace(msgspec.Struct, frozen=True, kw_only=True):
    """The section of the config, as a job is told it."""

    path: str
    object_store: dict[str, object] | None = None


def copy_files(place: StoragePlace, files: Iterable[Path], *below: str) -> str:
    """Copy files to `PATH/below/...`; returns the address of that folder. A copy that is there is replaced.

    Raises StorageError.
    """
    inner = "/".join((place.path.rstrip("/"), *below))
    if scheme_of(place.path) is None:
        return _copy_to_folder(Path(inner), list(files))
    return _copy_to_store(place, inner, files)


def _copy_to_folder(target: Path, files: list[Path]) -> str:
    if all((target / file.name).is_file() and sha256_of(target / file.name) == sha256_of(file) for file in files):
        return str(target)  # it may be read just now
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = make_staging(target.parent)
        for file in files:
            shutil.copyfile(file, staged / file.name)
            (staged / file.name).chmod(0o644)
        staged.chmod(0o755)
        sync_tree(staged)
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from None
    return str(target)


def _copy_to_store(place: StoragePlace, target: str, files: Iterable[Path]) -> str:
    from driftd.sources.object_store import describe_error  # noqa: PLC0415 - Arrow only where a path is in a store
    from driftd.sources.store_client import StorePlace, open_store  # noqa: PLC0415 - see above

    found = StorePlace.of(target)
    try:
        store = open_store(found, ObjectStoreConfig.model_validate(place.object_store or {}))
        for file in files:
            with file.open("rb") as content, store.open_output_stream(f"{found.inner(target)}/{file.name}") as output:
                shutil.copyfileobj(content, output, 1 << 20)
    except OSError as error:
        why = describe_error(found.root, error).replace("cannot be read", "cannot be written")
        raise StorageError(why) from None
    return target

"""Log files in an object store (S3, Google Cloud Storage, Azure), by pyarrow's file systems."""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, TypeVar

import pyarrow as pa

from driftd.config.object_store_schema import ObjectStoreConfig
from driftd.errors import raise_shortage
from driftd.sources.file_system import (
    ASKING,
    ICEBERG,
    PARENTS_LOOKED_AT,
    TABLES,
    FileStat,
    Listing,
    StoreAwayError,
    matches,
    tables_among,
)
from driftd.sources.partitions import RecentPartitions
from driftd.sources.store_client import StorePlace, open_store

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo
    from pyarrow.fs import FileSystem as ArrowFileSystem

Answer = TypeVar("Answer")
WHOLE_SECONDS = 86_400.0  # from one listing of everything to the next, where the keys tell what is recent
UNKEYED_SECONDS = 600.0  # the same where they do not
FEW_OBJECTS = 1_000  # one page of a listing: then all of them are listed at each look
HELD_BYTES = 16 * 2**20  # an object up to this size is fetched whole, once for all that is read of it
_FETCHED_BYTES = 2**20  # at once, of a larger one
_SIGNS = re.compile(r"[*?\[]")
_REASONS = (
    (r"NO_SUCH_BUCKET|NoSuchBucket|ContainerNotFound", "there is no such bucket: correct the path, or make the bucket"),
    (
        r"AuthenticationException|DefaultAzureCredential|Failed to get token|[Dd]efault [Cc]redentials",
        "it finds no credentials that open it: name a file in object_store: {credentials_file: ...}, or set them in "
        "the environment",
    ),
    (
        r"INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT|SIGNATURE|EXPIRED|ExpiredToken|InvalidToken|"
        r"InvalidAuthenticationInfo|TOKEN|UNAUTHENTICATED|HTTP status 401",
        "it does not take the keys, which are wrong, expired or revoked: renew them in credentials_file or in the "
        "environment",
    ),
    (
        r"ACCESS_DENIED|AccessDenied|AllAccessDisabled|PERMISSION_DENIED|PermissionDenied|AuthorizationFailure|"
        r"AuthorizationPermissionMismatch|Forbidden|HTTP status 403",
        "it denies access: give the keys the rights to list the bucket and to get its objects (s3:ListBucket, "
        "s3:GetObject)",
    ),
    (
        r"PERMANENT_REDIRECT|PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301",
        "its bucket is in another region: set object_store: {region: ...}",
    ),
    (
        r"curlCode: 28|[Tt]ime(d)?[- ]?out",
        "it does not answer in time: bring it back, or raise object_store: {timeout: ...}",
    ),
    (
        r"curlCode: (35|51|58|60|77)\b|SSL|certificate",
        "its certificate is not trusted: name the file of its authority in AWS_CA_BUNDLE",
    ),
    (
        r"curlCode: (5|6|7)\b|NETWORK_CONNECTION|resolve host|connect",
        "it cannot be reached: bring it back, correct object_store: {endpoint: ...}, or let the unit out "
        "(IPAddressAllow)",
    ),
    (
        r"SLOW_DOWN|THROTTL|SlowDown|HTTP status 503|HTTP status 429",
        "it asks to be asked less: raise its quota",
    ),
)


def describe_error(place: str, error: Exception) -> str:
    """Why a store cannot be read, and what to do, in one sentence without keys."""
    text = str(error)
    for pattern, sentence in _REASONS:
        if re.search(pattern, text):
            return f"{place} cannot be read: {sentence}"
    first = re.sub(r"\s*\(Request ID: [^)]*\)", "", text.splitlines()[0] if text else type(error).__name__)
    return f"{place} cannot be read: {first}"


class ObjectFiles:
    """The objects below one path of a config. See `FileSystem`.

    Where every object of S3 lies below keys of Hive that tell its day (`day=2026-11-30/`, `year=/month=/day=`), a look
    lists the newest days, those of open windows, those that it never saw and what is above them; once a day it lists
    everything, for objects that come late. Elsewhere it lists everything, less often where that takes more than one
    request.

    Objects do not change while they are read. One that is overwritten is noticed by its size and time.
    """

    buffer_bytes = _FETCHED_BYTES
    files_grow = False

    def __init__(self, pattern: str, config: ObjectStoreConfig) -> None:
        self._place = StorePlace.of(pattern)
        self._config = config
        self._opened: ArrowFileSystem | None = None
        self._objects = RecentPartitions()
        self._passed_over: dict[str, None] = {}
        self._tables: dict[str, str] = {}
        self._whole_at = float("-inf")
        self._stats: dict[str, FileStat] = {}
        self._held: tuple[str, bytes] | None = None

    def find(self, pattern: str, now: float, since: float = math.inf) -> Listing:
        """See `FileSystem.find`."""
        parts = self._place.inner(pattern).split("/")
        kept = next((place for place, part in enumerate(parts) if _SIGNS.search(part)), len(parts))
        base, rest = "/".join(parts[:kept]).rstrip("/"), parts[kept:]
        is_whole = not 0 <= now - self._whole_at < self._apart
        if not is_whole and self._are_listed_by_day:
            is_whole = not self._list_recent(base, rest, now, since)
        if is_whole:
            self._list_whole(base, rest)
            self._whole_at = now
        listing = Listing(tables=self._tables, passed_over=list(self._passed_over))
        listing.files = [(self._place.outer(path), stat) for path, stat in self._objects.items()]
        self._stats = dict(listing.files)
        if not self._are_listed_by_day and self._apart:
            listing.seen_until = self._whole_at
            listing.remarks = (self._describe_long_listing(pattern),)
        return listing

    def _describe_long_listing(self, pattern: str) -> str:
        """That a look may find nothing new, and why."""
        seldom = f"all of them are listed every {UNKEYED_SECONDS / 60:.0f} min, and windows wait for that"
        if self._objects.are_keyed:
            return f"{pattern} has {len(self._stats):,} objects: {seldom}, because only s3:// is listed by days"
        return (
            f"{pattern} has {len(self._stats):,} objects without keys that tell their day: {seldom}; write them below "
            "day=2026-01-31/, and a look lists new days alone"
        )

    def stat(self, path: str) -> FileStat:
        """See `FileSystem.stat`: as it was listed."""
        if path not in self._stats:
            info = self._ask(lambda store: store.get_file_info(self._place.inner(path)))
            if info.size is None:
                raise FileNotFoundError(f"{path} is gone")
            self._stats[path] = _stat_of(info)
        return self._stats[path]

    def open(self, path: str) -> BinaryIO:
        """See `FileSystem.open`."""
        held = self._fetch(path)
        return io.BytesIO(held) if held is not None else io.BufferedReader(self._object(path), _FETCHED_BYTES)

    def open_for_arrow(self, path: str) -> IO[bytes] | io.RawIOBase:
        """See `FileSystem.open_for_arrow`."""
        held = self._fetch(path)
        return pa.BufferReader(held) if held is not None else self._object(path)

    def release(self) -> None:
        """See `FileSystem.release`."""
        self._held = None

    @property
    def _are_listed_by_day(self) -> bool:
        """Whether a look need not list everything: Google's client, for one, does not show folders of keys."""
        return self._place.scheme == "s3" and self._objects.are_keyed

    @property
    def _apart(self) -> float:
        """Seconds from one listing of everything to the next."""
        if self._are_listed_by_day:
            return WHOLE_SECONDS
        return 0.0 if len(self._objects) <= FEW_OBJECTS else UNKEYED_SECONDS

    def _list_whole(self, base: str, rest: list[str]) -> None:
        found = self._children(base, deep=len(rest) != 1)
        if not found and "/" in base and not rest:
            info = self._ask(lambda store: store.get_file_info(base))
            found = [info] if info.size is not None else []
        if not found:
            self._require_bucket(base)
        around = self._tables_around(base)
        inside = tables_among(self._place.outer(info.path) for info in found)
        self._tables, self._passed_over = {**around, **inside}, {}
        self._objects.replace_all(base, self._objects_in(base, rest, found))

    def _list_recent(self, base: str, rest: list[str], now: float, since: float) -> bool:
        """List the newest partitions; returns whether everything still lies in partitions."""
        return self._objects.update(base, now, since, self._children, lambda found: self._objects_in(base, rest, found))

    def _objects_in(self, base: str, rest: list[str], found: list[FileInfo]) -> Iterator[tuple[str, FileStat]]:
        """The objects among what was found that are read."""
        listing = Listing(tables=self._tables)
        for info in found:
            if info.size is None or (not info.size and info.path.endswith("/")):
                continue  # a folder, or the mark of one
            path, inside = self._place.outer(info.path), info.path.removeprefix(f"{base}/").split("/")
            if rest and not matches(inside, rest):
                continue
            if listing.is_listed(path, self._place.outer(base)):
                yield info.path, _stat_of(info)
        self._passed_over |= dict.fromkeys((*listing.passed_over, *listing.misnamed))

    def _children(self, folder: str, *, deep: bool) -> list[FileInfo]:
        """What is directly in a folder, or all that is below it; nothing where it is not there."""
        from pyarrow.fs import FileSelector  # noqa: PLC0415 - only where a path is in a store

        try:
            return list(self._ask(lambda store: store.get_file_info(FileSelector(folder, recursive=deep))))
        except FileNotFoundError:
            return []

    def _require_bucket(self, base: str) -> None:
        """An empty prefix is an answer; a bucket that is not there is none."""
        bucket = base.partition("/")[0]
        if self._ask(lambda store: store.get_file_info(bucket)).type.name == "NotFound":
            raise StoreAwayError(describe_error(self._place.outer(bucket), OSError("NoSuchBucket")))

    def _tables_around(self, base: str) -> dict[str, str]:
        """The table that the path names a part of, if it looks like one."""
        parts = base.split("/")
        if parts[-1] != "data" and not any("=" in part for part in parts[-PARENTS_LOOKED_AT:]):
            return {}
        tables: dict[str, str] = {}
        for depth in range(max(1, len(parts) - PARENTS_LOOKED_AT), len(parts)):
            folder = "/".join(parts[:depth])
            marks = {f"{folder}/{mark}": kind for mark, kind in TABLES.items()} | {f"{folder}/metadata": ICEBERG}
            infos = self._ask(lambda store, marks=marks: store.get_file_info(list(marks)))  # type: ignore[misc]
            kinds = [marks[info.path] for info in infos if info.type.name == "Directory"]
            tables |= {self._place.outer(folder): kind for kind in kinds[:1]}
        return tables

    def _fetch(self, path: str) -> bytes | None:
        """The content of an object that is small; None of a large one."""
        if self._held is not None and self._held[0] == path:
            return self._held[1]
        self._held = None
        if self.stat(path).size > HELD_BYTES:
            return None
        self._held = path, self._ask(lambda store: self._read(store, self._place.inner(path)))
        return self._held[1]

    def _read(self, store: ArrowFileSystem, path: str) -> bytes:
        if self._place.scheme == "s3":  # one request more than its size takes; a stream would take one for each piece
            with store.open_input_file(path) as file:
                return bytes(file.read())
        with store.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read())

    def _object(self, path: str) -> _ObjectFile:
        file = self._ask(lambda store: store.open_input_file(self._place.inner(path)))
        return _ObjectFile(file, self._errors)

    def _ask(self, question: Callable[[ArrowFileSystem], Answer]) -> Answer:
        """What the store answers. Raises StoreAwayError when it does not, FileNotFoundError of no object."""
        with self._errors():
            if self._opened is None:
                self._opened = open_store(self._place, self._config)
            return question(self._opened)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        ASKING.add(threading.get_ident())
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise_shortage(error)
            self._opened = None  # so that keys that were renewed are read again
            raise StoreAwayError(describe_error(self._place.root, error)) from error
        finally:
            ASKING.discard(threading.get_ident())


class _ObjectFile(io.RawIOBase):
    """One object, fetched piece by piece."""

    def __init__(self, file: pa.NativeFile, errors: Callable[[], object]) -> None:
        super().__init__()
        self._file, self._errors = file, errors
        self._size, self._at = int(file.size()), 0

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer does
        """See `io.RawIOBase`."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        with self._errors():  # type: ignore[attr-defined]  # a context manager
            piece = self._file.read_at(wanted, self._at)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.IOBase`."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._file.close()
        super().close()


def _stat_of(info: FileInfo) -> FileStat:
    return FileStat(0, int(info.size or 0), int(info.mtime_ns or 0))

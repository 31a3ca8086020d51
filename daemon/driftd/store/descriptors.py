"""Descriptors: how many this process may have, and databases that are opened and looked at without losing locks.

To close *any* descriptor of a file ends every POSIX lock that this process has on it, so also those of SQLite's
connections: whoever closes the database next in another process then takes itself for the last one, removes the log
under our connection, and the file is destroyed (sqlite.org/howtocorrupt.html, 2.2). So every connection is counted
here, and a descriptor for raw reading is closed only while nothing else in this process has its file open.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

WANTED = 65_536  # descriptors; a soft limit is there for programs that cannot count beyond 1024, and this one can
MOST_OPEN_SOURCES = 32  # models whose source is open at once: the rest is opened when its turn comes
_SHARE_OF_SOURCES = 16  # of the descriptors, one in so many is a source that stays open
DESCRIPTORS_OF_A_STORE = 5  # an event store that takes events: the database, its log, its index, its gate, a spare

_Identity = tuple[int, int]


def raise_limit() -> int:
    """Have this process open as many files as its hard limit allows, up to `WANTED`; returns how many it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a sandbox that forbids it: the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """How many descriptors this process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return WANTED if soft == resource.RLIM_INFINITY else soft


def count_open() -> int:
    """How many descriptors this process has; 0 where nobody can tell."""
    try:
        return len(_open_numbers()) - 1
    except OSError:
        return 0


def _open_numbers() -> list[int]:
    """The descriptors of this process, and that of the look itself. Raises OSError where nobody can tell."""
    return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - the names are all that is wanted


def most_open_sources(others: int = 0) -> int:
    """How many sources may stay open between two looks, beside so many other descriptors."""
    return max(2, min(MOST_OPEN_SOURCES, (limit() - others) // _SHARE_OF_SOURCES))


class _Files:
    """The databases that this process has open, by device and inode."""

    def __init__(self) -> None:
        self._raw: dict[_Identity, int] = {}
        self._connections: Counter[_Identity] = Counter()
        self._closed: deque[_Identity] = deque()  # of connections, until somebody holds the lock
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lock_files(self) -> Iterator[None]:
        """Open a connection inside; no descriptor is closed meanwhile."""
        with self._hold_lock():
            yield

    def add(self, path: str) -> _Identity | None:
        """Count a connection that was just opened, inside of `lock_files`."""
        try:
            status = os.stat(path)  # noqa: PTH116 - what SQLite was given may be bytes or text
        except OSError:
            return None
        identity = status.st_dev, status.st_ino
        self._connections[identity] += 1
        return identity

    def drop(self, identity: _Identity) -> None:
        """A connection was closed. Never waits: the garbage collector may say so to a thread that holds the lock."""
        self._closed.append(identity)
        self._count_closed()

    @contextlib.contextmanager
    def _hold_lock(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        finally:
            self._count_closed()

    def _count_closed(self) -> None:
        """Count what was closed, unless another holds the lock, who does so then."""
        while self._closed and self._lock.acquire(blocking=False):
            try:
                while self._closed:
                    self._forget(self._closed.popleft())
            finally:
                self._lock.release()

    def _forget(self, identity: _Identity) -> None:
        self._connections[identity] -= 1
        if self._connections[identity] <= 0:
            del self._connections[identity]
        self._let_go(identity)

    def head(self, path: Path, size: int) -> tuple[bytes, int]:
        """The first bytes of a file, and its length."""
        with self._hold_lock():
            self._let_go_of_removed()
            status = path.stat()
            identity = status.st_dev, status.st_ino
            raw = self._raw.get(identity)
            if raw is None:
                raw = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                opened = os.fstat(raw)  # another file, perhaps, than the one a moment ago
                identity = opened.st_dev, opened.st_ino
                self._raw[identity] = raw
            found = os.pread(raw, size, 0), os.fstat(raw).st_size
            self._let_go(identity)
            return found

    def _let_go(self, identity: _Identity) -> None:
        """Close the descriptor for raw reading, unless something else has the file open."""
        raw = self._raw.get(identity)
        if raw is None or identity in self._connections or _is_open_elsewhere(identity, raw):
            return
        os.close(self._raw.pop(identity))

    def _let_go_of_removed(self) -> None:
        """A file without a name is nobody's database any more, and its room on the disk is wanted back."""
        for identity, raw in list(self._raw.items()):
            if os.fstat(raw).st_nlink == 0:
                os.close(self._raw.pop(identity))


def _is_open_elsewhere(identity: _Identity, raw: int) -> bool:
    """Whether this process has another descriptor of a file: connections of an application's own are not counted."""
    try:
        numbers = _open_numbers()
    except OSError:
        return True  # where nobody can tell, the descriptor stays
    for number in numbers:
        with contextlib.suppress(OSError):  # closed meanwhile, as the one of the listing itself
            status = os.fstat(number)
            if number != raw and (status.st_dev, status.st_ino) == identity:
                return True
    return False


_files = _Files()
head_of = _files.head


class CountedConnection(sqlite3.Connection):
    """A connection that is counted until it is closed; one that is forgotten is closed with its object."""

    def __init__(self, database: str | Path, *args: Any, **options: Any) -> None:
        self._identity: _Identity | None = None
        path = str(database)
        if options.get("uri"):
            path = unquote(path.removeprefix("file://").partition("?")[0])
        with _files.lock_files():
            super().__init__(database, *args, **options)
            self._identity = _files.add(path)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        identity, self._identity = self._identity, None
        if identity is not None:
            _files.drop(identity)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # of another thread: SQLite closes it, and it counts on
            self.close()


open_database = partial(sqlite3.connect, factory=CountedConnection)


class UnchangingConnection(CountedConnection):
    """Reads a database that nobody has open; `close` raises sqlite3.OperationalError where somebody wrote meanwhile.

    What was read may then be of two moments.
    """

    before: tuple[Path, tuple[int, int]] | None = None

    def close(self) -> None:
        """Close the connection."""
        super().close()
        before, self.before = self.before, None
        if before is not None and _stamp(before[0]) != before[1]:
            raise sqlite3.OperationalError(f"{before[0]} was written to while it was read: ask again")


def open_to_read(
    path: Path, timeout: float, isolation_level: Literal["DEFERRED"] | None = "DEFERRED"
) -> sqlite3.Connection:
    """A connection that only reads and leaves nothing beside the database, where nobody else has that open.

    SQLite makes a log and its index on behalf of a reader too. One that may write removes them at its end. One that
    may not reads the file as one that does not change, since nobody has it open: see `UnchangingConnection`.
    """
    address, before = path.resolve().as_uri(), _stamp(path)
    is_open = any(path.with_name(f"{path.name}-{log}").exists() for log in ("wal", "journal"))
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    how = "mode=ro" if is_open else "mode=rw" if may_write else "mode=ro&immutable=1"
    factory = CountedConnection if is_open or may_write else UnchangingConnection
    connection = open_database(
        f"{address}?{how}", uri=True, timeout=timeout, isolation_level=isolation_level, factory=factory
    )
    if isinstance(connection, UnchangingConnection):
        connection.before = path, before
    elif not is_open:
        connection.execute("pragma query_only = on")
    return connection


def open_lasting(path: Path) -> sqlite3.Connection:
    """A connection that reads for as long as another writes."""
    return open_database(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


STATE_BUSY_SECONDS = 10.0  # that a connection to `state.db` waits for another writer


BYTES_OF_A_MODEL = 1_000_000  # resident, of 20 features, twice what benchmarks/fleet.py prints
_SHARE_OF_MEMORY = 0.5


def models_that_fit() -> dict[str, int]:
    """How many models one host takes, by what ends first: descriptors (of `driftd serve`, once raised) and memory.

    The daemon itself keeps a bounded number of sources open, however many models there are.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "descriptors": most // 2 // DESCRIPTORS_OF_A_STORE,  # the other half is for connections
        "memory": int(memory * _SHARE_OF_MEMORY) // BYTES_OF_A_MODEL,
    }


def describe_capacity(models: int) -> tuple[str, bool]:
    """How many models there are beside how many fit, in one sentence; and whether these fit."""
    fit = models_that_fit()
    least = min(fit, key=lambda what: fit[what])
    number = f"{models} model{'s' if models != 1 else ''}"
    sentence = f"{number}; this host takes about {fit[least]:,} (by {least}; of 20 features, about 1 MB each)"
    return sentence, models <= fit[least]

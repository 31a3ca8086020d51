"""Whether a database file is whole, found out before anything is written to it.

What is looked at: the header, the length that it promises, the log beside it, and SQLite's own `quick_check` within a
time limit. The last reads every page: a file too large for the limit passes here, and is read whole by upkeep.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from driftd.errors import ExitCode
from driftd.store.descriptors import head_of, open_database
from driftd.store.schema_versions import DatabaseError

STATE_SECONDS, EVENTS_SECONDS = 5.0, 1.0  # what a start of the daemon can afford for each file
OPENING_SECONDS = 0.2  # and an application that opens its event store
_MAGIC = b"SQLite format 3\x00"
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER = 32
_HEADER = 100
_WRITING = 0.05
_FAULTS_TOLD = 3
_STEPS = 20_000  # of SQLite's virtual machine, between two looks at the clock


class DamagedError(DatabaseError):
    """A database whose content cannot be trusted; nothing may be written to it. The message says what to do."""

    exit_code: ClassVar[int] = ExitCode.DAMAGED


def examine(path: Path, *, seconds: float) -> str | None:
    """What is wrong with the database at `path`, in half a sentence; None when nothing is, or there is no file.

    Writes nothing. `seconds` bounds the reading of the pages; what could not be read in that time counts as whole.
    Raises OSError when the file cannot be read.
    """
    if not path.exists():
        return None
    if not path.stat().st_size:
        return "the file is empty" if _has_content(_beside(path, "-wal")) else None
    if _file_fault(path) is not None:
        time.sleep(_WRITING)  # a header that is just being written is no fault
    return _file_fault(path) or _page_fault(path, seconds)


def is_damage(error: BaseException) -> bool:
    """Whether an error says that a database's content is broken (and not that it is locked, full or read-only)."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.DatabaseError) or code is None:
        return False
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def handle_failure(handler: Callable[[Exception], object]) -> Iterator[None]:
    """Hand an exception of the block to `handler` and go on after the block.

    An exception that says that a database is damaged is not handed over but raised: the program must end on it.
    """
    try:
        yield
    except Exception as error:
        if is_damage(error):
            raise
        handler(error)


def describe_sqlite_error(error: Exception) -> str | None:
    """What an error of SQLite says of the state database, for people; None for any other error."""
    if type(error) is sqlite3.DatabaseError:
        return f"the state database is damaged ({error}): `driftd doctor` says how to restore it"
    if type(error) is sqlite3.OperationalError:
        return f"the state database cannot be used ({error}); is state_dir right, and may you write there?"
    return None


def mark_damaged(path: Path, finding: str) -> None:
    """Leave word beside a database that nothing may be written to it until it is restored; the first word stays."""
    try:
        with _mark(path).open("x", encoding="utf-8") as file:
            file.write(finding + "\n")
    except FileExistsError:
        return


def damage_marked(path: Path) -> str | None:
    """What was left by `mark_damaged`; None when nothing was."""
    if not _mark(path).exists():  # asked at every look at a model, mostly in vain: this opens nothing
        return None
    try:
        return _mark(path).read_text("utf-8").strip() or "it was marked as damaged"
    except FileNotFoundError:
        return None


def clear_mark(path: Path) -> None:
    """Forget the damage: the database was restored."""
    _mark(path).unlink(missing_ok=True)


def keep_aside(path: Path) -> Path | None:
    """Copy a broken database, with the files beside it, to `<name>.broken-<time>`; returns the copy.

    The time is that of its last change, so that the same broken file is copied once, however often a start finds it.
    None when the disk has no room for the copy: then the broken file itself is all there is, and stays untouched.
    """
    parts = [
        path,
        *(neighbour for neighbour in (_beside(path, "-wal"), _beside(path, "-shm")) if _has_content(neighbour)),
    ]
    if not path.exists():
        return None
    changed = max(
        part.stat().st_mtime for part in parts if not part.name.endswith("-shm")
    )  # looking makes that one anew
    kept = path.with_name(f"{path.name}.broken-{datetime.fromtimestamp(changed, UTC):%Y%m%dT%H%M%SZ}")
    if kept.exists():
        return kept
    size = sum(part.stat().st_size for part in parts)
    if shutil.disk_usage(path.parent).free < 2 * size:
        return None
    for part in reversed(parts):  # the database last: it says that the copy is whole
        target = kept.with_name(kept.name + part.name.removeprefix(path.name))
        unfinished = target.with_name(f".{target.name}.unfinished")
        try:
            shutil.copy2(part, unfinished)
            unfinished.replace(target)
        except OSError:
            unfinished.unlink(missing_ok=True)
            return None
    return kept


def _file_fault(path: Path) -> str | None:
    return _header_fault(path) or _log_fault(_beside(path, "-wal"))


def _header_fault(path: Path) -> str | None:
    header, length = head_of(path, _HEADER)
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        return "the file is not a database"
    page = struct.unpack(">H", header[16:18])[0]
    page = 65536 if page == 1 else page
    changes, pages, valid_for = (struct.unpack(">I", header[at : at + 4])[0] for at in (24, 28, 92))
    # With a log beside it, pages that the header does not know yet, or that the file has not yet, are nothing unusual.
    if changes == valid_for and not _has_content(_beside(path, "-wal")) and length < page * pages:
        return f"the file was cut short: it has {length:,} bytes, its header promises {page * pages:,}"
    return None


def _log_fault(wal: Path) -> str | None:
    """SQLite passes a log over whose header it cannot read, and with it every commit inside: that must not be silent.

    A header that is cut short or all zeros comes from a power cut before the first commit; nothing is lost with it.
    """
    if not _has_content(wal):
        return None
    with wal.open("rb") as file:
        header = file.read(_WAL_HEADER)
    if len(header) < _WAL_HEADER or not any(header):
        return None
    magic, *_, first, second = struct.unpack(">8I", header)
    order = ">" if magic == _WAL_MAGIC[1] else "<"
    if magic not in _WAL_MAGIC or _checksum(struct.unpack(f"{order}6I", header[:24])) != (first, second):
        return f"its write-ahead log {wal.name} is rubbish, and what it held is lost"
    return None


def _checksum(words: tuple[int, ...]) -> tuple[int, int]:
    """SQLite's checksum of a log header, over its first six words."""
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _page_fault(path: Path, seconds: float) -> str | None:
    end = time.monotonic() + seconds
    try:
        with closing(open_database(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=seconds)) as connection:
            connection.execute("select count(*) from sqlite_master").fetchone()
            connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
            found = [str(row[0]) for row in connection.execute("pragma quick_check(20)")]
    except sqlite3.OperationalError:
        return None  # interrupted by the limit, locked, or not readable: none of these is damage
    except sqlite3.DatabaseError as error:
        return str(error)
    if found == ["ok"]:
        return None
    faults = [" ".join(line.split()) for line in found]
    more = f" (and {len(faults) - _FAULTS_TOLD} more faults)" if len(faults) > _FAULTS_TOLD else ""
    return "; ".join(faults[:_FAULTS_TOLD]) + more


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _mark(path: Path) -> Path:
    return _beside(path, ".damaged")

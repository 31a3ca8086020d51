"""What is known of a growing folder of log files: which rows stand where, and which times they span."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from driftd.errors import raise_shortage
from driftd.sources.dialects import Dialect, open_text
from driftd.sources.file_system import LOCAL, FileStat, FileSystem
from driftd.sources.listing import is_columnar
from driftd_detectors.columns import Numbers
from driftd_detectors.times import FUTURE_SECONDS


def span_of(times: Numbers) -> tuple[float | None, float | None]:
    """The least and the greatest time, None when there is none."""
    known = times[np.isfinite(times)]
    return (float(known.min()), float(known.max())) if len(known) else (None, None)


_VERSION = 1
_SMALL_BYTES = 2**20
HEAD_BYTES = 256


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Some consecutive rows of one file. `start` and `stop` are rows of a Parquet file, bytes of a text file."""

    file: int  # number of the file in the catalogue
    start: int
    stop: int
    rows: int
    first_row: int  # how many rows of the whole source arrived before these
    first_at: float | None  # the span of their event times; None when no row has one
    last_at: float | None
    set_aside: int = 0  # rows among them that have no usable time: they have no number and are left out
    found_at: float | None = None  # bounds their times; None in what an earlier release found: not bounded
    first_future: float | None = None  # the earliest time beyond that bound
    is_timed: bool = True  # whether the rows have times of their own

    def part(self, start: int, stop: int) -> Stretch:
        """Some rows of a Parquet file out of these, of which all have a usable time."""
        rows = stop - start
        return msgspec.structs.replace(
            self, start=start, stop=stop, rows=rows, first_row=self.first_row + start - self.start
        )


class LogFile(msgspec.Struct):
    """One file as it was at the last look."""

    path: str
    inode: int
    size: int = 0
    changed_at: int = 0  # nanoseconds, as the file system says
    done: int = 0  # rows of a Parquet file, bytes of a text file that are in stretches
    header: str = ""  # the first line of a CSV file
    malformed: int = 0  # lines that are no rows
    head: bytes = b""  # a digest of the first bytes of a text file, of the first rows of a Parquet file
    head_bytes: int = 0
    tail: bytes = b""  # a digest of the last bytes before `done`
    rows: int = 0  # that were read, with those that are set aside
    lines: int = 0  # of a text file before `done`
    no_time: int = 0
    impossible_time: int = 0
    no_label: int = 0  # of a feedback file, as is `refused`
    refused: int = 0
    late: int = 0
    undecodable: int = 0  # lines of which some text was not of the encoding; their rows are read with U+FFFD in it
    examples: dict[str, str] = {}  # what was set aside last, by reason
    absent: list[str] | None = None  # the mapped columns that no row of it had; None before the first row
    is_timed: bool = False  # a row had a time
    in_long_line: bool = False  # `done` stands within a line that was given up
    replaces: int = 0  # rows of the file that stood at its path before, and can be read no more
    begun_at: float | None = None


class _Stored(msgspec.Struct):
    version: int
    pattern: str
    files: list[LogFile]
    stretches: list[Stretch]


@dataclass(slots=True)
class LogCatalogue:
    """The files of one pattern and their stretches in the order in which they were found."""

    place: Path
    pattern: str
    files: list[LogFile] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    dialect: Dialect = field(default_factory=Dialect)
    system: FileSystem = LOCAL

    @classmethod
    def load(cls, place: Path, pattern: str, dialect: Dialect, system: FileSystem) -> LogCatalogue:
        """Read what `save` wrote; empty when there is none, or when it was for another pattern.

        A damaged catalogue is like none: the files are the truth, and reading them again costs time only.
        """
        empty = cls(place, pattern, dialect=dialect, system=system)
        try:
            stored = msgspec.json.decode(place.read_bytes(), type=_Stored)
        except (FileNotFoundError, ValueError):
            return empty
        if stored.version != _VERSION or stored.pattern != pattern:
            return empty
        return cls(place, pattern, stored.files, stored.stretches, dialect, system)

    def save(self) -> None:
        """Replace the stored catalogue in one step."""
        self.place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.place.with_name(self.place.name + ".unfinished")
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(_Stored(_VERSION, self.pattern, self.files, self.stretches)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.place)

    @property
    def rows(self) -> int:
        """How many rows ever arrived."""
        return self.stretches[-1].first_row + self.stretches[-1].rows if self.stretches else 0

    def find_changed(self, seen: Sequence[tuple[str, FileStat]]) -> list[int]:
        """The numbers of the listed files that are new or not as they were, oldest change first.

        A file that was renamed, copied away before it was cut, or compressed (log rotation) is the same file; one that
        was cut or replaced is a new one.
        """
        listing = sorted((stat.changed_at, path, stat) for path, stat in seen)
        standing = self._standing(listing)
        moved = _MovedFiles(self, set(standing.values()))
        numbers = []
        for changed_at, path, stat in listing:
            number = standing.get(path)
            if number is None:
                number = moved.take(path, stat)
            if number is None:
                number = self.begin(path, stat.inode)
            file = self.files[number]
            unfinished = file.done < file.size and self.dialect.is_plain(path) and not is_columnar(path)
            if unfinished or (stat.size, changed_at) != (file.size, file.changed_at):
                numbers.append(number)
        self._forget_moved()
        return numbers

    def add(self, number: int, found: Stretch) -> Stretch:
        """Append a stretch of one file, numbering its rows; small ones that follow each other become one.

        Returns the stretch alone, with its numbers.
        """
        found = msgspec.structs.replace(found, file=number, first_row=self.rows)
        if not found.rows:
            return found
        if self.stretches and not is_columnar(self.files[number].path) and _can_unite(self.stretches[-1], found):
            self.stretches[-1] = _merge(self.stretches[-1], found)
        else:
            self.stretches.append(found)
        return found

    def in_time(self, since: float, until: float) -> list[Stretch]:
        """The stretches that may hold rows with `since <= at < until`, in the order of arrival."""
        return [
            stretch
            for stretch in self.stretches
            if stretch.first_at is not None
            and stretch.last_at is not None
            and stretch.first_at < until
            and stretch.last_at >= since
        ]

    def in_order(self, start: int, stop: int) -> list[Stretch]:
        """The stretches that hold rows from `start` to `stop` in the order of arrival."""
        return [
            stretch
            for stretch in self.stretches
            if stretch.first_row < stop and stretch.first_row + stretch.rows > start
        ]

    def begin(self, path: str, inode: int) -> int:
        """A new file at a path; one that stood there keeps its rows, although they cannot be read any more."""
        replaces = self.leave(path)
        self.files.append(LogFile(path, inode, replaces=replaces, examples={}))
        return len(self.files) - 1

    def leave(self, path: str) -> int:
        """Another file stands at this path now; returns how many rows of the one before are lost with it."""
        rows = 0
        for file in self.files:
            if file.path == path:
                file.path = f"{path} (replaced)"
                rows += file.rows
        return rows

    def holds(self, file: LogFile, path: str) -> bool:
        """Whether a text file at `path` begins with everything that was read of a known one."""
        if not file.head_bytes or digest_of(path, 0, file.head_bytes, self.dialect, self.system) != file.head:
            return False
        return not file.tail or self._tail_of(file, path) == file.tail

    def mark(self, file: LogFile) -> None:
        """Take down what the file is known by, after reading up to `done`."""
        if file.head_bytes < HEAD_BYTES:
            file.head_bytes = min(file.done, HEAD_BYTES)
            file.head = digest_of(file.path, 0, file.head_bytes, self.dialect, self.system)
        file.tail = self._tail_of(file, file.path)

    def _tail_of(self, file: LogFile, path: str) -> bytes:
        return digest_of(path, max(0, file.done - HEAD_BYTES), min(file.done, HEAD_BYTES), self.dialect, self.system)

    def _standing(self, listing: Sequence[tuple[int, str, FileStat]]) -> dict[str, int]:
        """The files that are where they were."""
        by_path = {file.path: number for number, file in enumerate(self.files)}
        standing = {}
        for changed_at, path, stat in listing:
            number = by_path.get(path)
            if number is not None and self._is_same(self.files[number], stat, changed_at):
                standing[path] = number
        return standing

    def _is_same(self, file: LogFile, stat: FileStat, changed_at: int) -> bool:
        if is_columnar(file.path):  # rewritten whole, with more rows: looked at when it is read
            return True
        if (file.inode, file.size, file.changed_at) == (stat.inode, stat.size, changed_at):
            return True
        if self.dialect.is_plain(file.path) and stat.size < file.done:
            return False
        if not file.head_bytes:
            return file.inode == stat.inode
        return self.holds(file, file.path)

    def _forget_moved(self) -> None:
        """A file that was cut after it was copied away lost nothing."""
        paths = {file.path for file in self.files}
        for file in self.files:
            if file.replaces and file.begun_at is None and f"{file.path} (replaced)" not in paths:
                file.replaces = 0


class _MovedFiles:
    """Known files that no longer stand where they stood, to be found again under other paths."""

    def __init__(self, catalogue: LogCatalogue, standing: set[int]) -> None:
        self._catalogue = catalogue
        self._free = {
            number: file for number, file in enumerate(catalogue.files) if number not in standing and file.done
        }
        self._head_sizes = {file.head_bytes for file in self._free.values() if file.head_bytes}

    def take(self, path: str, stat: FileStat) -> int | None:
        """The number of the known file that now stands at `path`, if one does."""
        number = self._by_inode(path, stat)
        if number is None and not is_columnar(path):
            number = self._by_content(path)
        if number is None:
            return None
        file = self._free.pop(number)
        self._catalogue.leave(path)
        file.path = path
        return number

    def _by_inode(self, path: str, stat: FileStat) -> int | None:
        for number, file in self._free.items():
            if file.inode and file.inode == stat.inode and is_columnar(path) == is_columnar(file.path):
                if is_columnar(path):
                    return number
                cut = self._catalogue.dialect.is_plain(path) and stat.size < file.done
                if not cut and self._catalogue.holds(file, path):
                    return number
        return None

    def _by_content(self, path: str) -> int | None:
        known = self._catalogue
        heads = {size: digest_of(path, 0, size, known.dialect, known.system) for size in self._head_sizes}
        for number, file in self._free.items():
            if file.head_bytes and heads[file.head_bytes] == file.head and self._catalogue.holds(file, path):
                return number
        return None


def digest_of(path: str, start: int, size: int, dialect: Dialect, files: FileSystem = LOCAL) -> bytes:
    """A digest of some bytes of a file's text; empty when it cannot be read."""
    try:
        with open_text(path, dialect, files) as text:
            text.seek(start)
            return hashlib.blake2b(text.read(size), digest_size=12).digest()
    except (OSError, EOFError) as error:
        raise_shortage(error)  # else a file would be taken for another one
        return b""


def _can_unite(last: Stretch, found: Stretch) -> bool:
    """Whether two stretches are read as one with the same outcome for every row."""
    if last.file != found.file or last.stop != found.start or found.stop - last.start >= _SMALL_BYTES:
        return False
    if last.found_at is None or found.found_at is None or last.is_timed != found.is_timed:
        return False
    if not last.is_timed:
        return last.found_at == found.found_at
    return last.first_future is None or last.first_future > found.found_at + FUTURE_SECONDS


def _merge(earlier: Stretch, other: Stretch) -> Stretch:
    def least(values: Iterable[float | None]) -> float | None:
        return min((value for value in values if value is not None), default=None)

    return msgspec.structs.replace(
        earlier,
        stop=other.stop,
        rows=earlier.rows + other.rows,
        first_at=least((earlier.first_at, other.first_at)),
        last_at=max((at for at in (earlier.last_at, other.last_at) if at is not None), default=None),
        set_aside=earlier.set_aside + other.set_aside,
        found_at=other.found_at,
        first_future=least((earlier.first_future, other.first_future)),
    )

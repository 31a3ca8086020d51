"""What is known of a growing folder of log files: which rows stand where, and which times they span."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from driftd_detectors.columns import Numbers


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


class LogFile(msgspec.Struct):
    """One file as it was at the last look."""

    path: str
    inode: int
    size: int = 0
    changed_at: int = 0  # nanoseconds, as the file system says
    done: int = 0  # rows of a Parquet file, bytes of a text file that are in stretches
    header: str = ""  # the first line of a CSV file
    malformed: int = 0  # lines that are no rows
    head: bytes = b""  # a digest of the first bytes of a text file: paths and inodes are used again
    head_bytes: int = 0


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

    @classmethod
    def load(cls, place: Path, pattern: str) -> LogCatalogue:
        """Read what `save` wrote; empty when there is none, or when it was for another pattern.

        A damaged catalogue is like none: the files are the truth, and reading them again costs time only.
        """
        try:
            stored = msgspec.json.decode(place.read_bytes(), type=_Stored)
        except (FileNotFoundError, ValueError):
            return cls(place, pattern)
        if stored.version != _VERSION or stored.pattern != pattern:
            return cls(place, pattern)
        return cls(place, pattern, stored.files, stored.stretches)

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

    def scan(self) -> list[int]:
        """The numbers of files that are new or not as they were, oldest change first.

        A file that was renamed (log rotation) is the same file; one that was cut or replaced is a new one.
        """
        seen = sorted((stat.st_mtime_ns, str(path), stat) for path, stat in list_files(self.pattern))
        paths = {path for _, path, _ in seen}
        by_path = {file.path: number for number, file in enumerate(self.files)}
        by_inode = {file.inode: number for number, file in enumerate(self.files)}
        numbers = []
        for changed_at, path, stat in seen:
            number = by_path.get(path)
            if number is None or not self._is_same(self.files[number], path, stat):
                number = self._find_moved(by_inode.get(stat.st_ino), path, stat, paths)
            if number is None:
                number = self.begin(path, stat.st_ino)
            file = self.files[number]
            unfinished = file.done < file.size and not is_columnar(path)
            if unfinished or (stat.st_size, changed_at) != (file.size, file.changed_at):
                numbers.append(number)
        return numbers

    def add(self, number: int, found: Stretch) -> None:
        """Append a stretch of one file, numbering its rows; small ones that follow each other become one."""
        if not found.rows:
            return
        found = msgspec.structs.replace(found, file=number, first_row=self.rows)
        if self.stretches and not is_columnar(self.files[number].path):
            last = self.stretches[-1]
            if last.file == number and last.stop == found.start and found.stop - last.start < _SMALL_BYTES:
                self.stretches[-1] = _unite(last, found)
                return
        self.stretches.append(found)

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
        self._leave(path)
        self.files.append(LogFile(path, inode))
        return len(self.files) - 1

    def _find_moved(self, number: int | None, path: str, stat: os.stat_result, paths: set[str]) -> int | None:
        """The number of a known file that was moved to `path`, if one was."""
        if number is None:
            return None
        file = self.files[number]
        if is_columnar(path) and file.path in paths:
            return None
        if not file.done or not self._is_same(file, path, stat):
            return None
        self._leave(path)
        file.path = path
        return number

    def _is_same(self, file: LogFile, path: str, stat: os.stat_result) -> bool:
        if is_columnar(path):  # rewritten whole, with more rows: the path says which one it is
            return True
        if file.inode != stat.st_ino or stat.st_size < file.done:
            return False
        return not file.head_bytes or digest_of(Path(path), file.head_bytes) == file.head

    def _leave(self, path: str) -> None:
        for file in self.files:
            if file.path == path:
                file.path = f"{path} (replaced)"


def digest_of(path: Path, size: int) -> bytes:
    """A digest of the first bytes of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.blake2b(file.read(size), digest_size=12).digest()
    except OSError:
        return b""


def _unite(earlier: Stretch, other: Stretch) -> Stretch:
    spans = [(part.first_at, part.last_at) for part in (earlier, other)]
    first = min((first for first, _ in spans if first is not None), default=None)
    last = max((last for _, last in spans if last is not None), default=None)
    return msgspec.structs.replace(
        earlier, stop=other.stop, rows=earlier.rows + other.rows, first_at=first, last_at=last
    )


def is_columnar(path: str) -> bool:
    """Whether a file is Parquet, by its name."""
    return path.endswith((".parquet", ".pq"))


def is_there(pattern: str) -> bool:
    """Whether the folder, the file, or the part of a pattern before its first sign, exists."""
    return Path(*_fixed_parts(Path(pattern))).exists()


def list_files(pattern: str) -> list[tuple[Path, os.stat_result]]:
    """The finished-looking files of a folder (with those below it) or of a glob pattern, with their facts."""
    folder = Path(pattern)
    found: Iterable[Path]
    if folder.is_dir():
        found = folder.rglob("*")
    else:
        fixed = Path(*_fixed_parts(folder))
        found = fixed.glob(str(folder.relative_to(fixed))) if fixed != folder else [folder]
    listing = []
    for path in found:
        if path.name.startswith((".", "_")) or path.suffix in _UNFINISHED:
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            listing.append((path, stat))
    return listing


def _fixed_parts(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts:
        if any(sign in part for sign in "*?["):
            return parts
        parts.append(part)
    return parts


_UNFINISHED = frozenset({".tmp", ".part", ".partial", ".unfinished", ".crc", ".swp"})

"""What the files source asks of a file system, which of its files are listed, and the file system of this host."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, Protocol

from driftd.config.object_store_schema import scheme_of, source_path
from driftd.errors import DriftdError
from driftd.formatting import encodable

_UNFINISHED = frozenset({".tmp", ".part", ".partial", ".unfinished", ".crc", ".swp"})
TABLES = {
    "_delta_log": "a Delta table",
    "_spark_metadata": "the output of a Spark stream",
    ".hoodie": "a Hudi table",
}
ICEBERG = "an Iceberg table"
_HOW = {
    TABLES["_delta_log"]: "set `source: {kind: delta, predictions: ...}` (docs/your-tables.md)",
    ICEBERG: "set `source: {kind: iceberg, catalog: ..., predictions: ...}` (docs/your-tables.md)",
}  # a table of these is read
PARENTS_LOOKED_AT = 3  # a path may name a partition of a table
_MOST_NAMED, _NAME_CHARACTERS = 12, 80
_BUFFER_BYTES = 2**16  # a column; without it Arrow holds whole row groups, half a gigabyte at 1,000,000 x 50


ASKING: set[int] = set()  # the threads of this process that wait for an answer of an object store


class StoreAwayError(DriftdError):
    """A file system as a whole cannot be read just now: its files are neither empty nor gone. The message says why."""


class FileStat(NamedTuple):
    """What a listing says of a file. `inode` is 0 where files have no identity beside their path."""

    inode: int
    size: int
    changed_at: int  # nanoseconds


@dataclass(slots=True)
class Listing:
    """The finished-looking files with their facts, and the folders that are tables of another system, by their kind."""

    files: list[tuple[str, FileStat]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)  # names of what is hidden or unfinished
    tables: dict[str, str] = field(default_factory=dict)
    misnamed: list[str] = field(default_factory=list)  # names that are not UTF-8, with such bytes spelled
    is_there: bool = True  # whether the folder, the file or the part of a pattern before its first sign exists
    seen_until: float = float("inf")  # epoch seconds: what came later is not in it
    remarks: tuple[str, ...] = ()

    def name_faults(self) -> list[str]:
        """What to say of files that nothing can write down the name of."""
        if not self.misnamed:
            return []
        return [f"{quote_names(self.misnamed)}: names that are not UTF-8; such files are not read: rename them"]

    def table_faults(self) -> list[str]:
        """Why the files of tables are not read, and what to do."""
        return [
            f"{folder} is {kind}, whose files hold rows that are removed or rewritten too: it is not read; "
            f"{_HOW.get(kind, 'have its rows exported to files of their own, and name these in `source.path`')}"
            for folder, kind in sorted(self.tables.items())
        ]

    def is_listed(self, path: str, base: str) -> bool:
        """Whether a found file is read, by its name and its folders below the base; takes down why not."""
        name = path.rpartition("/")[2]
        inside = below(path, base).split("/") if path != base else [name]
        if any(part.startswith((".", "_")) for part in inside) or Path(name).suffix in _UNFINISHED:
            self.passed_over.append(encodable(name))
            return False
        if not path.isascii() and encodable(path) != path:
            self.misnamed.append(encodable(name))
            return False
        return not any(below(path, table) != path or table in {"", "."} for table in self.tables)


class FileSystem(Protocol):
    """Where files are. Paths are those of the config, and those of the files below them.

    What answers for the whole raises StoreAwayError where that is away; a single file raises OSError.
    """

    buffer_bytes: int  # of each column, while Parquet is read
    files_grow: bool  # whether a last line without its end may be written on

    def find(self, pattern: str, now: float, since: float = math.inf) -> Listing:
        """The files of a folder (with those below it), of a glob pattern, or the one file.

        Of files that hold no row from `since` on (epoch seconds), new ones may be found a day later.
        """
        ...

    def stat(self, path: str) -> FileStat:
        """The facts of one file. Raises FileNotFoundError when it is gone."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A file to read and to seek in."""
        ...

    def open_for_arrow(self, path: str) -> str | IO[bytes] | io.RawIOBase:
        """The same as Arrow takes it: by its path, or as a file."""
        ...

    def release(self) -> None:
        """Let go of what is held for the next reading of the same file."""
        ...


class LocalFiles:
    """The file system of this host."""

    buffer_bytes = _BUFFER_BYTES
    files_grow = True

    def find(self, pattern: str, now: float, since: float = math.inf) -> Listing:  # noqa: ARG002 - each time all
        """See `FileSystem.find`.

        Hidden and unfinished files are passed over, and so are folders that begin with `_` or `.`. The files of a table
        of another system are left out: only its own log says which of their rows still exist.
        """
        base = base_of(pattern)
        found = list(_find_paths(pattern, base))
        listing = Listing(tables=_tables_of(pattern, base, found), is_there=base.exists())
        for path in found:
            if not listing.is_listed(str(path), str(base)):
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                listing.files.append((str(path), FileStat(stat.st_ino, stat.st_size, stat.st_mtime_ns)))
        return listing

    def stat(self, path: str) -> FileStat:
        """See `FileSystem.stat`."""
        stat = Path(path).stat()
        return FileStat(stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def open(self, path: str) -> BinaryIO:
        """See `FileSystem.open`."""
        return Path(path).open("rb")

    def open_for_arrow(self, path: str) -> str:
        """See `FileSystem.open_for_arrow`."""
        return path

    def release(self) -> None:
        """See `FileSystem.release`: nothing is held."""


LOCAL = LocalFiles()


def quote_names(names: Sequence[str]) -> str:
    """The first of some names."""
    first = ", ".join(repr(name[:_NAME_CHARACTERS]) for name in names[:_MOST_NAMED])
    return first if len(names) <= _MOST_NAMED else f"{first} and {len(names) - _MOST_NAMED} more"


def base_of(pattern: str) -> Path:
    """The folder, the file, or the part of a pattern before its first sign."""
    parts: list[str] = []
    for part in Path(pattern).parts:
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    return Path(*parts)


def absolute_path(path: str) -> str:
    """A path that means the same in another working directory; one in an object store is as it is.

    Raises ValueError for a scheme that is not read.
    """
    path = source_path(path)
    return path if scheme_of(path) is not None else str(Path(path).absolute())


def below(path: str, folder: str) -> str:
    """The part of a path below a folder; the whole path where it is not below it, or the folder is the working one."""
    return path.removeprefix(folder if folder.endswith("/") else f"{folder}/")


def matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path are those of a glob pattern, as `Path.glob` has it: `**` is any number of folders."""
    if not path or not pattern:
        return not path and (not pattern or set(pattern) == {"**"})
    if pattern[0] == "**":
        return matches(path, pattern[1:]) or matches(path[1:], pattern)
    return fnmatchcase(path[0], pattern[0]) and matches(path[1:], pattern[1:])


def tables_among(paths: Iterable[str]) -> dict[str, str]:
    """The tables of other systems, by what marks one among these paths of files and folders."""
    tables: dict[str, str] = {}
    for path in paths:
        for mark, kind in TABLES.items():
            if mark in path and mark in (parts := path.split("/")):
                tables["/".join(parts[: parts.index(mark)]) or "."] = kind
        if path.endswith(".metadata.json") and path.rpartition("/")[0].endswith("/metadata"):
            tables[path.rpartition("/metadata/")[0]] = ICEBERG
    return tables


def _find_paths(pattern: str, base: Path) -> Iterable[Path]:
    whole = Path(pattern)
    if whole.is_dir():
        return whole.rglob("*")
    return base.glob(str(whole.relative_to(base))) if base != whole else [whole]


def _tables_of(pattern: str, base: Path, found: Iterable[Path]) -> dict[str, str]:
    """The tables that the found files belong to: below the base, or around it."""
    folders = {base, *list(base.parents)[:PARENTS_LOOKED_AT]}
    tables: dict[str, str] = {}
    if Path(pattern).is_dir():  # everything below was found, with what marks a table
        tables = tables_among(map(str, found))
    else:
        folders |= {folder for path in found for folder in path.parents if folder.is_relative_to(base)}
    return tables | dict(_tables_at(folders))


def _tables_at(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        if not folder.is_dir():
            continue
        kind = next((kind for mark, kind in TABLES.items() if (folder / mark).is_dir()), None)
        if kind is None and any(folder.glob("metadata/*.metadata.json")):
            kind = ICEBERG
        if kind is not None:
            yield str(folder), kind

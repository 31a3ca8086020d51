"""Objects by the day that the keys of their folders tell, and which days a look lists again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from driftd.errors import DriftdError
from driftd.sources.file_system import FileStat
from driftd.sources.listing import NULL_PARTITION

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

DAY = 86_400.0
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)([T _-]?\d\d.*)?")
_MONTH = re.compile(r"(\d{4})-?(\d\d)")
_YEARS, _MONTHS, _DAYS = ({"year", "yyyy", "y"}, {"month", "mm", "m"}, {"day", "dd", "d"})


class Children(Protocol):
    """What is directly in a folder, or all that is below it."""

    def __call__(self, folder: str, *, deep: bool) -> list[FileInfo]:
        """The files and folders found, with whole paths."""
        ...


Listed = Callable[[list["FileInfo"]], Iterable[tuple[str, FileStat]]]


class _UnkeyedError(DriftdError):
    """An object lies where no key tells its day."""


class RecentPartitions:
    """The objects that were listed last, by the partition of a day that they lie in."""

    def __init__(self) -> None:
        """Nothing listed yet."""
        self.are_keyed = False  # whether every object lies in the partition of a day
        self._days: dict[str, float] = {}  # when each partition begins, epoch seconds
        self._objects: dict[str, dict[str, FileStat]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def items(self) -> Iterator[tuple[str, FileStat]]:
        """Every object that is known."""
        for objects in self._objects.values():
            yield from objects.items()

    def replace_all(self, base: str, found: Iterable[tuple[str, FileStat]]) -> None:
        """Take over a listing of everything below `base`."""
        self._days, self._objects = {}, {}
        self.are_keyed = True
        for path, stat in found:
            folder, day = _partition_of(path, base)
            self.are_keyed = self.are_keyed and day is not None
            self._days[folder] = float("-inf") if day is None else day
            self._objects.setdefault(folder, {})[path] = stat
        self.are_keyed = self.are_keyed and bool(self._objects)

    def update(self, base: str, now: float, since: float, children: Children, listed: Listed) -> bool:
        """List the newest days, those from `since` on and partitions that are new.

        Returns whether every object still lies in a partition.
        """
        try:
            folders = dict(self._walk(base, base, self._oldest(now, since), self._folders(), children, listed))
        except _UnkeyedError:
            return False
        for folder, day in folders.items():
            self._days[folder] = day
            self._objects[folder] = dict(listed(children(folder, deep=True)))
        return bool(folders)  # the newest day is among them, unless the folders are not what they were

    def _oldest(self, now: float, since: float) -> float:
        """When the oldest day that is listed again begins: the one before the newest that has come, or before `since`.

        A day more than that, because keys may be of local time.
        """
        newest = max((day for day in self._days.values() if day <= now + DAY), default=now)
        return min(newest, since) // DAY * DAY - DAY

    def _folders(self) -> set[str]:
        """Every folder on the way to a known partition, and the partitions."""
        folders: set[str] = set()
        for folder in self._days:
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]  # noqa: PLW2901 - upwards
        return folders

    def _walk(
        self, base: str, folder: str, oldest: float, known: set[str], children: Children, listed: Listed
    ) -> Iterator[tuple[str, float]]:
        """The partitions below a folder that are listed again, with their days. Raises _UnkeyedError."""
        for info in children(folder, deep=False):
            path, name = info.path, info.path.rpartition("/")[2]
            if name.startswith((".", "_")) or path == folder:
                continue
            keys = None if info.size is not None else _keys_of(path, base)
            if keys is None:
                if any(True for _ in listed([info] if info.size is not None else children(path, deep=True))):
                    raise _UnkeyedError
                continue
            begin, is_day = _begin_of(keys)
            is_recent = begin is None or begin >= oldest or path not in known
            if is_day and begin is not None and is_recent:
                yield path, begin
            elif not is_day and (is_recent or _end_of(keys) > oldest):
                yield from self._walk(base, path, oldest, known, children, listed)


def _partition_of(path: str, base: str) -> tuple[str, float | None]:
    """The folder of the day that an object lies in, and when that begins; the base, and None, where no key tells it."""
    keys: dict[str, str] = {}
    folder = base
    for part in path.removeprefix(f"{base}/").split("/")[:-1]:
        key, found, value = part.partition("=")
        if not found:
            break
        folder, keys[key.lower()] = f"{folder}/{part}", unquote(value)
        begin, is_day = _begin_of(keys)
        if is_day:
            return folder, begin
    return base, None


def _keys_of(folder: str, base: str) -> dict[str, str] | None:
    """The keys of a folder below the base; None where one of its parts is no key."""
    parts = [part.partition("=") for part in folder.removeprefix(f"{base}/").split("/")]
    if not all(found for _, found, _ in parts):
        return None
    return {key.lower(): unquote(value) for key, _, value in parts}


def _begin_of(keys: Mapping[str, str]) -> tuple[float | None, bool]:
    """When the time that keys tell begins (None: they tell none), and whether it is a day or a part of one."""
    if NULL_PARTITION in keys.values():
        return float("inf"), True  # rows without a day come at any time
    for value in keys.values():
        if found := _DATE.fullmatch(value):
            return _epoch(int(found[1]), int(found[2]), int(found[3])), True
    year, month, day = _year_month_day(keys)
    if year is None:
        return None, False
    return _epoch(year, month or 1, day or 1), month is not None and day is not None


def _end_of(keys: Mapping[str, str]) -> float:
    """When the year or the month that keys tell has ended; never where they tell none."""
    year, month, _ = _year_month_day(keys)
    if year is None:
        return float("inf")
    following = _epoch(year + 1, 1, 1) if month in (None, 12) else _epoch(year, (month or 0) + 1, 1)
    return float("inf") if following is None else following


def _year_month_day(keys: Mapping[str, str]) -> tuple[int | None, int | None, int | None]:
    year, month, day = (_number(keys, names) for names in (_YEARS, _MONTHS, _DAYS))
    for value in keys.values():
        if found := _MONTH.fullmatch(value):
            year, month = int(found[1]), int(found[2])
    return year, month, day


def _number(keys: Mapping[str, str], names: set[str]) -> int | None:
    values = [value for key, value in keys.items() if key in names and value.isascii() and value.isdigit()]
    return int(values[0]) if values else None


def _epoch(year: int, month: int, day: int) -> float | None:
    try:
        return datetime(year, month, day, tzinfo=UTC).timestamp()
    except ValueError:
        return None

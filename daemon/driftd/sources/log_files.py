"""A growing folder of Parquet, CSV or JSON-lines files as one sequence of rows: what is new, and rows of a stretch."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import pyarrow as pa

from driftd.sources import parquet_files, text_files
from driftd.sources.catalogue import LogCatalogue, LogFile, Stretch, is_columnar, is_there, list_files
from driftd_detectors.columns import Numbers

FileFormat = Literal["auto", "parquet", "csv", "jsonl"]
OnRows = Callable[[LogFile, Stretch, Numbers], None]


@dataclass(frozen=True, slots=True)
class RequestedColumns:
    """Columns to read: all of them, those that are text whatever they look like, those in which text is a time.

    `identity` is text with a value of its own in every row, so not worth a dictionary.
    """

    identity: str
    columns: tuple[str, ...]
    texts: tuple[str, ...] = ()
    times: tuple[str, ...] = ()


class LogFiles:
    """The files of one folder or pattern. `catalogue` is where what is known of them is kept."""

    def __init__(self, pattern: str, file_format: FileFormat, at: str | None, catalogue: Path) -> None:
        self._format = file_format
        self._at = at
        self._pattern = pattern
        self._place = catalogue
        self._stored_at = 0
        self.known = LogCatalogue(catalogue, pattern)
        self.faults: tuple[str, ...] = ()
        self.is_away = False  # nothing of it is to be seen, as after an unmounting: it is silent, not empty
        self._load()

    def refresh(self, now: float, on_rows: OnRows) -> None:
        """Look for new rows, and tell `on_rows` of each stretch of them with the rows' event times.

        A file that cannot be read (yet) is named in `faults` and tried again next time.
        """
        with self._alone():
            self._load()
            faults = [gone] if (gone := self._absence()) is not None else []
            self.is_away = bool(faults)
            numbers = self.known.scan()
            for number in numbers:
                fault = self._look(number, now, on_rows)
                if fault:
                    faults.append(fault)
            if numbers:
                self.known.save()
                self._stored_at = self._place.stat().st_mtime_ns
        self.faults = tuple(faults)

    def read(self, stretches: Sequence[Stretch], wanted: RequestedColumns) -> Iterator[tuple[Stretch, pa.Table]]:
        """The wanted columns (as far as the files have them) of stretches; rows whose file is gone are left out."""
        for number, group in groupby(stretches, key=lambda stretch: stretch.file):
            file = self.known.files[number]
            mine = list(group)
            try:
                if self._format_of(file) == "parquet":
                    yield from parquet_files.read_stretches(Path(file.path), mine, wanted.columns, wanted.texts)
                else:
                    text = self._text_format(file)
                    yield from text_files.read_stretches(
                        file, text, mine, wanted.columns, (wanted.identity, *wanted.texts), wanted.times
                    )
            except (OSError, ValueError) as error:
                self.faults = (*self.faults, _fault(file, error))

    def reads_numbers_as_text(self, stretch: Stretch) -> bool:
        """Whether the format of the stretch's file cannot tell numbers from text."""
        return self._format_of(self.known.files[stretch.file]) != "parquet"

    def count_malformed(self) -> int:
        """How many lines were no rows."""
        return sum(file.malformed for file in self.known.files)

    def _absence(self) -> str | None:
        """Why nothing at all can be seen, where that is no sign of a feed without rows."""
        if not is_there(self._pattern):
            return f"{self._pattern} does not exist"
        if self.known.rows and not list_files(self._pattern):
            return f"{self._pattern} has none of the files any more that were read from it: is it mounted?"
        return None

    def _look(self, number: int, now: float, on_rows: OnRows) -> str | None:
        """Catalogue what is new in one file; returns why it cannot be read, if so."""
        file = self.known.files[number]
        try:
            stat = Path(file.path).stat()
            file.inode, size, changed_at = stat.st_ino, stat.st_size, stat.st_mtime_ns
            if self._format_of(file) == "parquet":
                if parquet_files.row_count(file) < file.done:  # not a file that grew: another one at its path
                    number = self.known.begin(file.path, stat.st_ino)
                    file = self.known.files[number]
                found = parquet_files.find_stretches(file, self._at, now)
            else:
                file.changed_at = changed_at
                found = text_files.find_stretches(file, self._text_format(file), self._at, now)
            for stretch, times in found:
                self.known.add(number, stretch)
                on_rows(file, self.known.stretches[-1] if stretch.rows else stretch, times)
        except (OSError, ValueError) as error:
            return _fault(file, error)
        file.size, file.changed_at = size, changed_at
        return None

    def _format_of(self, file: LogFile) -> Literal["parquet", "csv", "jsonl"]:
        if self._format != "auto":
            return self._format
        if is_columnar(file.path):
            return "parquet"
        return "csv" if Path(file.path).suffix in {".csv", ".tsv"} else "jsonl"

    def _text_format(self, file: LogFile) -> text_files.TextFormat:
        return "csv" if self._format_of(file) == "csv" else "jsonl"

    def _load(self) -> None:
        """Take over what another process found meanwhile."""
        try:
            stored_at = self._place.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if stored_at != self._stored_at:
            self.known = LogCatalogue.load(self._place, self._pattern)
            self._stored_at = stored_at

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        with self._place.with_name(self._place.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _fault(file: LogFile, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{file.path} cannot be read just now: {reason}"

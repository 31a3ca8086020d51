"""A growing folder of Parquet, CSV or JSON-lines files as one sequence of rows: what is new, and rows of a stretch."""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import cast

import pyarrow as pa

from driftd.config.object_store_schema import ObjectStoreConfig, scheme_of
from driftd.errors import raise_shortage
from driftd.sources import parquet_files, text_files
from driftd.sources.catalogue import LogCatalogue, LogFile, Stretch
from driftd.sources.file_system import LOCAL, FileSystem, Listing, StoreAwayError, base_of, quote_names
from driftd.sources.files_settings import Layout, Reading
from driftd.sources.formats import ADAPTERS
from driftd.sources.json_lines import Lines
from driftd.sources.listing import (
    KINDS,
    Kind,
    UnknownFormatError,
    fault_of_head,
    is_json_lines,
    kind_of,
    partition_of,
    separator_hint,
    unknown_suffix,
    wrong_separator,
)
from driftd.sources.object_store import ObjectFiles
from driftd.sources.parsed import RequestedColumns
from driftd.sources.row_counts import NO_TIME, Found, share_faults
from driftd.sources.text_files import TextFormat
from driftd_detectors.columns import Numbers

OnRows = Callable[[LogFile, Stretch, Numbers], None]
_PREVIEWED_FILES = 3
_STORE = ("", "store")
_SAVE_SECONDS = 5.0  # while files are looked at for the first time: so much is looked at again after a failure
_REMARK_SECONDS = 86_400.0  # how long it is said that a file was replaced, or that its rows could not be read


class LogFiles:
    """The files of one folder or pattern. `catalogue` is where what is known of them is kept.

    `store` says how the object store is reached that `pattern` names, if it names one.
    """

    def __init__(self, pattern: str, reading: Reading, catalogue: Path, store: ObjectStoreConfig | None = None) -> None:
        self._reading = reading
        self._files: FileSystem = LOCAL
        if scheme_of(pattern) is not None:
            self._files = ObjectFiles(pattern, store or ObjectStoreConfig())
        self._pattern = pattern
        self._base = base_of(pattern)
        self._place = catalogue
        self._stored_at = 0
        self.known = LogCatalogue(catalogue, pattern, dialect=reading.dialect, system=self._files)
        self.seen_until = float("inf")  # epoch seconds: what came later is not among its rows
        self.listed = 0  # files, at the last look
        self.remarks: tuple[str, ...] = ()
        self.is_away = False  # nothing of it is to be seen, as after an unmounting: it is silent, not empty
        self._found_faults: list[str] = []
        self._read_faults: dict[tuple[str, str], tuple[str, float]] = {}  # by file and kind, with when it was read
        self._now = 0.0
        self._load()

    @property
    def files(self) -> FileSystem:
        """Where the files are."""
        return self._files

    @property
    def faults(self) -> tuple[str, ...]:
        """What cannot be read just now, in one sentence each."""
        lately = [said for said, at in self._read_faults.values() if self._now - at < _REMARK_SECONDS]
        return tuple(dict.fromkeys([*self._found_faults, *lately]))

    def use_reading(self, reading: Reading) -> None:
        """Read the same files with other columns in mind; what is known of them stays."""
        self._reading = reading

    def refresh(self, now: float, on_rows: OnRows, since: float = math.inf) -> None:
        """Look for new rows, and tell `on_rows` of each stretch of them with the rows' event times.

        Rows from `since` on are found at once; see `FileSystem.find`.

        A file that cannot be read (yet) is named in `faults` and tried again next time.
        """
        self._now = now
        with self._alone():
            self._load()
            try:
                listing, faults = self._find_rows(now, on_rows, since)
            except StoreAwayError as error:
                self._found_faults, self.is_away = [str(error)], True
                return
            finally:
                self._files.release()
        said_faults, said_remarks = self._shortfalls(listing)
        self._found_faults = [*faults, *said_faults, *share_faults(self.known.files)]
        self.remarks = (*listing.remarks, *said_remarks, *self._describe_replaced(now))

    def _find_rows(self, now: float, on_rows: OnRows, since: float) -> tuple[Listing, list[str]]:
        """List the files and catalogue what is new in them; gives what cannot be read, too. Raises StoreAwayError."""
        listing = self._files.find(self._pattern, now, since)
        self.seen_until, self.listed = listing.seen_until, len(listing.files)
        faults = listing.table_faults()
        if (gone := self._describe_absence(listing)) is not None:
            faults.append(gone)
        self.is_away = gone is not None or (bool(faults) and not listing.files)
        try:
            numbers, saved_at = self.known.find_changed(listing.files), time.monotonic()
            for number in numbers:
                fault = self._look(number, now, on_rows)
                if fault:
                    faults.append(fault)
                if time.monotonic() - saved_at > _SAVE_SECONDS:
                    self._save()
                    saved_at = time.monotonic()
        except BaseException:  # what was found and not taken is found again
            self.known, self._stored_at = self._empty(), 0
            self._load()
            raise
        if numbers:
            self._save()
        return listing, faults

    def preview(self, now: float) -> None:
        """Find the first rows of the newest files, and what is wrong with them. Nothing is kept."""
        self._now = now
        try:
            listing = self._files.find(self._pattern, now)
            self._preview(listing, now)
        except StoreAwayError as error:
            self._found_faults = [str(error)]

    def _preview(self, listing: Listing, now: float) -> None:
        self.listed = len(listing.files)
        faults = listing.table_faults()
        if (gone := self._describe_absence(listing)) is not None:
            faults.append(gone)
        newest = sorted(listing.files, key=lambda entry: entry[1].changed_at)[-_PREVIEWED_FILES:]
        for path, stat in newest:
            number = self.known.begin(path, stat.inode)
            if (fault := self._look(number, now, lambda *_: None, most=1)) is not None:
                faults.append(fault)
        said_faults, said_remarks = self._shortfalls(listing)
        self._found_faults = [*faults, *said_faults, *share_faults(self.known.files)]
        self.remarks = (*listing.remarks, *said_remarks)

    def read(self, stretches: Sequence[Stretch], wanted: RequestedColumns) -> Iterator[tuple[Stretch, pa.Table]]:
        """The wanted columns (as far as the files have them) of stretches; rows whose file is gone are left out."""
        for number, group in groupby(stretches, key=lambda stretch: stretch.file):
            file = self.known.files[number]
            self._read_faults.pop((file.path, "file"), None)
            try:
                yield from self._read_file(file, list(group), wanted)
                self._read_faults.pop(_STORE, None)
            except StoreAwayError as error:
                self._read_faults[_STORE] = (str(error), self._now)
                raise
            except (OSError, EOFError, ValueError, pa.ArrowException) as error:
                raise_shortage(error)  # else the window would be checked without these rows
                if not file.path.endswith("(replaced)"):
                    self._read_faults[file.path, "file"] = (_fault(file, error), self._now)

    def _read_file(
        self, file: LogFile, stretches: Sequence[Stretch], wanted: RequestedColumns
    ) -> Iterator[tuple[Stretch, pa.Table]]:
        try:
            kind = self._kind_of(file)
            if kind == "parquet":
                partition, times = partition_of(file.path, self._base), (*wanted.times, *wanted.event_times)
                how = (self._reading.features, partition, self._on_column)
                for stretch, table in parquet_files.read_stretches(file.path, self._files, stretches, wanted, *how):
                    yield stretch, self._reading.dialect.with_iso_dates(table, times)
            else:
                yield from text_files.read_stretches(file, self._text_format(file, kind), stretches, wanted)
        finally:
            self._files.release()

    def reads_numbers_as_text(self, stretch: Stretch) -> bool:
        """Whether the format of the stretch's file cannot tell numbers from text."""
        return self._kind_of(self.known.files[stretch.file]) != "parquet"

    def layout_of(self, file: LogFile) -> Layout:
        """How one file is laid out. Raises ValueError where nothing says."""
        kind = self._kind_of(file)
        text = None if kind == "parquet" else self._text_format(file, kind)
        return Layout(text, partition_of(file.path, self._base))

    def say_unreadable(self, stretch: Stretch, error: Exception) -> None:
        """A stretch was read, and rows or a column of it are of no use: that is a fault of its file."""
        file = self.known.files[stretch.file]
        self._read_faults[file.path, "rows"] = (_fault(file, error), self._now)

    def _on_column(self, fault: str) -> None:
        self._read_faults[fault, "column"] = (fault, self._now)

    def _describe_absence(self, listing: Listing) -> str | None:
        """Why nothing at all can be seen, where that is no sign of a feed without rows."""
        if not listing.is_there:
            return f"{self._pattern} does not exist"
        if self.known.rows and not listing.files and not listing.tables:
            why = "is it mounted?" if self._files is LOCAL else "were they moved or deleted?"
            return f"{self._pattern} has none of the files any more that were read from it: {why}"
        return None

    def _shortfalls(self, listing: Listing) -> tuple[list[str], list[str]]:
        """What to say, as faults and as remarks, of files that are not there and of columns that none has had."""
        if not listing.files and not listing.tables and listing.is_there and not self.known.rows:
            passed = f": {quote_names(listing.passed_over)} are passed over" if listing.passed_over else ""
            empty = [f"{self._pattern} has no file that is read{passed}"]
            named = listing.name_faults()
            return (named, empty) if self._reading.may_be_empty else ([*named, *empty], [])
        read = [set(file.absent) for file in self.known.files if file.rows and file.absent is not None]
        faults, remarks = self._reading.expected.shortfalls(set.intersection(*read)) if read else ([], [])
        return [*listing.name_faults(), *faults], remarks

    def _describe_replaced(self, now: float) -> Iterator[str]:
        for file in self.known.files:
            if file.replaces and file.begun_at is not None and now - file.begun_at < _REMARK_SECONDS:
                yield (
                    f"{file.path} was cut or rewritten: {file.replaces:,} rows that were read from it before are "
                    "counted and can no longer be read; append to files, or write new ones"
                )

    def _look(self, number: int, now: float, on_rows: OnRows, most: int | None = None) -> str | None:
        """Catalogue what is new in one file, at most so many stretches; returns why it cannot be read, if so."""
        file = self.known.files[number]
        try:
            file.inode, size, changed_at = self._files.stat(file.path)
            kind = self._kind_of(file)
            if kind == "parquet":
                number, file = self._same_or_new(number, file)
            else:
                file.changed_at = changed_at
            obstacle = self._obstacle(file, kind)
            if obstacle is not None:
                return f"{file.path} is not read: it {obstacle}"
            if file.begun_at is None and not file.done:
                file.begun_at = now
            for found in islice(self._find_stretches(file, kind, now), most):
                self._take(number, found, on_rows)
                if kind != "parquet":
                    self.known.mark(file)
        except (OSError, EOFError, ValueError, pa.ArrowException) as error:
            raise_shortage(error)
            return _fault(file, error)
        file.size, file.changed_at = size, changed_at
        return None

    def _find_stretches(self, file: LogFile, kind: Kind, now: float) -> Iterator[Found]:
        wanted, timed = self._reading.times_only, self._reading.timed
        null_at = now if self._reading.nulls_are_new else None
        if kind == "parquet":
            partition = partition_of(file.path, self._base)
            yield from parquet_files.find_stretches(
                file, self._files, wanted, now, partition, timed=timed, null_at=null_at, dialect=self._reading.dialect
            )
        else:
            how = self._text_format(file, kind)
            yield from text_files.find_stretches(file, how, wanted, now, timed=timed, null_at=null_at)

    def _take(self, number: int, found: Found, on_rows: OnRows) -> None:
        file, times = self.known.files[number], found.times
        stretch = self.known.add(number, found.stretch)
        file.no_time += times.unreadable
        file.impossible_time += times.impossible
        for fault in times.faults:
            row = file.rows - len(times.times) + fault.place + 1
            reason = "no_time" if fault.reason.startswith(NO_TIME) else "impossible_time"
            file.examples[reason] = f"{file.path}, row {row}, column {self._reading.at!r}: {fault.reason}"
        on_rows(file, stretch, times.kept)

    def _same_or_new(self, number: int, file: LogFile) -> tuple[int, LogFile]:
        """A Parquet file that was rewritten with more rows is the same one; with fewer or other rows, another."""
        at, rows = self._reading.at, parquet_files.row_count(file.path, self._files)
        known = file.head_bytes  # rows, here
        digest = partial(parquet_files.first_rows_digest, file.path, self._files, at)
        rewritten = known and rows >= file.done and digest(known) != file.head
        if file.done and (rows < file.done or rewritten):
            number = self.known.begin(file.path, file.inode)
            file = self.known.files[number]
        file.head_bytes = min(rows, parquet_files.DIGESTED_ROWS)
        file.head = digest(file.head_bytes) if rows else b""
        return number, file

    def _obstacle(self, file: LogFile, kind: Kind) -> str | None:
        """Why a file is not read at all; asked before its first row is."""
        expected = self._reading.expected
        if file.rows or (file.done and not file.begun_at):
            return None
        if kind == "parquet":
            partition = partition_of(file.path, self._base)
            columns: list[str] | None = parquet_files.columns_of(
                file.path, self._files, self._reading.features, partition
            )
            own, separator = parquet_files.own_columns(file.path, self._files), ""
        else:
            how = self._text_format(file, kind)
            fault = fault_of_head(file.path, kind, how.dialect, self._files)
            if fault is not None:
                return fault
            columns, separator = text_files.first_columns(file, how), how.separator
            own = [] if columns is None or kind != "csv" else columns[: len(columns) - len(how.partition)]
        if columns is None:
            return None
        obstacle = expected.obstacle(columns)
        if obstacle is not None:
            return obstacle + (separator_hint(own, separator) if kind == "csv" else "")
        fault = wrong_separator(own, separator) if kind == "csv" else None
        fault = fault or expected.repetition(own)
        if fault is None:
            file.absent = expected.absent(columns)
        return fault

    def _kind_of(self, file: LogFile) -> Kind:
        """What a file is read as. Raises UnknownFormatError where config, name and beginning do not say."""
        chosen = self._reading.format
        if chosen in ADAPTERS:
            return "jsonl"
        if chosen in KINDS.values():
            return cast("Kind", chosen)
        kind = kind_of(file.path.removesuffix(" (replaced)"))
        if kind is not None:
            return kind
        if not (file.done or is_json_lines(file.path, self._reading.dialect, self._files)):
            raise UnknownFormatError(unknown_suffix(file.path, self._files))
        return "jsonl"

    def _text_format(self, file: LogFile, kind: Kind) -> TextFormat:
        reading = self._reading
        return TextFormat(
            "csv" if kind == "csv" else "jsonl",
            reading.dialect,
            reading.dialect.separator_of(file.path),
            Lines(reading.features, ADAPTERS.get(reading.format), reading.expected.features, reading.dialect),
            partition_of(file.path, self._base),
            self._files,
        )

    def _empty(self) -> LogCatalogue:
        return LogCatalogue(self._place, self._pattern, dialect=self._reading.dialect, system=self._files)

    def _save(self) -> None:
        self.known.save()
        self._stored_at = self._place.stat().st_mtime_ns

    def _load(self) -> None:
        """Take over what another process found meanwhile."""
        try:
            stored_at = self._place.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if stored_at != self._stored_at:
            self.known = LogCatalogue.load(self._place, self._pattern, self._reading.dialect, self._files)
            self._stored_at = stored_at

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        with self._place.with_name(self._place.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _fault(file: LogFile, error: Exception) -> str:
    if isinstance(error, UnknownFormatError):
        return f"{file.path} is not read: {error}"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{file.path} cannot be read just now: {reason}"

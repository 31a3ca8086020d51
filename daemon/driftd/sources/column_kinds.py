"""Tells the kind of each column of files from their types or their values, file by file: for `init`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftd.errors import DriftdError
from driftd.sources.dialects import Dialect, begin_of_date
from driftd.sources.nested import as_read
from driftd_detectors.batches.arrow_columns import has_text, is_text, values_of
from driftd_detectors.schema import MOSTLY, Kind, kind_of_values
from driftd_detectors.values import class_name

_MONTHS = 12
MOST_COLUMNS = 5_000  # more take minutes to look at one by one, here and at each build
_FIRST_ROWS = 1_000
_FIRST_VALUES = 50


class WholeFilesError(DriftdError):
    """Files that cannot be read as rows; the message says which, and why."""


class ColumnKinds:
    """What is seen of columns, file by file, and the kind that follows from it."""

    def __init__(self, decimal: str = ".") -> None:
        """Nothing seen yet; `decimal` is the decimal sign of numbers that are text."""
        self._decimal = decimal
        self._counts: dict[str, Counter[Any]] = {}
        self._told: dict[str, set[Kind]] = {}
        self._nested: dict[str, None] = {}
        self._untyped = False
        self.folders: dict[str, None] = {}  # columns that are named by folders alone

    @property
    def nested(self) -> tuple[str, ...]:
        """Columns of lists and of types that are not read, which no feature can be made of."""
        return tuple(self._nested)

    def kinds(self) -> dict[str, Kind]:
        """The kind of each column that holds single values, in the order in which they were seen."""
        names = dict.fromkeys((*self._counts, *self._told))
        return {name: self._kind(name) for name in names if name not in self._nested}

    def counts(self, name: str) -> Mapping[Any, int]:
        """How often the values of a column were seen; empty where its type told the kind."""
        return self._counts.get(name, Counter())

    def see_texts(self, table: pa.Table) -> None:
        """The columns of an untyped format, all of them as text."""
        self._untyped = True
        for name in table.column_names:
            _count(table.column(name), self._counts.setdefault(name, Counter()))

    def see_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Rows of JSON; lists have no kind."""
        for row in rows:
            for name, value in row.items():
                if isinstance(value, list):
                    self._nested[name] = None
                else:
                    self._counts.setdefault(name, Counter())[value] += 1
            require_few(self._counts)

    def see_parquet(self, parquet: pq.ParquetFile) -> None:
        """The columns of a Parquet file, those inside structs under their paths."""
        require_few(columns := list(leaves(parquet.schema_arrow)))
        unreadable = _unreadable_columns(parquet)
        for name, kind in columns:
            if name in unreadable:
                self._nested[name] = None
                continue
            found_kind = _kind_of_type(kind)
            if found_kind is not None:
                self._told.setdefault(name, set()).add(found_kind)
            elif not has_text(kind):
                self._nested[name] = None
            else:
                counts = self._counts.setdefault(name, Counter())
                for batch in parquet.iter_batches(columns=[name]):
                    _count(_only_column(pa.table(batch)), counts)

    def see_partition(self, values: Mapping[str, str | None], rows: int) -> None:
        """Columns that the folders of a file name and the file itself has not; they have no types."""
        self._untyped = self._untyped or bool(values)
        self.folders |= dict.fromkeys(values)
        for name, value in values.items():
            self._counts.setdefault(name, Counter())[value] += rows

    def order_dates(self, dialect: Dialect) -> Dialect:
        """The dialect with the order of dates such as 31/01/2026 that it says, or that numbers over 12 show.

        It stays open where there are no such dates. Raises WholeFilesError where nothing shows it, or both are shown.
        """
        columns = {name: dates for name in self._counts if (dates := self._dates(name))}
        if dialect.day_first is not None or not columns:
            return dialect
        rows = [
            (first, second, self.counts(name)[text])
            for name in columns
            for text, (first, second) in columns[name].items()
        ]
        day = sum(count for first, _, count in rows if first > _MONTHS)
        month = sum(count for _, second, count in rows if second > _MONTHS)
        if min(day, month) > (1 - MOSTLY) * max(day, month) or day == month:
            name, dates = next(iter(columns.items()))
            counts = f" ({day:,} rows show one, {month:,} the other)" if day else ""
            raise WholeFilesError(
                f"the dates of {name}, such as {next(iter(dates))!r}, may begin with the day or the month{counts}: "
                "set dialect: {day_first: true} or {day_first: false}"
            )
        return replace(dialect, day_first=day > month)

    def remarks_on_dates(self, dialect: Dialect) -> Iterator[str]:
        """One sentence on each column of such dates."""
        begin = "day" if dialect.day_first else "month"
        for name in self._counts:
            if dates := self._dates(name):
                yield (
                    f"the dates of {name}, such as {next(iter(dates))!r}, begin with the {begin}: a source that reads "
                    f"such files needs dialect: {{day_first: {str(dialect.day_first).lower()}}}"
                )

    def _with_points(self, values: dict[Any, int]) -> dict[Any, int]:
        """The values with a decimal point, whatever sign their file has."""
        if self._decimal == "." or not self._untyped:
            return values
        pointed: Counter[Any] = Counter()
        for value, count in values.items():
            pointed[value.replace(self._decimal, ".") if isinstance(value, str) else value] += count
        return pointed

    def _present(self, name: str) -> dict[Any, int]:
        return {value: count for value, count in self.counts(name).items() if value is not None and value == value}  # noqa: PLR0124 - NaN

    def _dates(self, name: str) -> dict[str, tuple[int, int]]:
        """The two numbers before the year of each date of a column of such dates; empty for any other column."""
        first = [value for value in islice(self.counts(name), _FIRST_VALUES) if isinstance(value, str)]
        if 2 * sum(begin_of_date(text) is not None for text in first) <= len(first):
            return {}
        present = self._present(name)
        if (
            not present
            or name in self._told
            or name in self._nested
            or not all(isinstance(value, str) for value in present)
        ):
            return {}
        begins = {text: begin_of_date(text) for text in present}
        rows = sum(count for text, count in present.items() if begins[text] is not None)
        if rows < MOSTLY * sum(present.values()):
            return {}
        return {text: begin for text, begin in begins.items() if begin is not None}

    def _kind(self, name: str) -> Kind:
        kinds = self._told.get(name, set())
        present = self._present(name)
        if self._dates(name):
            return Kind.TIMESTAMP
        if present or not kinds:
            kinds = {*kinds, kind_of_values(self._with_points(present), untyped=self._untyped)}
        return next(iter(kinds)) if len(kinds) == 1 else Kind.CATEGORY


def require_few(columns: Collection[object]) -> None:
    """Raises WholeFilesError for more columns than can be looked at."""
    if len(columns) > MOST_COLUMNS:
        raise WholeFilesError(
            f"it has more than {MOST_COLUMNS:,} columns, which driftd does not read: each is looked at by itself, in "
            "every window and at every build; write a file of the columns that the model uses"
        )


def leaves(fields: Iterable[pa.Field], before: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """The columns that hold values, with those inside structs under their paths."""
    for column in fields:
        if pa.types.is_struct(column.type):
            yield from leaves(column.type, f"{before}{column.name}.")
        else:
            yield f"{before}{column.name}", column.type


def _unreadable_columns(parquet: pq.ParquetFile) -> set[str]:
    """Columns of types that driftd does not read, such as spans of time and bytes that are no text."""
    first = next(parquet.iter_batches(batch_size=_FIRST_ROWS), None)
    table = pa.Table.from_batches([first]) if first is not None else parquet.schema_arrow.empty_table()
    return {name for name in table.column_names if not is_nested(table, name) and as_read(table.select([name]))[1]}


def is_nested(table: pa.Table, name: str) -> bool:
    """Whether a column has parts of its own, which are looked at one by one."""
    return bool(pa.types.is_nested(table.schema.field(name).type))


def _only_column(table: pa.Table) -> pa.ChunkedArray:
    while pa.types.is_struct(table.schema.field(0).type):
        table = table.flatten()
    return table.column(0)


def _kind_of_type(kind: pa.DataType) -> Kind | None:
    """The kind that an Arrow type tells; None where only the values do."""
    if pa.types.is_boolean(kind):
        return Kind.BOOLEAN
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.NUMBER
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Kind.TIMESTAMP
    if pa.types.is_dictionary(kind) and not is_text(kind):
        return Kind.CATEGORY  # numbers that were declared to be categories
    return None


def _count(column: pa.ChunkedArray, counts: Counter[Any]) -> None:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    for chunk in column.chunks:
        plain = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        if pa.types.is_null(plain.type):
            counts[None] += len(plain)
            continue
        found = pc.value_counts(plain)
        values = values_of(found.field("values"))
        names = values if is_text(plain.type) else [None if text is None else class_name(text) for text in values]
        for name, count in zip(names, found.field("counts").to_pylist(), strict=True):
            counts[name] += count

"""The kinds of the columns of files: by Arrow's type where that tells, else by all their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftd.store.arrow_texts import has_text, is_text, values_of
from driftd_detectors.kinds import Kind, kind_of_values
from driftd_detectors.values import class_name


class ColumnKinds:
    """What is seen of columns, file by file, and the kind that follows from it."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._counts: dict[str, Counter[Any]] = {}
        self._told: dict[str, set[Kind]] = {}
        self._nested: dict[str, None] = {}
        self._untyped = False

    @property
    def nested(self) -> tuple[str, ...]:
        """Columns of lists, which no feature can be made of."""
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

    def see_parquet(self, parquet: pq.ParquetFile) -> None:
        """The columns of a Parquet file, those inside structs under their paths."""
        for name, kind in leaves(parquet.schema_arrow):
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
        """Columns that the folders of a file name; they have no types."""
        self._untyped = self._untyped or bool(values)
        for name, value in values.items():
            self._counts.setdefault(name, Counter())[value] += rows

    def _kind(self, name: str) -> Kind:
        kinds = self._told.get(name, set())
        present = {value: count for value, count in self.counts(name).items() if value is not None and value == value}  # noqa: PLR0124 - NaN
        if present or not kinds:
            kinds = {*kinds, kind_of_values(present, untyped=self._untyped)}
        return next(iter(kinds)) if len(kinds) == 1 else Kind.CATEGORY


def leaves(fields: Iterable[pa.Field], before: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """The columns that hold values, with those inside structs under their paths."""
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from leaves(field.type, f"{before}{field.name}.")
        else:
            yield f"{before}{field.name}", field.type


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

"""Tables that are sets of files, at one version: which files may hold rows of a time, and their rows as batches."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from driftd.config.types import DAY
from driftd.sources.engines.protocol import EngineError
from driftd_detectors.batches.arrow_columns import read_times
from driftd_detectors.columns import Numbers

BATCH_ROWS = 50_000
_MARGIN = 0.002  # seconds: statistics are of milliseconds, and may be cut off
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0  # of the years 1 to 9999
_DAY_KEY = re.compile(r"\d{4}-?\d\d-?\d\d([T _-].*)?")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a table. `first` and `last` are bounds of a column of times (epoch seconds), None where none is known.

    `near` are bounds that a partition key gives. `handle` is what the table's library reads it by.
    """

    name: str
    rows: int | None
    first: float | None
    last: float | None
    handle: Any
    near: tuple[float, float] = (-math.inf, math.inf)

    def may_hold(self, start: float, end: float) -> bool:
        """Whether it may have rows with `start <= at < end`."""
        first = self.near[0] if self.first is None else self.first - _MARGIN
        last = self.near[1] if self.last is None else self.last + _MARGIN
        return first < end and last >= start


class PinnedTable(Protocol):
    """One version of a table: what is written later is not in it."""

    name: str
    version: str
    schema: pa.Schema

    def files(self, column: str) -> Sequence[DataFile]:
        """Its files, in an order that does not change, with the bounds of a column of times."""
        ...

    def batches(
        self, file: DataFile, columns: Sequence[str], column: str, start: float, end: float
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows of a file, at least of those with `start <= column < end`."""
        ...

    def keep(self, name: str) -> None:
        """Have the version stay for as long as something of this name stands. Raises EngineError where it may not."""
        ...


def need_column(table: PinnedTable, name: str, key: str) -> pa.DataType:
    """The type of a column that there must be. Raises EngineError."""
    if name not in table.schema.names:
        has = ", ".join(table.schema.names)
        raise EngineError(f"{table.name} has no column {name!r}: set source.{key}; it has {has}")
    return table.schema.field(name).type


def rows_in_time(
    table: PinnedTable, file: DataFile, columns: Sequence[str], at: str, start: float, end: float
) -> Iterator[pa.RecordBatch]:
    """Some columns of exactly the rows with `start <= at < end`; a row without a readable time is in no span."""
    wanted = list(dict.fromkeys([name for name in columns if name in table.schema.names] + [at]))
    for batch in table.batches(file, wanted, at, start, end):
        times = read_times(batch.column(at))
        inside = (times >= start) & (times < end) & np.isfinite(times)
        if inside.any():
            yield batch if inside.all() else batch.filter(pa.array(inside))


def bounds_of(table: PinnedTable, file: DataFile, at: str) -> tuple[float, float] | None:
    """The earliest and the latest time of a file, which is read for them; None where no row has a time."""
    found: list[Numbers] = [
        read_times(batch.column(at)) for batch in rows_in_time(table, file, [at], at, -math.inf, math.inf)
    ]
    return (min(float(times.min()) for times in found), max(float(times.max()) for times in found)) if found else None


def value_near(seconds: float, kind: pa.DataType, *, after: bool) -> pa.Scalar | None:
    """A value of the type of a column that is not after a time, or (`after`) not before it.

    None where there is no bound, or where values of the type do not compare as times do.
    """
    if not math.isfinite(seconds) or not has_order(kind):
        return None
    if pa.types.is_floating(kind):
        return pa.scalar(seconds, pa.float64())
    if pa.types.is_integer(kind):
        whole = math.ceil(seconds) if after else math.floor(seconds)
        return pa.scalar(whole, pa.int64()) if abs(whole) < 2**62 else None
    margin = _MARGIN if after else -_MARGIN
    if not _FIRST + DAY < seconds < _LAST - DAY:
        return None
    moment = _EPOCH + timedelta(seconds=seconds + margin)
    if pa.types.is_date(kind):
        day: date = moment.date() + timedelta(days=1 if after else 0)
        return pa.scalar(day, pa.date32())
    return pa.scalar(moment if kind.tz else moment.replace(tzinfo=None), pa.timestamp("us", kind.tz))


def has_order(kind: pa.DataType) -> bool:
    """Whether values of a column of times compare as the times do; texts do not."""
    return bool(
        pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_integer(kind)
        or kind in (pa.float32(), pa.float64())
    )


def near_key(key: object, slack: float) -> tuple[float, float]:
    """Between which times rows of a partition lie, by a key that is a day or a part of one; anywhere for other keys."""
    if isinstance(key, date | str | int) and _DAY_KEY.fullmatch(text := str(key)):
        day = text[:10] if text[4] == "-" else f"{text[:4]}-{text[4:6]}-{text[6:8]}"
        at = float(read_times(pa.array([day]))[0])
        if math.isfinite(at):
            return at - slack, at + DAY + slack
    return -math.inf, math.inf

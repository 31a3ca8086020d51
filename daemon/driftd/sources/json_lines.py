"""Lines of JSON objects as a table. Features may stand beside the rest, or in an object called `features`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.json

from driftd.sources.dialects import Dialect
from driftd.sources.formats.payloads import Adapter, join_responses
from driftd.sources.nested import has_path, value_at, with_object_spread, with_paths, with_struct_spread
from driftd.sources.parsed import Example, Parsed, RequestedColumns, shorten
from driftd_detectors.times import read_time, read_time_text
from driftd_detectors.values import class_name, number_of_text

FEATURES = "features"


@dataclass(frozen=True, slots=True)
class Lines:
    """What the lines of a file are: `features` names the object whose keys are columns too."""

    features: str = FEATURES
    adapter: Adapter | None = None
    feature_names: tuple[str, ...] = ()  # of the model, in their order
    dialect: Dialect = field(default_factory=Dialect)

    def rows_of(self, line: bytes) -> Sequence[Mapping[str, object]]:
        """The rows of one line. Raises ValueError when it holds none."""
        row = _decode_line(line)
        if self.adapter is None:
            return [row]
        try:
            return self.adapter(row, self.feature_names)
        except (TypeError, KeyError, AttributeError) as error:  # an object of other types than the format's
            raise ValueError(f"not of this format: {error}") from error


def parse_json_lines(lines: bytes, wanted: RequestedColumns, how: Lines) -> Parsed:
    """Whole lines as a table, and how many of them are no JSON objects (always the same ones).

    Arrow reads lines whose columns have one type each; any other, and those that an adapter turns into rows, are read
    one by one, much slower.
    """
    count = _objects_in(lines) if how.adapter is None else None
    if count is None:
        return _one_by_one(lines, wanted, how)
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(lines), read_options=pyarrow.json.ReadOptions(block_size=len(lines) + 1)
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _one_by_one(lines, wanted, how)
    if len(table) != count:
        return _one_by_one(lines, wanted, how)
    table = with_paths(with_struct_spread(table, how.features), {name: name for name in wanted.columns})
    if any(name in table.column_names and pa.types.is_temporal(table.schema.field(name).type) for name in wanted.texts):
        return _one_by_one(lines, wanted, how)  # Arrow took a text for a time, and its form is lost
    table = how.dialect.with_iso_dates(table, (*wanted.times, *wanted.event_times))
    return Parsed(_as_one_by_one(table, wanted))


def _as_one_by_one(table: pa.Table, wanted: RequestedColumns) -> pa.Table:
    """A table with its values in the form that lines read one by one have: a row means one thing among any others."""
    as_they_are = {*wanted.texts, *wanted.times, *wanted.event_times, wanted.identity}
    for place, column in enumerate(table.schema):
        if column.name in wanted.times and pa.types.is_integer(column.type):  # seconds, never a date such as 20240131
            table = table.set_column(place, column.name, table.column(place).cast(pa.float64(), safe=False))
        elif column.name in wanted.columns and column.name not in as_they_are and pa.types.is_string(column.type):
            coded = table.column(place).combine_chunks().dictionary_encode()
            texts = pa.array([quoted_number(text) for text in coded.dictionary.to_pylist()], pa.string())
            table = table.set_column(place, column.name, texts.take(coded.indices))
    return table


def _objects_in(lines: bytes) -> int | None:
    """How many lines there are, if each begins as an object; None otherwise.

    Arrow also takes two objects on one line, one on two lines, and `null`, for rows; and where `null` comes first, its
    reader ends the whole process (26.0 does).
    """
    starts = lines.count(b"\n") + (not lines.endswith(b"\n"))
    return starts if lines.startswith(b"{") and lines.count(b"\n{") == starts - 1 else None


def _one_by_one(lines: bytes, wanted: RequestedColumns, how: Lines) -> Parsed:
    rows: list[Mapping[str, Any]] = []
    malformed, example = 0, None
    for number, line in enumerate(lines.split(b"\n")):
        if not line.strip():
            continue
        try:
            rows += how.rows_of(line)
        except ValueError as error:  # also of text that is no UTF-8
            malformed += 1
            said = f" ({error})" if how.adapter is not None else ""
            example = example or Example(number, shorten(line) + said)
    rows, answers = join_responses(rows)
    if answers:
        example = example or Example(0, f"{answers} responses without their requests")
    rows = [with_object_spread(row, how.features) for row in rows]
    arrays = {"": pa.nulls(len(rows))}  # some column, so that rows are counted
    for name in wanted.columns:
        if any(has_path(row, name) for row in rows):
            arrays[name] = _read([value_at(row, name) for row in rows], name, wanted, how.dialect)
    return Parsed(pa.table(arrays), malformed + answers, example)


def rows_in(lines: bytes, how: Lines) -> Iterator[Mapping[str, object]]:
    """The rows in some lines, with the values of objects inside under their paths; lines that are no rows are none."""
    rows: list[Mapping[str, Any]] = []
    for line in lines.split(b"\n"):
        try:
            rows += how.rows_of(line)
        except ValueError:
            continue
    for row in join_responses(rows)[0]:
        spread = with_object_spread(row, how.features)
        yield dict(_leaves({key: value for key, value in spread.items() if key != how.features}, ""))


def _leaves(row: Mapping[str, object], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def keys_of(lines: bytes, how: Lines) -> list[str]:
    """The keys of the rows in some lines, in the order of their appearance; those of objects inside as paths too."""
    keys: dict[str, None] = {}
    for line in lines.split(b"\n"):
        try:
            rows = how.rows_of(line)
        except ValueError:
            continue
        for row in rows:
            keys |= dict.fromkeys(_paths(with_object_spread(row, how.features)))
    return list(keys)


def _paths(row: Mapping[str, object], before: str = "") -> Iterator[str]:
    for key, value in row.items():
        yield f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{key}.")


_decode = msgspec.json.Decoder().decode


def _decode_line(line: bytes) -> Mapping[str, object]:
    try:
        row = _decode(line)
    except ValueError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
        row = json.loads(line)  # as Python and Arrow write and read them
    if not isinstance(row, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - a line that is no row, as any other
    return row


def _read(values: list[Any], name: str, wanted: RequestedColumns, dialect: Dialect) -> pa.Array:
    if dialect.day_first is not None and name in {*wanted.event_times, *wanted.times}:
        values = [dialect.iso_date(value) if isinstance(value, str) else value for value in values]
    if name in wanted.event_times:
        return pa.array([_event_time(value) for value in values], pa.float64())
    return _column(values, text=name in wanted.texts or name == wanted.identity, time=name in wanted.times)


def _column(values: list[Any], *, text: bool, time: bool) -> pa.Array:
    """Values of any types as one: text if that is wanted, numbers if all are, else text that is no number."""
    if text:
        return pa.array([None if _has_no_text(value) else class_name(value) for value in values], pa.string())
    if all(value is None or isinstance(value, bool) for value in values):
        return pa.array(values, pa.bool_())
    if time:
        return pa.array([_time(value) for value in values], pa.float64())
    if all(value is None or isinstance(value, int | float) for value in values):
        return pa.array([_number(value) for value in values], pa.float64())
    return pa.array([None if value is None else quoted_number(value) for value in values], pa.string())


def quoted_number(value: object) -> str:
    """A value among numbers: numbers as themselves, texts that look like numbers in quotes: a text is no number."""
    if not isinstance(value, str):
        return class_name(float(value)) if isinstance(value, bool) else class_name(value)
    try:
        number_of_text(value)
    except ValueError:
        return value
    return repr(value)


def _has_no_text(value: object) -> bool:
    return value is None or isinstance(value, list | dict)


def _number(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return None


def _event_time(value: object) -> float | None:
    """As `event_times.read_times` has it: None where there is no value, NaN where it cannot be read.

    A number is not bounded here, because its bounds name what is wrong.
    """
    if value is None:
        return None
    number = _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else _time(value)
    return math.nan if number is None or isinstance(value, bool) else number


def _time(value: object) -> float | None:
    try:
        if isinstance(value, str):
            return read_time_text(value) if value else None
        return None if value is None else float(read_time(value))
    except ValueError:
        return None

"""Lines of JSON objects as a table. Features may stand beside the rest, or in an object called `features`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.json

from driftd.store.events.feature_parsing import read_time
from driftd_detectors.schema import class_name

_NEST = "features"


def parse_json_lines(
    lines: bytes, columns: Sequence[str], texts: Sequence[str], times: Sequence[str]
) -> tuple[pa.Table, int]:
    """Whole lines as a table, and how many of them are no JSON objects (always the same ones).

    Arrow reads lines whose columns have one type each; any other are read one by one, much slower.
    """
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(lines), read_options=pyarrow.json.ReadOptions(block_size=len(lines) + 1)
        )
    except pa.ArrowInvalid:
        return _one_by_one(lines, columns, texts, times)
    if _NEST in table.column_names and pa.types.is_struct(table.schema.field(_NEST).type):
        nested = table.column(_NEST)
        table = table.drop_columns([_NEST])
        for field in nested.type:
            if field.name not in table.column_names:
                part = pa.chunked_array([chunk.field(field.name) for chunk in nested.chunks], field.type)
                table = table.append_column(field.name, part)
    if any(name in table.column_names and pa.types.is_temporal(table.schema.field(name).type) for name in texts):
        return _one_by_one(lines, columns, texts, times)  # Arrow took a text for a time, and its form is lost
    return table, 0


def _one_by_one(
    lines: bytes, columns: Sequence[str], texts: Sequence[str], times: Sequence[str]
) -> tuple[pa.Table, int]:
    rows, malformed = [], 0
    decode = msgspec.json.Decoder().decode
    for line in lines.split(b"\n"):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except ValueError:  # also of text that is no UTF-8
            row = None
        if isinstance(row, dict):
            nested = row.get(_NEST)
            rows.append({**nested, **row} if isinstance(nested, Mapping) else row)
        else:
            malformed += 1
    arrays = {"": pa.nulls(len(rows))}  # some column, so that rows are counted
    for name in columns:
        if any(name in row for row in rows):
            arrays[name] = _column([row.get(name) for row in rows], text=name in texts, time=name in times)
    return pa.table(arrays), malformed


def _column(values: list[Any], *, text: bool, time: bool) -> pa.Array:
    """Values of any types as one: text if that is wanted, numbers if all are, else text that is no number."""
    if text:
        return pa.array([None if value is None else class_name(value) for value in values], pa.string())
    if all(value is None or isinstance(value, bool) for value in values):
        return pa.array(values, pa.bool_())
    if time:
        return pa.array([_time(value) for value in values], pa.float64())
    if all(value is None or isinstance(value, int | float) for value in values):
        return pa.array([_number(value) for value in values], pa.float64())
    return pa.array([None if value is None else _as_text(value) for value in values], pa.string())


def _as_text(value: object) -> str:
    """Numbers as themselves, everything else in quotes: a numeric text among numbers stays a text."""
    return repr(float(value)) if isinstance(value, int | float) else repr(value)


def _number(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return None


def _time(value: object) -> float | None:
    try:
        return None if value is None else read_time(value)
    except ValueError:
        return None

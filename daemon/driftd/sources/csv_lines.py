"""Lines of CSV: where whole rows end, and rows as a table. A quote opens a field only at the field's start."""

from __future__ import annotations

import csv
import io
import re
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from driftd.sources.dialects import Dialect
from driftd.sources.parsed import Parsed, example_of_line
from driftd.sources.wanted import RequestedColumns

MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "#N/A N/A", "NULL", "null", "None", "NaT"),
    *("nan", "NaN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)  # what writes a table as CSV puts where nothing stands


def end_of_rows(piece: bytes, separator: str) -> int:
    """Where the last whole row ends; 0 when no row is whole. A line end inside a quoted field ends no row."""
    if b'"' not in piece:
        return piece.rfind(b"\n") + 1
    found = _rows_pattern(separator).match(piece)
    return found.end() if found is not None else 0


@lru_cache
def _rows_pattern(separator: str) -> re.Pattern[bytes]:
    """Whole rows from the start on, as Arrow's parser sees them; possessive, so that nothing is tried twice."""
    sign = re.escape(separator.encode())
    rest = rb"[^" + sign + rb"\n]*+"
    field = rb'(?:"[^"]*+(?:""[^"]*+)*+"' + rest + rb'|[^"' + sign + rb"\n]" + rest + rb"|)"
    return re.compile(rb"(?:(?>" + field + rb"(?:" + sign + field + rb")*+\n))*+")


def header_names(header: str, separator: str) -> list[str]:
    """The names of the columns."""
    return next(csv.reader([header], delimiter=separator), [])


def parse_csv(lines: bytes, header: str, separator: str, dialect: Dialect, wanted: RequestedColumns) -> Parsed:
    """Whole lines as a table of the wanted columns that are there; rows with too few or too many fields are no rows."""
    names = header_names(header, separator)
    present = [name for name in wanted.columns if name in names]
    texts = {*wanted.texts, *wanted.event_times, wanted.identity}
    lines = dialect.as_utf8(lines)
    malformed: list[str] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        malformed.append(row.text if not malformed else "")
        return "skip"

    if not lines.strip():
        return Parsed(pa.table({name: pa.array([], pa.string()) for name in present or names[:1]}))
    table = pyarrow.csv.read_csv(
        io.BytesIO(lines),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(lines) + 1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=present or names[:1],  # some column, so that rows are counted
            column_types={name: pa.string() for name in texts if name in present},
            null_values=MISSING,
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
        ),
    )
    if dialect.decimal != ".":
        table = _with_points(table, dialect.decimal, texts - {*wanted.event_times})
    example = example_of_line(lines, malformed[0].encode()) if malformed else None
    return Parsed(table, len(malformed), example)


def _with_points(table: pa.Table, decimal: str, texts: set[str]) -> pa.Table:
    """Numbers of a column that Arrow took for text, because one value is none, with a decimal point."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in texts:
            pointed = pc.replace_substring(table.column(place), decimal, ".")
            table = table.set_column(place, field.name, pointed)
    return table

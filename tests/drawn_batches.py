"""Tables of rows as engines hand them out: every Arrow type that a column may have, with its awkward values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.schema import Feature, Kind, Schema, Task

START, END = 1_700_000_000.0, 1_700_003_600.0
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "bought",
    (
        Feature("price", Kind.NUMBER),
        Feature("city", Kind.CATEGORY, ("Köln", "東京", "1")),
        Feature("member", Kind.BOOLEAN),
        Feature("joined", Kind.TIMESTAMP),
        Feature("other", Kind.NUMBER),
    ),
    ("0", "1"),
)
_DAY = datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)
Choice = tuple[pa.DataType, Sequence[object]]
NUMBERS: dict[str, Choice] = {
    "double": (pa.float64(), [None, math.nan, math.inf, -math.inf, -0.0, 0.0, 1e308, 5e-324, 0.57, 3.0]),
    "float": (pa.float32(), [None, math.nan, math.inf, -0.0, 0.1, 16_777_217.0]),
    "half": (pa.float16(), [None, np.float16(0.1), np.float16(-0.0), np.float16(65_504)]),
    "int64": (pa.int64(), [None, 2**63 - 1, -(2**63), 2**53 + 1, 0]),
    "uint64": (pa.uint64(), [None, 2**64 - 1, 2**53 + 1, 0]),
    "int8": (pa.int8(), [None, -128, 127]),
    "decimal": (pa.decimal128(38, 10), [None, Decimal("0.57"), Decimal("-0.0000000001"), Decimal("1234567890.1")]),
    "decimal of thousands": (pa.decimal128(10, -3), [None, Decimal(5000), Decimal(-12000)]),
    "decimal256": (pa.decimal256(70, 5), [None, Decimal("0.57"), Decimal("9" * 60)]),
    "bool": (pa.bool_(), [None, True, False]),
    "text": (pa.string(), [None, "", "3.5", "x"]),
    "coded": (pa.dictionary(pa.int8(), pa.float64()), [None, 0.57, -0.0]),
    "duration": (pa.duration("s"), [None, 5]),
    "null": (pa.null(), [None]),
    "list": (pa.list_(pa.int64()), [None, [1, 2]]),
}
TEXTS: dict[str, Choice] = {
    "string": (pa.string(), [None, "", "Köln", "Ko\u0308ln", "東京", " 1 ", "1.0", "\0", "🜚" * 30, "nan"]),
    "large": (pa.large_string(), [None, "Köln", "a"]),
    "view": (pa.string_view(), [None, "Köln", "a text that is longer than twelve bytes"]),
    "coded": (pa.dictionary(pa.int32(), pa.string()), [None, "Köln", "東京", "b"]),
    "coded large": (pa.dictionary(pa.uint8(), pa.large_string()), [None, "Köln", "c"]),
    "int": (pa.int32(), [None, 1, 2, -7]),
    "double": (pa.float64(), [None, 1.0, math.nan, -0.0, 2.5, math.inf]),
    "bool": (pa.bool_(), [None, True, False]),
    "bytes": (pa.binary(), [None, b"Koeln", b"\xff\xfe"]),
    "large bytes": (pa.large_binary(), [None, b"Koeln"]),
    "view of bytes": (pa.binary_view(), [None, b"Koeln", b"longer than twelve bytes"]),
    "uuid": (pa.binary(16), [None, bytes(range(16))]),
    "decimal": (pa.decimal128(38, 10), [None, Decimal(1), Decimal("2.5")]),
    "date": (pa.date32(), [None, date(2023, 11, 14)]),
    "zoned": (pa.timestamp("us", "Europe/Berlin"), [None, _DAY]),
    "time": (pa.time64("us"), [None, 5]),
    "struct": (pa.struct([("a", pa.int64())]), [None, {"a": 1}]),
    "null": (pa.null(), [None]),
}
BOOLEANS: dict[str, Choice] = {
    "bool": (pa.bool_(), [None, True, False]),
    "int": (pa.int64(), [None, 0, 1, 2]),
    "double": (pa.float64(), [None, 0.0, 1.0, math.nan]),
    "text": (pa.string(), [None, "true", "F", "yes", "perhaps"]),
    "view": (pa.string_view(), [None, "true", "F"]),
    "coded": (pa.dictionary(pa.int8(), pa.string()), [None, "t", "0"]),
}
TIMES: dict[str, Choice] = {
    **{
        unit: (pa.timestamp(unit), [None, _DAY.replace(tzinfo=None, microsecond=0)]) for unit in ("s", "ms", "us", "ns")
    },
    "zoned": (pa.timestamp("us", "America/New_York"), [None, _DAY]),
    "date32": (pa.date32(), [None, date(2023, 11, 14), date(1, 1, 1)]),
    "date64": (pa.date64(), [None, date(2023, 11, 14)]),
    "double": (pa.float64(), [None, START + 0.1, math.nan, -math.inf, 1e18]),
    "int": (pa.int64(), [None, int(START), 20_231_114, 2**62]),
    "text": (pa.string(), [None, "2023-11-14T22:13:20+01:00", "2023-11-14", "soon", str(START)]),
    "view": (pa.string_view(), [None, "2023-11-14T22:13:20Z"]),
    "coded": (pa.dictionary(pa.int32(), pa.string()), [None, "2023-11-14T22:13:20Z"]),
    "decimal": (pa.decimal128(20, 6), [None, Decimal("1700000000.123456")]),
    "bool": (pa.bool_(), [None, True]),
}
FEATURES = {"price": NUMBERS, "city": TEXTS, "member": BOOLEANS, "joined": TIMES, "other": NUMBERS}
OF_PREDICTIONS: dict[str, dict[str, Choice]] = {
    "prediction": {
        "text": (pa.string(), [None, "0", "1", "1.0", "maybe", "perhaps"]),
        "int": (pa.int64(), [0, 1, 2]),
        "bool": (pa.bool_(), [True, False, None]),
        "coded": (pa.dictionary(pa.int8(), pa.string()), ["1", "0", "other"]),
    },
    "score": {
        "double": (pa.float64(), [None, 0.25, 1.5, math.nan, -0.0]),
        "decimal": (pa.decimal128(5, 4), [Decimal("0.57"), None]),
        "text": (pa.string(), ["0.5", None]),
    },
    "version": {"int": (pa.int32(), [None, 1, 2, 0]), "double": (pa.float64(), [1.0, math.nan, math.inf, 2.0])},
    "label": {
        "text": (pa.string(), [None, "0", "1", "never seen", "another"]),
        "int": (pa.int64(), [None, 0, 1]),
        "bool": (pa.bool_(), [None, True, False]),
    },
    "label_at": {  # before the row, at the same time, much later, never said
        "double": (pa.float64(), [None, START - 500, START + 5, START + 5, END + 9e5, math.nan]),
        "zoned": (pa.timestamp("ms", "UTC"), [None, _DAY.replace(microsecond=0)]),
    },
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Some rows, of which some are not in the window; a column may be missing as a whole."""
    rows = draw(st.integers(0, 24))
    columns: dict[str, pa.Array] = {}
    for name, kinds in {**FEATURES, **OF_PREDICTIONS}.items():
        if name != "prediction" and draw(st.integers(0, 9)) == 0:
            continue
        kind, values = kinds[draw(st.sampled_from(sorted(kinds)))]
        columns[name] = array_of(
            kind, draw(st.lists(st.sampled_from(range(len(values))), min_size=rows, max_size=rows)), values
        )
    at = [START - 1, START, START + 0.5, START + 7, END - 1e-3, END, None, math.nan]
    columns["at"] = pa.array(draw(st.lists(st.sampled_from(at), min_size=rows, max_size=rows)), pa.float64())
    columns["prediction_id"] = draw(st.sampled_from([_texts, _numbers, _nameless]))(rows)
    return pa.table(columns)


def array_of(kind: pa.DataType, places: Sequence[int], values: Sequence[object]) -> pa.Array:
    """The values at these places as an array of a type."""
    chosen = [values[place] for place in places]
    if pa.types.is_dictionary(kind):
        return pa.array(chosen, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(chosen, kind)


def _texts(rows: int) -> pa.Array:
    return pa.array([f"p{number}" * (1 + number % 4) for number in range(rows)], pa.string())


def _numbers(rows: int) -> pa.Array:
    return pa.array(range(rows), pa.int64())


def _nameless(rows: int) -> pa.Array:
    return pa.nulls(rows, pa.string())


@st.composite
def cuts(draw: st.DrawFn, table: pa.Table) -> list[pa.RecordBatch]:
    """The rows of a table in batches, empty ones too, in any order."""
    places = sorted(draw(st.lists(st.integers(0, len(table)), max_size=5)))
    parts = [table.slice(first, last - first) for first, last in pairwise([0, *places, len(table)])]
    return [batch_of(part) for part in draw(st.permutations(parts))]


def batch_of(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    return pa.RecordBatch.from_arrays(
        [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in table.columns],
        schema=table.schema,
    )


def layout_of(rows: int = 400) -> Layout:
    """Bins of plain rows."""
    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "prediction_id": [f"r{number}" for number in range(rows)],
            "at": START + np.arange(rows),
            "prediction": rng.choice(["0", "1"], rows),
            "score": rng.random(rows),
            "price": np.where(rng.random(rows) < 0.1, np.nan, rng.choice([0.57, 3.0, 0.0, -1.0, 12.5, 99.0], rows)),
            "city": rng.choice(["Köln", "東京", "1"], rows),
            "member": rng.random(rows) < 0.5,
            "joined": START - rng.exponential(1e6, rows),
            "other": rng.normal(size=rows),
        }
    )
    read = Rows.read(table, RowNames(), SCHEMA)
    return learn_layout(read.columns, read.outcomes, SCHEMA)

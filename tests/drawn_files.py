"""Files as other systems write them, drawn at random: all kinds of columns, gaps, awkward texts, all formats."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

FORMATS = ("data.csv", "data.csv.gz", "data.tsv", "data.parquet", "data.jsonl", "data.jsonl.gz")
BEGIN = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
TEXTS = [
    "north",
    "süd",
    "O'Brien",
    'say "hi"',
    "a,b",
    "tab\there",
    "two\nlines",
    " padded ",
    "日本",
    "x" * 40,
    "True",
    "1.0",
    "#1",
]
WORDS = ["NA", "None", "nan", "", "null", "n/a", "NULL", "NaN"]  # what some take for nothing
CODES = ["01", "1", "007", "0", "10"]
NAMES = ["amount", "score", "version", "label", "prediction", "at", "label_at", "a b", "größe", "features.x", "Zip"]


@dataclass(frozen=True)
class Drawn:
    """One table: its columns by name, each a list of Python values; `y` is the target, `ts` the time, `id` the name."""

    columns: dict[str, list[Any]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.columns["id"])


def moments(days: int) -> st.SearchStrategy[dt.datetime]:
    return st.integers(0, days * 86_400).map(lambda seconds: BEGIN - dt.timedelta(seconds=seconds))


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(-1e6, 1e6, allow_nan=False),
    "tiny": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "integer": st.integers(-(2**40), 2**40),
    "small": st.integers(0, 5),
    "decimal": st.integers(-100_000, 100_000).map(lambda cents: Decimal(cents) / 100),
    "boolean": st.booleans(),
    "truth": st.sampled_from(["True", "False", "TRUE", "false"]),
    "category": st.sampled_from(TEXTS),
    "plain text": st.sampled_from([text for text in TEXTS if text != "1.0"]),
    "word": st.sampled_from([*TEXTS, *WORDS]),
    "code": st.sampled_from(CODES),
    "padded": st.sampled_from(["01", "007", "02", "0A"]),
    "any": st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=6),
    "timestamp": moments(400),
    "date": moments(400).map(lambda at: at.date()),
    "day": moments(400).map(lambda at: at.date().isoformat()),
    "text time": moments(400).map(lambda at: at.isoformat()),
    "mixed": st.one_of(st.integers(0, 9), st.sampled_from(["a", "1", "2.5"]), st.booleans(), st.just(0.5)),
}
TARGETS: dict[str, st.SearchStrategy[Any]] = {
    "0 and 1": st.integers(0, 1),
    "floats": st.sampled_from([0.0, 1.0]),
    "truths": st.booleans(),
    "texts of truths": st.sampled_from(["TRUE", "FALSE"]),
    "codes": st.sampled_from(["01", "02", "1"]),
    "words": st.sampled_from(["yes", "no", " no", "perhaps"]),
    "decimals": st.sampled_from([Decimal("0.00"), Decimal("1.00")]),
    "number": st.floats(-1e3, 1e3, allow_nan=False),
    "cents": st.integers(0, 10_000).map(lambda cents: Decimal(cents) / 100),
}
# What every format says alike: "1" as text is a number in CSV, which has no types.
TYPED = ("number", "integer", "small", "decimal", "boolean", "plain text", "padded", "timestamp", "date", "text time")


@st.composite
def tables(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(VALUES), targets: tuple[str, ...] = tuple(TARGETS)) -> Drawn:
    """Thirty rows with one to four features of any kind, some with gaps."""
    rows = 30
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    columns: dict[str, list[Any]] = {"id": [f"p{row}" for row in range(rows)]}
    columns["ts"] = [BEGIN + dt.timedelta(hours=row) for row in range(rows)]
    for name in names:
        columns[name] = draw(_values(rows, VALUES[draw(st.sampled_from(kinds))]))
    columns["y"] = draw(_values(rows, TARGETS[draw(st.sampled_from(targets))]))
    return Drawn(columns)


@st.composite
def _values(draw: st.DrawFn, rows: int, values: st.SearchStrategy[Any]) -> list[Any]:
    pool = draw(st.lists(values, min_size=2, max_size=rows))
    gaps = draw(st.sampled_from([0, 0, 3, 7]))
    order = draw(st.randoms(use_true_random=False))
    return [None if gaps and order.random() < gaps / 10 else order.choice(pool) for _ in range(rows)]


def write(table: Drawn, path: Path) -> Path:
    """Write a table in the format of the path's suffix."""
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(pa.table({key: _arrow(values) for key, values in table.columns.items()}), path)
        return path
    text = _lines(table) if ".jsonl" in name else _csv(table, "\t" if ".tsv" in name else ",")
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def _arrow(values: list[Any]) -> pa.Array:
    if any(isinstance(item, Decimal) for item in values):
        return pa.array(values, pa.decimal128(20, 4))
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # objects of several types: pandas users write them as text
        return pa.array([None if item is None else str(item) for item in values])


def _csv(table: Drawn, separator: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*table.columns.values(), strict=True))
    return out.getvalue()


def _lines(table: Drawn) -> str:
    rows = zip(*table.columns.values(), strict=True)
    named = (dict(zip(table.columns, row, strict=True)) for row in rows)
    return "".join(json.dumps(row, default=_plain, ensure_ascii=False) + "\n" for row in named)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value.isoformat()


def plain(table: pa.Table) -> pd.DataFrame:
    """A table of labelled rows as a frame in the order of its ids, without what only one of the two can know."""
    frame = table.to_pandas().sort_values("driftd_id").reset_index(drop=True)
    own = ["driftd_version", "driftd_prediction", "driftd_score", "driftd_label_at"]
    return frame.drop(columns=own)

"""Expectations on the rows of a snapshot: counts, ranges, missing values, uniqueness, allowed values, kinds.

Every column is read piece by piece; only to see whether values are unique, eight bytes of each are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftd.config.stage_schema import ColumnExpectation, RowCount
from driftd.formatting import visible
from driftd.training.snapshot_rows import SnapshotRows
from driftd_detectors.schema import Kind
from driftd_detectors.values import class_name

IDENTITY = "driftd_id"
_LONGEST_VALUE = 80  # characters of a value that is told
_MOST_SUSPECTS = 1000  # values whose hashes are there twice, which are compared themselves


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one expectation. `example` is the row, by its `driftd_id`, and the value that fails it."""

    name: str
    passed: bool
    expected: str
    found: str
    failing: int = 0  # rows
    example: dict[str, str] | None = None

    @property
    def sentence(self) -> str:
        """What was expected and what was found, as one clause."""
        such = "" if self.example is None else f" (such as {self.example['value']} of {self.example['id']})"
        rows = f"; {self.failing:,} rows fail{such}" if self.failing else ""
        return f"{self.name}: expected {self.expected}, found {self.found}{rows}"

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "expected": self.expected,
            "found": self.found,
            "failing": self.failing,
            "example": self.example,
        }


def check_rows(rows: int, wanted: RowCount) -> Iterator[Outcome]:
    """Whether there are as many rows as are wanted."""
    if wanted.min is not None:
        yield Outcome("rows min", rows >= wanted.min, f"at least {wanted.min:,} rows", f"{rows:,}")
    if wanted.max is not None:
        yield Outcome("rows max", rows <= wanted.max, f"at most {wanted.max:,} rows", f"{rows:,}")


def check_column(snapshot: SnapshotRows, column: str, wanted: ColumnExpectation) -> Iterator[Outcome]:
    """Whether the values of a column are what is expected of them."""
    kind = snapshot.kind(column)
    if kind is None:
        known = ", ".join([*snapshot.features, snapshot.target])
        yield Outcome(
            column, passed=False, expected="a feature or the target", found=f"no such column (there are: {known})"
        )
        return
    if wanted.dtype is not None:
        yield Outcome(f"{column} dtype", kind is wanted.dtype, str(wanted.dtype), str(kind))
    if (wanted.min is not None or wanted.max is not None) and kind not in (Kind.NUMBER, Kind.TIMESTAMP):
        yield Outcome(f"{column} range", passed=False, expected="a number or a time", found=f"a {kind}")
        return
    yield from _check_values(snapshot, column, kind, wanted)
    if wanted.unique:
        yield _check_unique(snapshot, column)


@dataclass(slots=True)
class _Failing:
    """The rows that fail an expectation, counted, and the first of them."""

    rows: int = 0
    example: dict[str, str] | None = None

    def add(self, fails: NDArray[np.bool_], values: pa.ChunkedArray, ids: pa.ChunkedArray) -> None:
        """Count the rows of a piece that fail."""
        count = int(fails.sum())
        if count and self.example is None:
            place = int(np.argmax(fails))
            self.example = {"id": str(ids[place].as_py()), "value": _brief(values[place].as_py())}
        self.rows += count


def _brief(value: object) -> str:
    return visible(str(value))[:_LONGEST_VALUE]


def _check_values(snapshot: SnapshotRows, column: str, kind: Kind, wanted: ColumnExpectation) -> Iterator[Outcome]:
    low, high, strange, missing = _Failing(), _Failing(), _Failing(), 0
    least, most = np.inf, -np.inf
    allowed = None if wanted.values is None else {class_name(value) for value in wanted.values}
    for piece in snapshot.stored.rows.pieces(slice(0, None), [column, IDENTITY]):
        values, ids = piece[column], piece[IDENTITY]
        absent = _find_missing(values)
        missing += int(absent.sum())
        if wanted.min is not None or wanted.max is not None:
            numbers = _numbers(values, kind)
            if not absent.all():
                least, most = min(least, np.nanmin(numbers)), max(most, np.nanmax(numbers))
            with np.errstate(invalid="ignore"):
                low.add(numbers < (-np.inf if wanted.min is None else wanted.min), values, ids)
                high.add(numbers > (np.inf if wanted.max is None else wanted.max), values, ids)
        if allowed is not None:
            strange.add(_outside(values, allowed) & ~absent, values, ids)
    if wanted.min is not None:
        found = "no value" if np.isinf(least) and least > 0 else f"{least:g}"
        yield Outcome(f"{column} min", not low.rows, f"no value below {wanted.min:g}", found, low.rows, low.example)
    if wanted.max is not None:
        found = "no value" if np.isinf(most) and most < 0 else f"{most:g}"
        yield Outcome(f"{column} max", not high.rows, f"no value above {wanted.max:g}", found, high.rows, high.example)
    if wanted.nulls is not None:
        share = missing / max(1, len(snapshot))
        passed = missing <= wanted.nulls * len(snapshot)
        expected = f"at most {100 * wanted.nulls:g}% of the values missing"
        yield Outcome(f"{column} nulls", passed, expected, f"{100 * share:.3g}%", 0 if passed else missing)
    if allowed is not None:
        expected = f"one of {', '.join(map(str, wanted.values or ()))}"
        found = "only these" if not strange.rows else "others"
        yield Outcome(f"{column} values", not strange.rows, expected, found, strange.rows, strange.example)


def _find_missing(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    absent = pc.is_null(values, nan_is_null=pa.types.is_floating(values.type))
    return np.asarray(absent.to_numpy(), dtype=bool)


def _numbers(values: pa.ChunkedArray, kind: Kind) -> NDArray[np.float64]:
    if kind is Kind.TIMESTAMP:
        micros = values.cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(micros.to_numpy(), dtype=np.float64) / 1e6
    return np.asarray(values.to_numpy(), dtype=np.float64)


def _outside(values: pa.ChunkedArray, allowed: set[str]) -> NDArray[np.bool_]:
    """Which values are not among those that are allowed, by their text."""
    coded = values.combine_chunks().dictionary_encode()
    known = [value is None or class_name(value) in allowed for value in coded.dictionary.to_pylist()]
    codes = np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    return ~np.append(np.asarray(known, dtype=bool), True)[codes]  # the last one, at -1, stands for a missing value


def _check_unique(snapshot: SnapshotRows, column: str) -> Outcome:
    """Whether no value is there twice: by a hash of each, and by the values themselves where hashes are alike."""
    hashes = np.concatenate([np.empty(0, np.uint64), *(found for found, _ in _hash_values(snapshot, column))])
    hashes.sort()
    alike = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    repeated = len(hashes) - len(np.unique(hashes))
    failing = _Failing()
    if len(alike):
        seen: dict[object, bool] = {}
        suspects = alike[:_MOST_SUSPECTS]
        for found, piece in _hash_values(snapshot, column):
            among = np.isin(found, suspects)
            for place in np.flatnonzero(among):
                value = piece[column][int(place)].as_py()
                if value in seen and failing.example is None:
                    failing.example = {"id": str(piece[IDENTITY][int(place)].as_py()), "value": _brief(value)}
                seen[value] = True
    failing.rows = repeated if failing.example is not None else 0
    found_words = "only such" if not failing.rows else f"{failing.rows:,} repetitions"
    return Outcome(f"{column} unique", not failing.rows, "no value twice", found_words, failing.rows, failing.example)


def _hash_values(snapshot: SnapshotRows, column: str) -> Iterator[tuple[NDArray[np.uint64], pa.Table]]:
    """A hash of each value that is there, piece by piece, with the rows of these values."""
    for piece in snapshot.stored.rows.pieces(slice(0, None), [column, IDENTITY]):
        there = piece.filter(pa.array(~_find_missing(piece[column])))
        values = there[column].to_pandas()
        yield np.asarray(pd.util.hash_array(values.to_numpy(), categorize=False), dtype=np.uint64), there

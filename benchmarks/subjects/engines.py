"""The same counts by DuckDB and by polars: rows of Parquet files per bin of each number and per value of the others.

Both read the files themselves, on all cores, by the quickest way of several that were tried: DuckDB's `histogram` over
given bounds and one GROUP BY a category, polars' `hist` and `value_counts` by its streaming engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Numeric = Mapping[str, Sequence[float]]  # of each numeric column the left ends of its bins, the first bin has none
PASSES = 2  # of which the quicker one counts


@dataclass(frozen=True)
class Counted:
    """Rows per bin, then those without a value; rows per value, None among them; and what it took."""

    bins: dict[str, list[int]]
    values: dict[str, dict[str, int]]
    seconds: float
    busy: float  # of processors


def best_of(count: Callable[[], tuple[dict[str, list[int]], dict[str, dict[str, int]]]]) -> Counted:
    """The counts, and seconds by the clock and by the processors of the quickest pass."""
    found = []
    for _ in range(PASSES):
        began, busy = time.perf_counter(), time.process_time()
        bins, values = count()
        found.append(Counted(bins, values, time.perf_counter() - began, time.process_time() - busy))
    return min(found, key=lambda counted: counted.seconds)


def duckdb_counts(files: str, edges: Numeric, categories: Sequence[str]) -> Counted:
    """Count by DuckDB; `files` is a pattern. Raises ImportError where it is not installed."""
    import duckdb

    connection = duckdb.connect()
    source = f"read_parquet('{files}')"
    bounds = {name: _last_below(lefts) for name, lefts in edges.items()}
    columns = ", ".join(f'histogram("{name}", {found}), count("{name}")' for name, found in bounds.items())

    def count() -> tuple[dict[str, list[int]], dict[str, dict[str, int]]]:
        answer = connection.execute(f"SELECT count(*), {columns} FROM {source}").fetchone()
        assert answer is not None
        rows, bins = answer[0], {}
        for place, (name, found) in enumerate(bounds.items()):
            counts, filled = answer[1 + 2 * place], answer[2 + 2 * place]
            inside = [int(counts[bound]) for bound in found]
            bins[name] = [*inside, int(filled - sum(inside)), int(rows - filled)]
        values = {
            name: _by_name(connection.execute(f'SELECT "{name}", count(*) FROM {source} GROUP BY 1').fetchall())
            for name in categories
        }
        return bins, values

    return best_of(count)


def polars_counts(files: str, edges: Numeric, categories: Sequence[str]) -> Counted:
    """Count by polars; `files` is a pattern. Raises ImportError where it is not installed."""
    import polars as pl

    rows = pl.scan_parquet(files)
    counted = [
        pl.col(name).hist(bins=[-np.inf, *_last_below(lefts), np.inf]).implode().alias(name)
        for name, lefts in edges.items()
    ]
    missing = [pl.col(name).null_count().alias(f"missing {name}") for name in edges]
    valued = [pl.col(name).value_counts().implode().alias(name) for name in categories]

    def count() -> tuple[dict[str, list[int]], dict[str, dict[str, int]]]:
        found = rows.select(*counted, *missing, *valued).collect(engine="streaming").row(0, named=True)
        bins = {name: [*map(int, found[name]), int(found[f"missing {name}"])] for name in edges}
        values = {name: _by_name([(item[name], item["count"]) for item in found[name]]) for name in categories}
        return bins, values

    return best_of(count)


def _last_below(lefts: Sequence[float]) -> list[float]:
    """Bounds that belong to the bin below them, as both engines have it, for bins that have their left ends."""
    return [float(bound) for bound in np.nextafter(np.asarray(lefts, dtype=np.float64), -np.inf)]


def _by_name(counted: Sequence[tuple[object, int]]) -> dict[str, int]:
    """As the labels of a Profile are called; a truth is "0" or "1"."""
    return {str(int(value) if isinstance(value, bool) else value): int(count) for value, count in counted}

"""How much slower than bare NumPy a Profile is, and how long a check takes beyond counting, measured in one run.

Run: PYTHONPATH=daemon:detectors python benchmarks/counting.py [rows] [columns]
Bare NumPy is `searchsorted` + `bincount` of every numeric column and `bincount` of the codes of every text column.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from driftd_detectors.columns import Coded, Column, Columns
from driftd_detectors.profile.layout import Layout, learn_layout
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.quality.checks import quality_faults
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.scores.scoring import score_window, streams_of

PASSES = 3


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some passes, after one to warm up."""
    work()
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def mixed_columns(rows: int, columns: int, seed: int) -> Columns:
    """Normal, skewed, zero-inflated, whole-number, missing-ridden, text and boolean columns in turn."""
    rng = np.random.default_rng(seed)
    labels = tuple(f"label {index}" for index in range(30))
    make: list[Callable[[], Column]] = [
        lambda: rng.normal(size=rows),
        lambda: rng.lognormal(size=rows),
        lambda: np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(size=rows)),
        lambda: rng.poisson(3, rows).astype(np.float64),
        lambda: np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
        lambda: Coded(np.minimum(rng.zipf(1.7, rows), 30).astype(np.int32) - 1, labels),
        lambda: Coded((rng.random(rows) < 0.2).astype(np.int32), ("0", "1")),
    ]
    return Columns(rows, {f"column {index}": make[index % len(make)]() for index in range(columns)}, {})


def schema_of(columns: Columns) -> Schema:
    """Numbers and categories as they are."""
    kinds = {name: Kind.CATEGORY if isinstance(value, Coded) else Kind.NUMBER for name, value in columns.values.items()}
    return Schema(Task.REGRESSION, "target", tuple(Feature(name, kind) for name, kind in kinds.items()))


def bare(columns: Columns, layout: Layout) -> None:
    """What NumPy takes at the least."""
    for column in layout.features:
        values = columns.values[column.name]
        if isinstance(values, Coded):
            np.bincount(values.codes + 1, minlength=len(values.labels) + 1)
        else:
            np.bincount(np.searchsorted(column.edges, values), minlength=len(column.edges) + 1)


def main() -> None:
    """Print the ratios."""
    rows, count = (
        (int(argument) for argument in (*sys.argv[1:], "200000", "50")[:2]) if len(sys.argv) > 2 else (200_000, 50)
    )
    window = mixed_columns(rows, count, 1)
    schema = schema_of(window)
    layout = learn_layout(mixed_columns(10_000, count, 0), None, schema)
    numpy_seconds = best(lambda: bare(window, layout))
    ours = best(lambda: profile_of(window, None, layout))
    cells = rows * count / 1e6
    print(f"{rows} rows x {count} mixed columns")
    print(f"bare NumPy {numpy_seconds:.3f} s = {cells / numpy_seconds:.0f} M cells/s")
    print(f"profile_of {ours:.3f} s = {cells / ours:.0f} M cells/s: {ours / numpy_seconds:.2f} times bare NumPy")
    size = len(profile_of(window, None, layout).to_bytes())
    print(f"a stored Profile takes {size} bytes")
    wide_reference, wide = mixed_columns(5_000, 500, 2), mixed_columns(500, 500, 3)
    wide_layout = learn_layout(wide_reference, None, schema_of(wide))
    reference, profile = (profile_of(columns, None, wide_layout) for columns in (wide_reference, wide))
    scoring = best(lambda: score_window(profile, reference, wide_layout))
    faults = best(lambda: quality_faults(profile, reference, wide_layout))
    print(f"500 features, {len(streams_of(wide_layout))} streams beyond counting:")
    print(f"scores {scoring * 1e3:.2f} ms, faults {faults * 1e3:.2f} ms")


if __name__ == "__main__":
    main()

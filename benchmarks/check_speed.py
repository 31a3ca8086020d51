"""The speed of a check: one window of a Parquet log, against Evidently, bare NumPy, DuckDB and polars, in one run.

Run: PYTHONPATH=daemon:detectors python benchmarks/check_speed.py [--rows 1000000] [--columns 50]

A *check* is what the daemon does for a window: read the Parquet files through the `files` source, make the Profile,
and put it to the Monitor. *Evidently* is its DataDriftPreset, on fewer rows for time's sake: its rate grows with the
rows until some 100,000, where it is measured. *Bare NumPy* is `searchsorted` and `bincount` on the same columns, with
categories as integers already: the least that counting can cost. Both rivals find their data in memory; driftd's
check includes the reading. *DuckDB* and *polars*, where they are installed, read the same files and count the same bins
and values (`subjects/engines.py`), which is asserted. A check also sums moments, pairs of features and what the model
said, and judges. Evidently reads its reference anew with each window, which is its way; driftd keeps the counts of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from driftd_detectors.profile.layout import Layout
    from driftd_detectors.profile.profile import Profile

START = 1_700_000_000.0
HOUR = 3600.0
FILE_ROWS = 250_000
MODEL = "speed"
ENGINES = ("DuckDB", "polars")


def make(rows: int, columns: int, seed: int, *, start: float) -> pd.DataFrame:
    """A window's rows: of every ten columns six are floats, one few integers, two text, one boolean; 1 % missing."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    data: dict[str, object] = {}
    for number in range(columns):
        match number % 10:
            case 6:
                data[f"count_{number}"] = rng.poisson(3, rows).astype(float)
            case 7:
                names = np.array([f"city {place}" for place in range(30)])
                data[f"text_{number}"] = pd.Categorical(names[np.minimum(rng.geometric(0.15, rows), 30) - 1])
            case 8:
                data[f"text_{number}"] = pd.Categorical(np.array(["red", "green", "blue"])[rng.integers(0, 3, rows)])
            case 9:
                data[f"flag_{number}"] = rng.random(rows) < 0.3
            case _:
                values = rng.normal(0, 1, rows) if number % 2 else rng.lognormal(0, 1, rows)
                values[rng.random(rows) < 0.01] = np.nan
                data[f"number_{number}"] = values
    frame = pd.DataFrame(data)
    frame["prediction_id"] = np.char.add(f"s{seed}-", np.arange(rows).astype(str))
    frame["at"] = start + np.sort(rng.random(rows)) * HOUR
    frame["prediction"] = rng.normal(0, 1, rows)
    frame["version"] = 1
    return frame


def features_of(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.split("_")[0] in {"number", "count", "text", "flag"}]


def write_log(folder: Path, rows: int, columns: int) -> None:
    """The window as an application would have logged it: Parquet files of 250,000 rows."""
    frame = make(rows, columns, 2, start=START)
    texts = {name: str for name in frame.columns if name.startswith("text_")}
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        frame.iloc[first : first + FILE_ROWS].astype(texts).to_parquet(folder / f"{number:04d}.parquet", index=False)


def bare_numpy(rows: int, columns: int) -> tuple[float, float]:
    """Seconds, by the clock and by the processor, of counting every column on twenty quantile bins of the reference."""
    import numpy as np
    import pandas as pd

    reference, window = make(20_000, columns, 1, start=0.0), make(rows, columns, 2, start=START)
    work: list[tuple[Any, Any, int]] = []
    for name in features_of(reference):
        column = window[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            work.append((None, column.cat.codes.to_numpy().astype(np.int64), len(column.cat.categories)))
        elif column.dtype == bool:
            work.append((None, column.to_numpy().astype(np.int64), 2))
        else:
            edges = np.unique(np.nanquantile(reference[name], np.linspace(0, 1, 21)[1:-1]))
            work.append((edges, column.to_numpy(), len(edges) + 2))
    best = (float("inf"), float("inf"))
    for _ in range(3):
        began, busy = time.perf_counter(), time.process_time()
        for edges, values, bins in work:
            codes = values if edges is None else np.searchsorted(edges, values, side="right")
            np.bincount(codes, minlength=bins)
        best = min(best, (time.perf_counter() - began, time.process_time() - busy))
    return best


def evidently(rows: int, columns: int) -> tuple[float, float]:
    """Seconds, by the clock and by the processor, of DataDriftPreset on so many rows, of either sample."""
    os.environ["DO_NOT_TRACK"] = "1"
    import warnings

    warnings.simplefilter("ignore")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    def run(size: int) -> tuple[float, float]:
        frames = [make(size, columns, seed, start=0.0) for seed in (1, 2)]
        names = features_of(frames[0])
        numbers = [name for name in names if name.startswith(("number", "count"))]
        definition = DataDefinition(
            numerical_columns=numbers, categorical_columns=[name for name in names if name not in numbers]
        )
        plain = {name: object for name in names if name not in numbers}
        reference, window = (Dataset.from_pandas(frame[names].astype(plain), definition) for frame in frames)
        began, busy = time.perf_counter(), time.process_time()
        Report([DataDriftPreset()], include_tests=False).run(window, reference)
        return time.perf_counter() - began, time.process_time() - busy

    run(1_000)  # warm: imports and caches are not the point
    return run(rows)


def check(folder: str, rows: int, columns: int) -> dict[str, Any]:
    """Read, profile and check the window; run in a fresh process, so that its peak of memory is its own."""
    import numpy as np

    from driftd.paths import Places
    from driftd.records import Window
    from driftd.sources.files import FilesSettings, FilesSource
    from driftd_detectors.columns import Outcomes, columns_of
    from driftd_detectors.monitor import Monitor, MonitorSettings
    from driftd_detectors.reference import learn_reference
    from driftd_detectors.schema import Feature, Kind, Schema, Task
    from driftd_detectors.window_data import ServedBy

    reference_rows = make(28 * 500, columns, 1, start=START - 28 * HOUR)
    kinds = {"number": Kind.NUMBER, "count": Kind.NUMBER, "text": Kind.CATEGORY, "flag": Kind.BOOLEAN}
    names = features_of(reference_rows)
    schema = Schema(Task.REGRESSION, "y", tuple(Feature(name, kinds[name.split("_")[0]]) for name in names))
    count = len(reference_rows)
    at = reference_rows["at"].to_numpy()
    outcomes = Outcomes(
        at=at,
        prediction=reference_rows["prediction"].to_numpy(),
        score=np.full(count, np.nan),
        label=reference_rows["prediction"].to_numpy() + np.random.default_rng(3).normal(0, 1, count),
        label_at=at + 60.0,
        version=np.ones(count, dtype=np.int64),
    )
    starts = START - 28 * HOUR + (np.arange(count) // 500).astype(np.float64) * HOUR
    reference = learn_reference(
        columns_of(reference_rows, schema),
        outcomes,
        schema,
        starts=starts,
        importance=dict.fromkeys(names, 1.0),
        loss="mae",
    )
    del reference_rows
    monitor = Monitor.begin(reference, MonitorSettings(windows_per_year=8766, window_seconds=HOUR))
    settings = FilesSettings(folder, columns={"id": "prediction_id"})
    window = Window(0, START, START + HOUR)
    places = Places(Path(tempfile.mkdtemp(dir=Path(folder).parent)))
    source = FilesSource(MODEL, schema, places, settings)
    source.refresh(START + 2 * HOUR)
    source.profile(Window(1, START, START + HOUR / 1000), reference, ServedBy(1))  # imports and caches, as for rivals
    before = _peak()
    began, busy = time.perf_counter(), time.process_time()
    profile = source.profile(window, reference, ServedBy(1)).profile
    profiled = time.perf_counter()
    monitor, assessment = monitor.check(profile, window.start)
    ended = time.perf_counter()
    assert assessment.rows == rows, f"{assessment.rows} rows were checked of {rows}"
    return {
        "read": profiled - began,
        "judge": ended - profiled,
        "busy": time.process_time() - busy,
        "growth": _peak() - before,
        **_counts(reference.layout, profile),
    }


def _counts(layout: Layout, profile: Profile) -> dict[str, Any]:
    """Of each numeric column the left ends of its bins and the rows in each, of each other one the rows of each label.

    Infinite numbers are counted among the farthest, and labels without a bin of their own together, under "".
    """
    bins, labels = {}, {}
    for start, column in zip(layout.starts, layout.features, strict=False):
        counts = [int(count) for count in profile.counts[start : start + column.bins]]
        if column.numeric:
            inner = [counts[0] + counts[1], *counts[2:-3], counts[-3] + counts[-2], counts[-1]]
            bins[column.name] = ([float(edge) for edge in column.all_edges[1:-2]], inner)
        else:
            known = dict(zip(column.labels, counts, strict=False))
            labels[column.name] = known | {"": counts[-3] + counts[-2], "None": counts[-1]}
    return {"bins": bins, "labels": labels}


def engine(name: str, folder: str, counted: str) -> tuple[float, float] | None:
    """Seconds, by the clock and by the processors, of the same counts by another engine; None: it is not installed.

    Raises AssertionError where it counts otherwise.
    """
    from subjects.engines import duckdb_counts, polars_counts

    checked = json.loads(Path(counted).read_text())
    edges = {column: lefts for column, (lefts, _) in checked["bins"].items()}
    count = {"DuckDB": duckdb_counts, "polars": polars_counts}[name]
    try:
        found = count(f"{folder}/*.parquet", edges, list(checked["labels"]))
    except ImportError:
        return None
    for column, (_, counts) in checked["bins"].items():
        assert found.bins[column] == counts, (name, column, found.bins[column], counts)
    for column, labels in checked["labels"].items():
        seen = found.values[column]
        together = {label: seen.pop(label, 0) for label in labels if label} | {"": sum(seen.values())}
        assert together == labels, (name, column, together, labels)
    return found.seconds, found.busy


def _peak() -> float:
    """The peak of this process's resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(call: str, *arguments: object) -> Any:
    """Run a function of this file in a fresh process and return its value."""
    command = [sys.executable, __file__, "--call", call, json.dumps(arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if ran.returncode:
        raise SystemExit(f"{call} failed:\n{ran.stderr[-3000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--evidently-rows", type=int, default=100_000)
    parser.add_argument("--call", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        print(json.dumps(globals()[options.call[0]](*json.loads(options.call[1]))))
        return
    rows, columns = options.rows, options.columns
    cells = rows * columns
    growth = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (rows // 4, rows):
            log = Path(folder) / f"log-{size}"
            log.mkdir()
            in_child("write_log_at", str(log), size, columns)
            found = min(
                (in_child("check", str(log), size, columns) for _ in range(2)), key=lambda timing: timing["read"]
            )
            growth[size] = found["growth"]
        counted = Path(folder) / "counted.json"
        counted.write_text(json.dumps({"bins": found["bins"], "labels": found["labels"]}))
        engines = {name: in_child("engine", name, str(log), str(counted)) for name in ENGINES}
    ours = found["read"] + found["judge"]
    bare, bare_busy = in_child("bare_numpy", rows, columns)
    their_rows = options.evidently_rows
    theirs, their_busy = in_child("evidently", their_rows, columns)
    their_rate, our_rate = their_rows * columns / theirs, cells / ours
    print(f"window: {rows:,} rows x {columns} columns = {cells / 1e6:.0f} M cells, Parquet")
    print(f"driftd's check          {ours:7.2f} s   {our_rate / 1e6:7.2f} M cells/s  "
          f"(reading and counting {found['read']:.2f} s, judging {found['judge'] * 1000:.0f} ms)")  # fmt: skip
    print(f"Evidently on {their_rows:,} rows  {theirs:7.2f} s   {their_rate / 1e6:7.2f} M cells/s  "
          "(its reference is read anew, ours is kept as counts)")  # fmt: skip
    print(f"bare NumPy counting     {bare:7.2f} s   {cells / bare / 1e6:7.2f} M cells/s, in memory, on one core")
    for name, taken in engines.items():
        print(f"{name + ' counting':<23} ", end="")
        print("not installed" if taken is None else f"{taken[0]:7.2f} s   {cells / taken[0] / 1e6:7.2f} M cells/s, the "
              "same files and the same counts")  # fmt: skip
    print(f"ratio to Evidently      {our_rate / their_rate:7.1f} times faster   (wanted: at least 100)")
    print(f"ratio to bare NumPy     {ours / bare:7.2f} times slower   (wanted: at most 3, reading included)")
    busy = found["busy"]
    print(
        f"by processor time       {cells / busy / (their_rows * columns / their_busy):7.1f} times less than Evidently,"
        f" {busy / bare_busy:.2f} times bare NumPy   (what a busy machine distorts less)"
    )
    ends = [f"driftd {busy:.2f}, bare NumPy {bare_busy:.2f}"]
    ends += [f"{name} {taken[1]:.2f}" for name, taken in engines.items() if taken is not None]
    print(f"seconds of processors   {', '.join(ends)}   (driftd's with moments, pairs of features and its judgement)")
    for size, grown in growth.items():
        print(f"memory for {size:>9,} rows {grown:7.0f} MB more at its peak than before the check")
    print(
        f"memory ratio            {growth[rows] / max(growth[rows // 4], 1.0):7.2f} for 4 times the rows (1 = bounded)"
    )


def write_log_at(folder: str, rows: int, columns: int) -> int:
    write_log(Path(folder), rows, columns)
    return rows


if __name__ == "__main__":
    main()

"""What counting a window costs where the data are: files here, DuckDB's Arrow stream, and Spark's executors.

Run: PYTHONPATH=daemon:detectors:tests python benchmarks/engines.py [--rows 10000000] [--only spark]

The rows are generated: 50 features (35 numbers, 10 categories, 5 booleans), prediction, score, time and version, in
Parquet files of 250,000 rows each; labels beside them. Each way profiles the whole window, and Spark makes the cohort
of its labels too. CPU is that of all processes that took part (this one, its children, the server and its workers),
after one warm run; "moved" are the bytes that came to the process that asked; the peak is the memory of that process
alone. Spark runs on two cores of this machine (DRIFTD_SERVERS names the environment that has it).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftd_detectors.batches.cohort_batches import CohortJob
from driftd_detectors.batches.profile_batches import ProfileJob, profile_batches
from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.reference import learn_reference
from driftd_detectors.schema import Feature, Kind, Schema, Task
from driftd_detectors.window_data import ServedBy, WindowData

START, DAY = 1_780_272_000.0, 86_400.0
FILE_ROWS = 250_000
NUMBERS, WORDS, TRUTHS = 35, 10, 5
SCHEMA = Schema(
    Task.CLASSIFICATION,
    "y",
    (
        *(Feature(f"n{number}", Kind.NUMBER) for number in range(NUMBERS)),
        *(Feature(f"c{number}", Kind.CATEGORY) for number in range(WORDS)),
        *(Feature(f"b{number}", Kind.BOOLEAN) for number in range(TRUTHS)),
    ),
    ("0", "1"),
)


def rows_of(number: int, rows: int, total: int) -> pa.Table:
    """One file of predictions."""
    rng = np.random.default_rng(number)
    first = number * FILE_ROWS
    at = START + (first + np.arange(rows)) * (DAY / total)
    columns = {
        "prediction_id": pa.array([f"p{first + place}" for place in range(rows)]),
        "at": pa.array((at * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC")),
        "version": pa.array(np.ones(rows, dtype=np.int32)),
        "prediction": pa.array(rng.integers(0, 2, rows).astype(np.int32)),
        "score": pa.array(rng.random(rows)),
    }
    for name in SCHEMA.names:
        if name.startswith("n"):
            columns[name] = pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.02)
        elif name.startswith("c"):
            labels = pa.array([f"category {place}" for place in range(20)])
            columns[name] = labels.take(pa.array(rng.integers(0, 20, rows)))
        else:
            columns[name] = pa.array(rng.random(rows) < 0.3)
    return pa.table(columns)


def write_rows(folder: Path, rows: int) -> None:
    """All predictions, and a label for each."""
    for name in ("predictions", "labels"):
        (folder / name).mkdir()
    for number in range(-(-rows // FILE_ROWS)):
        table = rows_of(number, min(FILE_ROWS, rows - number * FILE_ROWS), rows)
        pq.write_table(table, folder / "predictions" / f"{number}.parquet")
        labels = table.select(["prediction_id"]).append_column("label", table["prediction"])
        pq.write_table(labels.append_column("label_at", table["at"]), folder / "labels" / f"{number}.parquet")


def jobs_of(folder: Path) -> tuple[ProfileJob, CohortJob]:
    """What is asked: the window on bins learned from the first file, and its labels."""
    first = pq.read_table(folder / "predictions" / "0.parquet")
    rows = Rows.read(first.slice(0, 50_000), RowNames(), SCHEMA)
    starts = np.repeat(np.arange(25), -(-len(rows) // 25))[: len(rows)].astype(float)
    importance = dict.fromkeys(SCHEMA.names, 0.02)
    reference = learn_reference(rows.columns, rows.outcomes, SCHEMA, starts=starts, importance=importance, loss="error")
    served = ServedBy(1)
    profile = ProfileJob(SCHEMA, reference.layout, served, START, START + DAY)
    return profile, CohortJob(SCHEMA, served, START, START + DAY)


def cpu_of(pids: set[int]) -> float:
    """CPU seconds so far of processes, and of those of their children that have ended."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(fields[place]) for place in (11, 12, 13, 14))
    return ticks / os.sysconf("SC_CLK_TCK")


def family(session: int | None) -> set[int]:
    """This process, and all of the session of a server."""
    found = {os.getpid()}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if session is not None and int(fields[3]) == session:
            found.add(int(place.name))
    return found


def peak() -> int:
    """The most memory of this process, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def batches_of(folder: Path) -> Iterator[pa.RecordBatch]:
    """The rows of the files."""
    for file in sorted((folder / "predictions").iterdir()):
        yield from pq.ParquetFile(file).iter_batches(50_000)


class Counted:
    """Batches, and how many bytes they had."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.batches, self.bytes = batches, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches:
            self.bytes += batch.nbytes
            yield batch


def of_files(folder: Path, profile: ProfileJob) -> tuple[WindowData, int]:
    """Pyarrow reads, our function counts."""
    counted = Counted(batches_of(folder))
    return WindowData.from_bytes(profile_batches(counted, profile.to_json())), counted.bytes


def of_duckdb(folder: Path, profile: ProfileJob) -> tuple[WindowData, int]:
    """DuckDB reads and hands out Arrow, our function counts."""
    import duckdb

    names = ", ".join(f'"{name}"' for name in profile.columns)
    query = f"select {names} from read_parquet('{folder}/predictions/*.parquet')"
    relation = duckdb.sql(query)
    assert relation is not None  # a SELECT has one
    reader = relation.to_arrow_reader(50_000)
    counted = Counted(iter(reader))
    return WindowData.from_bytes(profile_batches(counted, profile.to_json())), counted.bytes


def of_spark(folder: Path, profile: ProfileJob, cohort: CohortJob, remote: str) -> dict[str, list[Any]]:
    """Our functions inside the executors."""
    from driftd.config.source_schema import SparkSourceConfig
    from driftd.sources.engines.protocol import Function, Query
    from driftd.sources.engines.spark_engine import SparkEngine

    settings = SparkSourceConfig(kind="spark", remote=remote, predictions="predictions", labels="labels", timeout=3600)
    engine = SparkEngine(settings, "benchmark")
    with engine._open() as spark:
        for name in ("predictions", "labels"):
            spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING parquet LOCATION '{folder}/{name}'")
    server = int(os.environ["DRIFTD_BENCHMARK_SESSION"])
    names = tuple(name for name in cohort.columns if name not in {"label", "label_at"})
    asked: dict[str, tuple[Query, Function, str]] = {
        "profile": (Query(profile.columns, START, START + DAY), "profile_batches", profile.to_json()),
        "cohort": (Query(names, START, START + DAY, START + 9 * DAY), "cohort_batches", cohort.to_json()),
    }
    figures: dict[str, list[Any]] = {}
    for name, question in asked.items():
        list(engine.map(*question))
        before, began = cpu_of(family(server)), time.perf_counter()
        parts = list(engine.map(*question))
        taken = [cpu_of(family(server)) - before, time.perf_counter() - began]
        figures[name] = [*taken, sum(map(len, parts)), len(parts), peak()]
        if name == "profile":
            total = WindowData.from_bytes(parts[0])
            for part in parts[1:]:
                total = total.merge(WindowData.from_bytes(part))
            figures["rows"] = [total.profile.rows, digest(total)]
    engine.close()
    return figures


def digest(window: WindowData) -> str:
    """What the counts are, in a few letters."""
    import hashlib

    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in window.profile.counts)).hexdigest()


def measure(way: str, folder: Path) -> None:
    """One way, in this process alone; prints its figures as JSON."""
    profile = ProfileJob.from_json((folder / "profile.json").read_text())
    cohort = CohortJob.from_json((folder / "cohort.json").read_text())
    if way == "spark":
        figures = of_spark(folder, profile, cohort, os.environ["DRIFTD_BENCHMARK_REMOTE"])
    else:
        count = {"files": of_files, "duckdb": of_duckdb}[way]
        count(folder, profile)
        before, began = cpu_of(family(None)), time.perf_counter()
        window, moved = count(folder, profile)
        taken = [cpu_of(family(None)) - before, time.perf_counter() - began, moved, 1, peak()]
        figures = {"profile": taken, "rows": [window.profile.rows, digest(window)]}
    print(json.dumps(figures))


@contextmanager
def spark_server(folder: Path) -> Iterator[dict[str, str]]:
    """A server of Spark Connect; gives the environment of who measures it."""
    from engine_servers import spark_connect

    with spark_connect(folder / "server", memory="3g") as remote:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                is_server = str(folder / "server").encode() in (place / "cmdline").read_bytes()
            except OSError:
                continue
            if is_server:
                session = os.getsid(int(place.name))
        yield {"DRIFTD_BENCHMARK_REMOTE": remote, "DRIFTD_BENCHMARK_SESSION": str(session)}


def show(way: str, folder: Path, environment: dict[str, str]) -> None:
    """Measure one way in a process of its own."""
    command = [sys.executable, __file__, "--measure", way, "--folder", str(folder)]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    rows, counts = found["rows"]
    for name in ("profile", "cohort"):
        if name in found:
            cpu, wall, moved, parts, most = found[name]
            figures = f"{cpu:8.1f} {wall:8.1f} {moved / 1e6:10.2f} {parts:6d} {most:8d}"
            print(f"{way + ' ' + name:16s} {rows:12,} {figures}  {counts[:8]}")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--only", choices=["files", "duckdb", "spark"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, given.rows)
        profile, cohort = jobs_of(folder)
        (folder / "profile.json").write_text(profile.to_json())
        (folder / "cohort.json").write_text(cohort.to_json())
        heads = f"{'CPU s':>8s} {'wall s':>8s} {'moved MB':>10s} {'parts':>6s} {'peak MB':>8s}"
        print(f"{'':16s} {'rows':>12s} {heads}  counts")
        for way in ("files", "duckdb"):
            if given.only in {None, way}:
                show(way, folder, {})
        if given.only in {None, "spark"}:
            with spark_server(folder) as environment:
                show("spark", folder, environment)


if __name__ == "__main__":
    main()

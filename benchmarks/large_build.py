"""Builds in bounded memory: the peak of each job's process, and its time, on many labelled rows.

Run: PYTHONPATH=daemon:detectors python benchmarks/large_build.py [--rows 300000] [--columns 50] [--source files]

Rows of two classes over ninety days are written as Parquet logs (`--source store`: and loaded into an event store, as
`driftd backfill` loads them, where it seals what is cold). Version 1 is built from 5,000 of them. Then the jobs of the
daemon follow one after the other, each a child process of its own under the default limits: a snapshot of all rows, a
version from it by the default trainer, the gate's judgement, a refresh (snapshot, recipes, judgement in one job) and
the comparison of a probation. The peak is that of the largest process of a job, as the kernel counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from driftd.config.model_schema import ModelConfig

START, HOUR, DAYS = 1_700_000_000.0 // 3600 * 3600, 3600.0, 90
FILE_ROWS = 250_000
FIRST_ROWS = 5_000
MODEL = "large"


def make_rows(rows: int, columns: int, seed: int, since: float, until: float) -> pa.Table:
    """Labelled rows of a span of time: of every ten columns eight are numbers, one is text, one a truth."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(since, until, rows))
    data: dict[str, object] = {"prediction_id": [f"{seed:06d}-{row:09d}" for row in range(rows)], "at": at}
    sum_of = np.zeros(rows)
    for number in range(columns):
        match number % 10:
            case 8:
                names = pa.array([f"city {place}" for place in range(30)])
                data[f"text_{number}"] = names.take(pa.array(np.minimum(rng.geometric(0.15, rows), 30) - 1))
            case 9:
                data[f"flag_{number}"] = rng.random(rows) < 0.3
            case _:
                values = rng.normal(0, 1, rows)
                sum_of += values * (number % 4 - 1.5)
                data[f"number_{number}"] = pa.array(values, mask=rng.random(rows) < 0.01)
    chance = 1 / (1 + np.exp(1.0 - sum_of / 4))
    data |= {"prediction": np.where(chance > 0.5, "yes", "no"), "score": chance, "version": np.full(rows, 2)}
    data |= {
        "label": np.where(rng.random(rows) < chance, "yes", "no"),
        "label_at": at + rng.exponential(6 * HOUR, rows),
    }
    return pa.table(data)


def write_logs(folder: Path, rows: int, columns: int) -> None:
    import pyarrow.parquet as pq

    span = DAYS * 24 * HOUR
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        last = min(first + FILE_ROWS, rows)
        table = make_rows(last - first, columns, number, START + span * first / rows, START + span * last / rows)
        pq.write_table(table, folder / f"{number:05d}.parquet")


def first_version(root: Path, logs: Path, config: ModelConfig) -> None:
    import pyarrow.parquet as pq

    from driftd.paths import Places
    from driftd.training.bootstrap import FileColumns, make_first_version

    frame = pq.ParquetFile(logs / "00000.parquet").read_row_group(0).slice(0, FIRST_ROWS).to_pandas()
    columns = FileColumns(id="prediction_id", time="at", label_time="label_at")
    frame = frame.drop(columns=["prediction", "score", "version"])
    make_first_version(MODEL, config, frame, columns, Places(root), now=float(frame["label_at"].max()))


def load_store(root: Path, logs: Path) -> None:
    """What `driftd backfill` does, and the sealing that the daemon does beside it."""
    from driftd.paths import Places
    from driftd.registry import Registry
    from driftd.sources.backfill import Backfill, Destination
    from driftd.sources.files_settings import FilesSettings
    from driftd.store.events.reader import EventReader
    from driftd.store.events.retention import RetentionLimits, upkeep
    from driftd.store.events.writer import EventStore

    places = Places(root)
    schema = Registry(places).manifest(MODEL, 1).schema
    path, segments = places.events_db(MODEL), places.segments(MODEL)
    store = EventStore.open(path, schema, segments=segments)
    now = START + (DAYS + 10) * 24 * HOUR
    load = Backfill(schema, Destination(store, EventReader(path, schema, segments), 0.0, 0.0), now)
    load.find([FilesSettings(str(logs))], [])
    load.load()
    store.close()
    upkeep(path, segments, now, RetentionLimits(400 * 24 * HOUR))


def find_files(root: Path, config: ModelConfig) -> None:
    """What the daemon does at each round: a job reads by the catalogue of files that it left."""
    from driftd.paths import Places
    from driftd.registry import Registry
    from driftd.sources import open_source

    schema = Registry(Places(root)).manifest(MODEL, 1).schema
    open_source(MODEL, config, schema, Places(root)).refresh(START + (DAYS + 10) * 24 * HOUR)


def measure(folder: Path, task: str, arguments: dict[str, object]) -> dict[str, object]:
    """Run one job under the default limits; its value, the peak of its processes in MB and its seconds."""
    from driftd.training.job_output import SCRATCH
    from driftd.training.jobs import JOB, JobLimits, job_environment, read_result

    limits = JobLimits()
    folder.mkdir(parents=True)
    order = {"task": task, "arguments": arguments, "limits": limits.to_dict(), "parent": os.getpid()}
    (folder / JOB).write_text(json.dumps(order))
    began = time.perf_counter()
    with (folder / "log.txt").open("wb") as log:
        command = [sys.executable, "-m", "driftd.training.job_main", str(folder)]
        process = subprocess.Popen(command, env=job_environment(limits), stdout=log, stderr=log)
        _, _, usage = os.wait4(process.pid, 0)
    result = read_result(folder)
    if result is None or not result.ok:
        sys.exit(
            f"{task} failed: {result.error if result else 'no result'}\n{(folder / 'log.txt').read_text()[-3000:]}"
        )
    assert not (folder / SCRATCH).exists()
    seconds, busy = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    peak = usage.ru_maxrss / 1024
    print(f"{task:<10} {peak:>8,.0f} MB {seconds:>8.1f} s {busy:>8.1f} s of CPU", flush=True)
    return dict(result.value)


def run_jobs(root: Path, config: ModelConfig, rows: int) -> None:
    from driftd.paths import Places
    from driftd.registry import Registry

    registry = Registry(Places(root))
    until = START + (DAYS + 10) * 24 * HOUR
    base = {"model": MODEL, "model_config": config.model_dump(mode="json"), "state_dir": str(root), "until": until}
    schema = registry.manifest(MODEL, 1).schema.to_dict()
    why = {"trigger": "refresh", "reason": "rows have grown"}
    print(f"{'job':<10} {'peak':>11} {'time':>10}", flush=True)
    taken = measure(root / "m" / "snapshot", "snapshot", {**base, "schema": schema, "since": 0.0})
    assert taken["rows"] == rows, taken
    version = {**base, **why, "version": 2, "seed": 2, "parent": 1, "snapshot": taken["digest"]}
    measure(root / "m" / "train", "train", version)
    judged = {**base, "trigger": "refresh", "challenger": 2, "champion": 1}
    print("          ", measure(root / "m" / "judge", "judge", judged)["sentence"])
    shadow = {**base, "new": 2, "old": 1, "since": START}
    print("          ", measure(root / "m" / "shadow", "shadow", shadow)["sentence"])
    refresh = {**base, **why, "version": 3, "seed": 3, "schema": schema, "since": 0.0, "champion": 1, "served": [1]}
    print("          ", measure(root / "m" / "refresh", "refresh", refresh)["sentence"])
    for number in (2, 3):
        print(f"version {number}: {json.dumps(registry.manifest(MODEL, number).data.get('sample'))}")
    print(
        f"on disk: {sum(path.stat().st_size for path in root.rglob('*.parquet')) / 1e9:.1f} GB of Parquet in the state"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--source", choices=("files", "store"), default="files")
    parser.add_argument("--trees", type=int, default=20, help="of the default trainer; 0: as many as it finds best")
    parser.add_argument("--sample", type=int, help="retrain.data.sample; derived from the limits unless given")
    parser.add_argument("--folder", help="where the rows and the state are made, and removed at the end")
    given = parser.parse_args()
    from driftd.config.model_schema import ModelConfig

    with tempfile.TemporaryDirectory(prefix="driftd-large-", dir=given.folder) as name:
        root, logs = Path(name) / "state", Path(name) / "logs"
        logs.mkdir()
        began = time.perf_counter()
        write_logs(logs, given.rows, given.columns)
        source = {"kind": "store"} if given.source == "store" else {"kind": "files", "path": str(logs)}
        config = ModelConfig.model_validate(
            {
                "task": "classification",
                "target": "label",
                "source": source,
                "parameters": {"max_iter": given.trees} if given.trees else {},
                "retrain": {"data": {"sample": given.sample}},
            }
        )
        first_version(root, logs, config)
        if given.source == "store":
            load_store(root, logs)
        find_files(root, config)
        made = time.perf_counter() - began
        print(f"{given.rows:,} rows x {given.columns} columns from {given.source}, made in {made:.0f} s", flush=True)
        run_jobs(root, config, given.rows)


if __name__ == "__main__":
    main()

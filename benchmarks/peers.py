"""Alarms when nothing is wrong: Evidently's defaults and driftd, on the same clean windows of a real stream.

Run: PYTHONPATH=daemon:detectors python benchmarks/peers.py [--windows 60] [--sizes 200 1000 2000]

The stream is `acs_employment_ma` (US Census, Massachusetts 2015-2018): features of real people, in which nothing drifts
that matters. Its rows are put in a random order first, so that the windows are clean beyond doubt: whatever is raised
is a false alarm. Both get the same reference rows and then the same windows. Evidently is asked through DataDriftPreset
with its defaults, and counts an alarm in two ways: a column drifted, or the dataset did (half of the columns).
driftd has a budget of false alarms; the table shows what that budget allows beside what came.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from driftd_detectors.assessment import EvidenceKind, Verdict
from driftd_detectors.columns import Outcomes, columns_of
from driftd_detectors.monitor import Monitor, MonitorSettings
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.reference import learn_reference
from driftd_detectors.schema import Task, learn_schema

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "acs_employment_ma.parquet"
REFERENCE_WINDOWS = 28
DAY = 86_400.0


def outcomes_of(frame: pd.DataFrame, at: np.ndarray) -> Outcomes:
    """The true label as prediction too: this is about the features."""
    label = frame["target"].to_numpy(dtype=float)
    return Outcomes(
        at, label, np.full(len(label), np.nan), label, at + 1.0, np.ones(len(label), dtype=np.int64), ("0", "1")
    )


def ours(frame: pd.DataFrame, size: int, windows: int) -> tuple[int, float, float]:
    """Windows with a data alarm, the false alarms that the budget allows, and seconds a window."""
    schema = learn_schema(frame, task=Task.CLASSIFICATION, target="target")
    head = REFERENCE_WINDOWS * size
    starts = (np.arange(head) // size).astype(np.float64) * DAY
    reference = learn_reference(
        columns_of(frame.iloc[:head], schema),
        outcomes_of(frame.iloc[:head], starts),
        schema,
        starts=starts,
        importance=dict.fromkeys(schema.names, 1.0),
        loss="error",
    )
    settings = MonitorSettings(windows_per_year=365.25, window_seconds=DAY)
    monitor = Monitor.begin(reference, settings)
    alarms, threshold, began = 0, float("nan"), time.perf_counter()
    for number in range(windows):
        rows = frame.iloc[head + number * size : head + (number + 1) * size]
        start = (REFERENCE_WINDOWS + number) * DAY
        profile = profile_of(columns_of(rows, schema), outcomes_of(rows, np.full(size, start)), reference.layout)
        monitor, assessment = monitor.check(profile, start)
        data = assessment.of(EvidenceKind.DATA)
        assert data is not None
        threshold = data.threshold
        if data.verdict is Verdict.DRIFT:
            alarms += 1
            monitor = monitor.rebaseline(EvidenceKind.DATA)
    return alarms, windows / threshold, (time.perf_counter() - began) / windows


def evidently(frame: pd.DataFrame, size: int, windows: int) -> tuple[int, int, float]:
    """Windows in which a column drifted, windows in which the dataset did, and seconds a window."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [name for name in frame.columns if name != "target"]
    definition = DataDefinition(
        numerical_columns=[name for name in names if frame[name].nunique() > 20],
        categorical_columns=[name for name in names if frame[name].nunique() <= 20],
    )
    head = REFERENCE_WINDOWS * size
    reference = Dataset.from_pandas(frame.iloc[:head][names], definition)
    columns = datasets = 0
    began = time.perf_counter()
    for number in range(windows):
        rows = frame.iloc[head + number * size : head + (number + 1) * size][names]
        run = Report([DataDriftPreset()]).run(Dataset.from_pandas(rows.reset_index(drop=True), definition), reference)
        drifted = next(
            metric["value"]
            for metric in run.dict()["metrics"]
            if "DriftedColumnsCount" in str(metric.get("metric_name") or metric)
        )
        columns += drifted["count"] > 0
        datasets += drifted["share"] >= 0.5
    return columns, datasets, (time.perf_counter() - began) / windows


def main() -> None:
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 1000, 2000])
    options = parser.parse_args()
    if not DATA.is_file():
        raise SystemExit(f"{DATA} is absent: this benchmark needs the shared test streams beside the project")
    frame = pd.read_parquet(DATA).drop(columns="meta_year").sample(frac=1.0, random_state=7).reset_index(drop=True)
    print(
        f"{options.windows} clean windows of each size; reference: {REFERENCE_WINDOWS} windows;"
        f" {frame.shape[1] - 1} features"
    )
    print(f"{'rows a window':>14} {'driftd':>8} {'(allowed)':>10} {'Evidently, a column':>20} {'the dataset':>12} "
          f"{'ms ours':>8} {'ms theirs':>10}")  # fmt: skip
    for size in options.sizes:
        mine, allowed, my_time = ours(frame, size, options.windows)
        columns, datasets, their_time = evidently(frame, size, options.windows)
        print(f"{size:>14,} {mine:>8} {allowed:>10.2f} {columns:>20} {datasets:>12} "
              f"{my_time * 1000:>8.1f} {their_time * 1000:>10.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""Counts a window of a Dask DataFrame for driftd: each partition where it is, then one file for each window.

The workers need `driftd` of the daemon's release (or `driftd_detectors` alone), numpy and pyarrow.
"""

from __future__ import annotations

from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.drops import DropJob
from driftd_detectors.batches.profile_batches import profile_batches


def count_window(frame: dd.DataFrame, folder: Path, start: float, known_by: float) -> list[Path]:
    """Count the window that begins at `start`, and its labels as known by a time (epoch seconds); drop both files."""
    job = DropJob.from_json((folder / "job.json").read_text())
    tasks = [dask.delayed(count_part)(part, job, start, known_by) for part in frame.to_delayed()]
    counts, labels = zip(*dask.compute(*tasks), strict=True)
    return [drop(folder, *job.finish_profile(start, counts)), drop(folder, *job.finish_cohort(start, known_by, labels))]


def count_part(part: pd.DataFrame, job: DropJob, start: float, known_by: float) -> tuple[bytes, bytes]:
    """Run on a worker: the counts and the labels of one partition."""
    batches = pa.Table.from_pandas(part, preserve_index=False).to_batches()
    return profile_batches(batches, job.profile_job(start)), cohort_batches(batches, job.cohort_job(start, known_by))


def drop(folder: Path, name: str, content: bytes) -> Path:
    """Write the file under another name first: driftd never sees half of one."""
    temporary = folder / f".{name}"
    temporary.write_bytes(content)
    return temporary.rename(folder / name)

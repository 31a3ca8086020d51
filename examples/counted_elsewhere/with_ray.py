"""Counts a window of a Ray Dataset for driftd: each block where it is, then one file for each window.

The workers need `driftd` of the daemon's release (or `driftd_detectors` alone), numpy and pyarrow.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import ray.data

from driftd_detectors.batches.cohort_batches import cohort_batches
from driftd_detectors.batches.drops import DropJob
from driftd_detectors.batches.profile_batches import profile_batches


def count_window(rows: ray.data.Dataset, folder: Path, start: float, known_by: float) -> list[Path]:
    """Count the window that begins at `start`, and its labels as known by a time (epoch seconds); drop both files."""
    job = DropJob.from_json((folder / "job.json").read_text())
    counting, reading = job.profile_job(start), job.cohort_job(start, known_by)

    def count_block(block: pa.Table) -> pa.Table:
        batches = block.to_batches()
        return pa.table({"counts": [profile_batches(batches, counting)], "labels": [cohort_batches(batches, reading)]})

    parts = rows.map_batches(count_block, batch_format="pyarrow", batch_size=None).take_all()
    return [
        drop(folder, *job.finish_profile(start, [part["counts"] for part in parts])),
        drop(folder, *job.finish_cohort(start, known_by, [part["labels"] for part in parts])),
    ]


def drop(folder: Path, name: str, content: bytes) -> Path:
    """Write the file under another name first: driftd never sees half of one."""
    temporary = folder / f".{name}"
    temporary.write_bytes(content)
    return temporary.rename(folder / name)

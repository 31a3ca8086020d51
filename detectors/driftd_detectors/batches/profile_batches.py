"""A window as counts: the function that runs inside an engine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from driftd_detectors.batches.arrow_columns import read_times, without_views
from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.errors import DetectorError
from driftd_detectors.profile.layout import Layout
from driftd_detectors.schema import Schema
from driftd_detectors.serialization import refused_as
from driftd_detectors.window_data import BATCHES, ServedBy, empty_window, summarise_rows


@dataclass(frozen=True)
class ProfileJob:
    """What `profile_batches` needs to know: which columns mean what, the bins, and of which times the rows are.

    Rows outside `start <= at < end` (epoch seconds) are left out, so that an engine may hand out whole partitions.
    """

    schema: Schema
    layout: Layout
    served: ServedBy
    start: float
    end: float
    names: RowNames = field(default_factory=RowNames)

    def to_json(self) -> str:
        """The job as text, which `from_json` reads back."""
        return json.dumps(
            {
                "batches": BATCHES,
                "schema": self.schema.to_dict(),
                "layout": self.layout.to_dict(),
                "served": self.served.to_dict(),
                "start": self.start,
                "end": self.end,
                "names": asdict(self.names),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ProfileJob:
        """Read what `to_json` wrote. Raises DetectorError when it was written by another version."""
        stored = checked_job(text)
        with refused_as("the job"):
            return cls(
                Schema.from_dict(stored["schema"]),
                Layout.from_dict(stored["layout"]),
                ServedBy.from_dict(stored["served"]),
                float(stored["start"]),
                float(stored["end"]),
                RowNames(**stored["names"]),
            )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the batches should have: those of the features and all that is known of a prediction."""
        names = self.names
        own = (names.at, names.prediction, names.score, names.version)
        return tuple(dict.fromkeys((*own, *self.schema.names)))


def checked_job(text: str) -> dict[str, Any]:
    """The fields of a job. Raises DetectorError when it was written by another version of these functions."""
    with refused_as("the job"):
        stored: dict[str, Any] = dict(json.loads(text))
    if stored.get("batches") != BATCHES:
        raise DetectorError(
            f"the job is of version {stored.get('batches')}, these functions are of version {BATCHES}: "
            "install the driftd of the daemon on the workers"
        )
    return stored


def profile_batches(batches: Iterable[pa.RecordBatch], job: str) -> bytes:
    """Count the rows of Arrow batches.

    Parameters
    ----------
    batches
        Rows of predictions, of any number of batches; the columns are those of `ProfileJob.columns`, more do no harm.
        A column that is not there is absent in all rows.
    job
        What `ProfileJob.to_json` gave.

    Returns
    -------
    bytes
        What `WindowData.from_bytes` reads.

    Raises
    ------
    DetectorError
        When the job was written by another version of these functions.
    """
    known = ProfileJob.from_json(job)
    total = empty_window(known.layout)
    for batch in batches:
        rows = rows_between(batch, known.names, known.schema, known.start, known.end)
        total = total.merge(summarise_rows(rows.columns, rows.outcomes, known.schema, known.layout, known.served))
    return total.to_bytes()


def rows_between(batch: pa.RecordBatch, names: RowNames, schema: Schema, start: float, end: float) -> Rows:
    """The rows of a batch with `start <= at < end`; a row without a readable time is in no window.

    They are cut before they are read, so that what cannot be read is counted exactly. A row without an identity has
    none: its number would be that of another row in the next batch.
    """
    table = pa.Table.from_batches([batch])
    if names.at not in table.column_names:
        table = table.slice(0, 0)
    else:
        at = read_times(table.column(names.at))
        inside = (at >= start) & (at < end)
        table = table if inside.all() else without_views(table).filter(pa.array(inside))
    rows = Rows.read(table, names, schema)
    return rows if names.id in table.column_names else replace(rows, ids=pa.nulls(len(rows), pa.string()))

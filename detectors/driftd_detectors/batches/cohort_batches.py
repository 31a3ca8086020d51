"""The labels of a window: the function that runs inside an engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from driftd_detectors.batches.profile_batches import checked_job, rows_between
from driftd_detectors.batches.row_hash import hash_rows
from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.cohort import COHORT_ROWS, Cohort, cohort_of, features_among, fold_cohorts
from driftd_detectors.outcome_rows import no_label
from driftd_detectors.schema import Schema
from driftd_detectors.serialization import JsonObject, refused_as
from driftd_detectors.window_data import BATCHES, ServedBy


@dataclass(frozen=True)
class CohortJob:
    """What `cohort_batches` needs to know.

    Rows outside `start <= at < end` are left out, labels that were not known by `known_by` (all epoch seconds) are
    taken for missing. `features` of the schema come along, for segments or for a sample of whole rows. Of more rows
    than `most` those with the least hashes of (identity, seed) are kept.
    """

    schema: Schema
    served: ServedBy
    start: float
    end: float
    known_by: float = np.inf
    features: tuple[str, ...] = ()
    most: int = COHORT_ROWS
    seed: int = 0
    names: RowNames = field(default_factory=RowNames)

    def to_json(self) -> str:
        """The job as text, which `from_json` reads back."""
        known_by = self.known_by if np.isfinite(self.known_by) else None
        own: JsonObject = {
            "batches": BATCHES,
            "schema": self.schema.to_dict(),
            "served": self.served.to_dict(),
            "start": self.start,
            "end": self.end,
            "known_by": known_by,
            "features": list(self.features),
            "most": self.most,
            "seed": self.seed,
            "names": asdict(self.names),
        }
        return json.dumps(own)

    @classmethod
    def from_json(cls, text: str) -> CohortJob:
        """Read what `to_json` wrote. Raises DetectorError when it was written by another version."""
        stored = checked_job(text)
        with refused_as("the job"):
            return cls(
                Schema.from_dict(stored["schema"]),
                ServedBy.from_dict(stored["served"]),
                float(stored["start"]),
                float(stored["end"]),
                np.inf if stored["known_by"] is None else float(stored["known_by"]),
                tuple(stored["features"]),
                int(stored["most"]),
                int(stored["seed"]),
                RowNames(**stored["names"]),
            )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the batches should have."""
        names = self.names
        own = (names.id, names.at, names.prediction, names.score, names.version, names.label, names.label_at)
        return tuple(dict.fromkeys((*own, *self.features)))

    @cached_property
    def narrow_schema(self) -> Schema:
        """The schema with the wanted features alone."""
        return replace(self.schema, features=features_among(self.schema, self.features))


def cohort_batches(batches: Iterable[pa.RecordBatch], job: str) -> bytes:
    """The labels of Arrow batches: rows of predictions, each beside the label that is its newest.

    Parameters
    ----------
    batches
        Rows of predictions with their labels; the columns are those of `CohortJob.columns`.
    job
        What `CohortJob.to_json` gave.

    Returns
    -------
    bytes
        What `Cohort.from_bytes` reads.

    Raises
    ------
    DetectorError
        When the job was written by another version of these functions.
    """
    known = CohortJob.from_json(job)
    schema = known.narrow_schema

    def parts() -> Iterator[Cohort]:
        for batch in batches:
            rows = without_later_labels(rows_between(batch, known.names, schema, known.start, known.end), known)
            yield cohort_of(rows.columns, rows.outcomes, hash_rows(rows, known.seed), known.served, known.most)

    return fold_cohorts(parts(), schema, known.most).to_bytes()


def without_later_labels(rows: Rows, job: CohortJob) -> Rows:
    """The rows without the labels that were not known by then."""
    outcomes = rows.outcomes
    unknown = ~(outcomes.label_at <= job.known_by)
    label = np.where(unknown, no_label(job.schema), outcomes.label)
    return replace(rows, outcomes=replace(outcomes, label=label, label_at=np.where(unknown, np.nan, outcomes.label_at)))

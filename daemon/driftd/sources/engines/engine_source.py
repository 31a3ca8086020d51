"""A source over any engine: what the loop and the jobs ask, as queries and as functions over their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from driftd.records import Window
from driftd.sources.engines.protocol import Engine, EngineError, Query, Versioned
from driftd.sources.protocol import Extent, at_most
from driftd_detectors.batches.cohort_batches import CohortJob
from driftd_detectors.batches.profile_batches import ProfileJob, rows_between
from driftd_detectors.batches.row_hash import hash_rows
from driftd_detectors.batches.rows import RowNames, Rows
from driftd_detectors.cohort import Cohort, fold_cohorts
from driftd_detectors.columns import Columns, Outcomes
from driftd_detectors.schema import Schema
from driftd_detectors.window_data import Bins, ServedBy, WindowData, empty_window

_EVER = float("inf")


class EngineSource:
    """One model's rows in an engine. Windows are of time: an engine numbers no rows."""

    def __init__(self, engine: Engine, schema: Schema, names: RowNames) -> None:
        self._engine = engine
        self._schema = schema
        self._names = names
        self._first_at: float | None = None
        self._newest_at: float | None = None
        self._rows_seen = 0
        self._counts: Mapping[str, float] = {}

    def refresh(self, now: float) -> Extent:
        """See `Source.refresh`. Windows are complete up to the newest row: an engine is loaded now and then.

        `rows` of the extent are those of the windows that were read by this process: counting all would be a scan.

        While the engine is away no window becomes complete; why is a fault of the extent.
        """
        faults: tuple[str, ...] = ()
        newest_label_at = None
        try:
            found = self._engine.look(self._newest_at)
        except EngineError as error:
            faults = (str(error),)
        else:
            self._first_at = found.first_at if self._first_at is None else self._first_at
            self._newest_at, newest_label_at = found.newest_at, found.newest_label_at
            self._counts = found.counts
        newest = at_most(self._newest_at, now)
        return Extent(
            first_at=self._first_at,
            complete_until=-_EVER if newest is None or faults else newest,
            rows=self._rows_seen,
            faults=faults,
            newest_at=newest,
            newest_label_at=at_most(newest_label_at, now),
            counts=self._counts,
        )

    def profile(self, window: Window, bins: Bins, served: ServedBy) -> WindowData:
        """See `Source.profile`. The rows are counted where they are."""
        start, end = _times_of(window)
        job = ProfileJob(bins.schema, bins.layout, served, start, end, self._names)
        total = empty_window(bins.layout)
        for part in self._engine.map(Query(job.columns, start, end), "profile_batches", job.to_json()):
            total = total.merge(WindowData.from_bytes(part))
        self._rows_seen += total.profile.rows
        return total

    def cohort(self, window: Window, known_by: float, features: Sequence[str], served: ServedBy) -> Cohort:
        """See `Source.cohort`."""
        start, end = _times_of(window)
        job = CohortJob(self._schema, served, start, end, known_by, tuple(features), names=self._names)
        query = Query(self._without_labels(job.columns), start, end, known_by)
        parts = map(Cohort.from_bytes, self._engine.map(query, "cohort_batches", job.to_json()))
        return fold_cohorts(parts, job.narrow_schema)

    def outcomes(self, window: Window, known_by: float) -> Outcomes:
        """See `Source.outcomes`. Raises EngineError where the window has more rows than a cohort keeps."""
        cohort = self.cohort(window, known_by, (), ServedBy(0))
        if cohort.is_sample:
            raise EngineError(f"the window has {cohort.total:,} rows: too many to hold; set a shorter window.every")
        return cohort.outcomes

    def chunks(self, window: Window) -> Iterator[tuple[Columns, Outcomes]]:
        """See `Source.chunks`."""
        start, end = _times_of(window)
        for rows in self._read_rows(Query(self._all_columns(), start, end, _EVER)):
            yield rows.columns, rows.outcomes

    def read_labelled(self, since: float, until: float, known_by: float) -> Iterator[pa.Table]:
        """See `Source.labelled`."""
        for rows in self._read_rows(Query(self._all_columns(), since, until, known_by, labelled_only=True)):
            kept = rows.where(rows.outcomes.labelled)
            if len(kept):
                yield kept.table(self._schema)

    def count_labelled(self, since: float, known_by: float) -> int:
        """See `Source.count_labelled`."""
        return self._engine.count(Query((), since, _EVER, known_by, labelled_only=True))

    def newest_labelled(self, rows: int, since: float, known_by: float) -> float:
        """See `Source.newest_labelled`."""
        found = self._engine.newest_labelled(rows, Query((), since, _EVER, known_by, labelled_only=True))
        return since if found is None else found

    def sample(self, window: Window, rows: int, seed: int) -> pa.Table:
        """See `Source.sample`: the rows with the least hashes of their identities."""
        start, end = _times_of(window)
        kept = Rows.stack([], self._schema)
        for part in self._read_rows(Query(self._all_columns(), start, end, _EVER)):
            kept = Rows.stack([kept, part], self._schema)
            hashes = hash_rows(kept, seed)
            if len(hashes) > rows:
                kept = kept.take(np.sort(np.argsort(hashes, kind="stable")[:rows]))
        return kept.table(self._schema)

    def versions(self) -> Mapping[str, str]:
        """The version of each table that is read, where the engine keeps versions. Raises EngineError."""
        return self._engine.versions() if isinstance(self._engine, Versioned) else {}

    def keep(self, name: str) -> bool:
        """Have the versions that are read stay under a name; False where there are none. Raises EngineError."""
        if not isinstance(self._engine, Versioned):
            return False
        self._engine.keep(name)
        return True

    def use_schema(self, schema: Schema) -> None:
        """See `Source.use_schema`."""
        self._schema = schema

    def cancel(self) -> None:
        """Stop what is under way in the engine; called by another thread."""
        self._engine.cancel()

    def close(self) -> None:
        """See `Source.close`."""
        self._engine.close()

    def _read_rows(self, query: Query) -> Iterator[Rows]:
        for batch in self._engine.read(query):
            rows = rows_between(batch, self._names, self._schema, query.start, query.end)
            if len(rows):
                yield rows

    def _all_columns(self) -> tuple[str, ...]:
        job = CohortJob(self._schema, ServedBy(0), 0.0, 0.0, features=self._schema.names, names=self._names)
        return self._without_labels(job.columns)

    def _without_labels(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in columns if name not in (self._names.label, self._names.label_at))


def _times_of(window: Window) -> tuple[float, float]:
    if window.by != "time":
        raise EngineError("an engine numbers no rows: set window: {every: ...}")
    return window.start, window.end

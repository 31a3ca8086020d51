"""Rows as Arrow tables for snapshots and reports: features as users know them, and driftd's own columns beside them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from driftd.store.events.arrow_columns import to_arrow
from driftd.store.events.columnar import missing
from driftd_detectors.columns import Columns, Numbers, Outcomes
from driftd_detectors.schema import Kind, Schema, Task


def table_of(ids: Sequence[str] | pa.Array, columns: Columns, outcomes: Outcomes, schema: Schema) -> pa.Table:
    """Every feature (all null where the source has none), the target, and the columns named `driftd_...`."""
    arrays = {
        feature.name: to_arrow(columns.values.get(feature.name, missing(feature.kind, columns.rows)), feature.kind)
        for feature in schema.features
    }
    arrays[schema.target] = _outcome(outcomes.label, outcomes, schema)
    arrays["driftd_id"] = pa.array(ids, pa.string())
    arrays["driftd_at"] = pa.array(outcomes.at, pa.float64())
    arrays["driftd_label_at"] = pa.array(outcomes.label_at, pa.float64(), from_pandas=True)
    arrays["driftd_version"] = pa.array(outcomes.version, pa.int64())
    arrays["driftd_prediction"] = _outcome(outcomes.prediction, outcomes, schema)
    arrays["driftd_score"] = pa.array(outcomes.score, pa.float64(), from_pandas=True)
    return pa.table(arrays)


def _outcome(values: Numbers, outcomes: Outcomes, schema: Schema) -> pa.Array:
    if schema.task is Task.REGRESSION:
        return pa.array(values, pa.float64(), from_pandas=True)
    return to_arrow(outcomes.texts(values), Kind.CATEGORY)

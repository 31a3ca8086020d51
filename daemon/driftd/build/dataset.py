"""The rows of a snapshot as trainers and estimators take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from driftd.registry.features import feature_frame
from driftd_detectors.columns import Numbers
from driftd_detectors.schema import Schema, Task


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows, oldest first; every array has one entry a row."""

    schema: Schema
    frame: pd.DataFrame  # as `feature_frame` makes it
    target: NDArray[Any]  # class text (object) or float64
    at: Numbers
    label_at: Numbers
    version: NDArray[np.int64]  # that predicted the row when it was live; 0 when unknown
    ids: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.at)

    def take(self, which: slice | NDArray[Any]) -> Rows:
        """Some of the rows."""
        return Rows(
            self.schema,
            self.frame.iloc[which].reset_index(drop=True),
            self.target[which],
            self.at[which],
            self.label_at[which],
            self.version[which],
            self.ids[which],
        )

    def under(self, schema: Schema) -> Rows:
        """The same rows as a version with another schema sees them: what it does not know is left out."""
        return Rows(
            schema, feature_frame(self.frame, schema), self.target, self.at, self.label_at, self.version, self.ids
        )


def rows_of(table: pa.Table, schema: Schema) -> Rows:
    """The rows of a table that `labelled_rows` or a snapshot holds."""
    features = [name for name in schema.names if name in table.column_names]
    frame = feature_frame(table.select(features).to_pandas(), schema) if features else feature_frame({}, schema)
    target = table[schema.target]
    if schema.task is Task.REGRESSION:
        values: NDArray[Any] = target.to_numpy().astype(np.float64)
    else:
        values = np.array(target.to_pylist(), dtype=object)
    return Rows(
        schema,
        frame,
        values,
        table["driftd_at"].to_numpy().astype(np.float64),
        table["driftd_label_at"].to_numpy().astype(np.float64),
        table["driftd_version"].fill_null(0).to_numpy().astype(np.int64),
        np.array(table["driftd_id"].to_pylist(), dtype=object),
    )

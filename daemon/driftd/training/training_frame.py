"""Labelled rows in pandas: made of files that the source's reader read, and turned into Arrow as a source would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from driftd.sources.json_lines import quoted_number
from driftd.sources.whole_files import WholeFiles
from driftd.store.events.arrow_columns import read_column, to_arrow
from driftd_detectors.columns import Coded, Column
from driftd_detectors.kinds import Kind
from driftd_detectors.values import class_name


def frame_of(files: WholeFiles) -> pd.DataFrame:
    """The rows of files, one column of plain pandas types each; missing values are NaN, NaT or None."""
    columns = {name: _series(files, name, kind) for name, kind in files.kinds.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(files.rows), copy=False)


def read_series(column: pd.Series[Any], kind: Kind) -> tuple[Column, int]:
    """A pandas column as values of a kind, and how many could not be read, as the files source reads them.

    Text is no number, also among numbers.
    """
    array, is_mixed = arrow_of(column, kind)
    return read_column(array, kind, numeric_text=is_mixed)


def arrow_of(column: pd.Series[Any], kind: Kind) -> tuple[pa.Array, bool]:
    """A pandas column of any type in Arrow, and whether it held objects of several types, which are text now.

    In such a text numbers are bare, and where numbers are wanted, texts that look like numbers are quoted.
    """
    try:
        return pa.array(column, from_pandas=True), False
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        missing = column.isna().tolist()
        name = quoted_number if kind is Kind.NUMBER else class_name
        values = zip(column.astype(object), missing, strict=True)
        return pa.array([None if absent else name(value) for value, absent in values], pa.string()), True


def _series(files: WholeFiles, name: str, kind: Kind) -> pd.Series[Any]:
    if name in files.integers:
        whole = files.integers[name]
        return pd.Series(
            whole.to_pandas(types_mapper=None if not whole.null_count else {pa.int64(): pd.Int64Dtype()}.get)
        )
    values: Column = files.columns[name]
    if kind is Kind.BOOLEAN or kind is Kind.TIMESTAMP:
        found = to_arrow(values, kind)
        return pd.Series(found.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get))
    if isinstance(values, Coded):
        texts = np.array([*values.labels, None], dtype=object)
        return pd.Series(texts[values.codes], dtype=object)
    return pd.Series(values)

"""The rows of files as a stream to rehearse with: what is missing or foreign is named, all at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.cli.labelled_file import read_file
from driftd.config.load import parse
from driftd.config.model_schema import ModelConfig
from driftd.rehearsal.child_process import RehearsalError
from driftd.rehearsal.recorded import Cut, Record, read_rows
from driftd.training.bootstrap import FileColumns

COLUMNS = FileColumns(id="prediction_id", time="at", label_time="label_at")
DAY = 86_400.0


def config(features: str = "") -> ModelConfig:
    """A regression of `y` in daily windows."""
    section = f"task: regression\n    target: y\n    window: {{every: 1d}}\n    {features}"
    return parse(f"state_dir: /nowhere\nmodels:\n  demand:\n    {section}\n".encode(), "config.yaml").models["demand"]


def rows(count: int = 600) -> pd.DataFrame:
    """Twenty days of rows whose labels come a day later."""
    at = 1.7e9 + np.linspace(0, 20 * DAY, count)
    x = np.linspace(0, 1, count)
    ids = [f"p{number}" for number in range(count)]
    return pd.DataFrame({"prediction_id": ids, "at": at, "label_at": at + DAY, "x": x, "y": 2 * x})


def read(frame: pd.DataFrame, columns: FileColumns = COLUMNS, features: str = "") -> Record:
    """The rows as a stream of the model `demand`."""
    return read_rows("demand", config(features), frame, columns, Cut())


def test_all_that_is_missing_and_foreign_is_named_at_once() -> None:
    """Data of another table: the time, the target and the features that lack, and the columns that nobody asked for."""
    foreign = rows().rename(columns={"at": "wann", "y": "betrag", "x": "weg"})
    with pytest.raises(RehearsalError) as raised:
        read(foreign, FileColumns(), "features: {x: number}")
    said = str(raised.value)
    for part in ("no column of the data holds times", "no column 'y'", "lack 'x' of the features", "betrag", "weg"):
        assert part in said


def test_rows_out_of_order_and_given_twice_are_the_same_stream() -> None:
    """Order and repetition of the rows change nothing; what is left out is counted."""
    frame = rows()
    mixed = pd.concat([frame.sample(frac=1, random_state=1), frame.iloc[50:90]], ignore_index=True)
    found = read(mixed)
    pd.testing.assert_frame_equal(found.stream.frame, read(frame).stream.frame)
    assert any("40 of 640 rows are left out" in remark for remark in found.remarks)


def test_features_that_nobody_named_are_said() -> None:
    """Where the config names no features all other columns are taken, and the report says which."""
    assert any("the config names none: x" in remark for remark in read(rows()).remarks)
    assert not any("names none" in remark for remark in read(rows(), features="features: {x: number}").remarks)


def test_a_handful_of_rows_is_no_rehearsal() -> None:
    """Three rows are said to be too few, instead of asking for another --train-until."""
    with pytest.raises(RehearsalError, match="3 rows are too few"):
        read(rows().iloc[:3])


def test_the_numbers_of_rows_that_pandas_writes_are_no_feature(tmp_path: Path) -> None:
    """A shuffled frame keeps its index as a column of the Parquet file, which tells the order of the rows."""
    rows().sample(frac=1, random_state=1).to_parquet(tmp_path / "rows.parquet")
    assert sorted(read_file(tmp_path / "rows.parquet", "auto").rows.columns) == sorted(rows().columns)

"""Everyday files that init and the files source once read differently, each with the right values."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.cli.init_defaults import guess_settings
from driftd.cli.labelled_file import read_rows
from driftd.paths import Places
from driftd.records import Window
from driftd.sources.files import FilesSettings, FilesSource
from driftd.training.bootstrap import FileColumns, labelled_table
from driftd_detectors.columns import Coded
from driftd_detectors.performance.losses import losses
from driftd_detectors.profile.layout import learn_layout
from driftd_detectors.profile.profile import profile_of
from driftd_detectors.quality.checks import quality_faults
from driftd_detectors.schema import Kind, Schema, Task, learn_schema

ROWS = 400
rng = np.random.default_rng(7)
DATA = pd.DataFrame(
    {
        "id": [f"p{row}" for row in range(ROWS)],
        "ts": pd.date_range("2026-06-01", periods=ROWS, freq="1h", tz="UTC"),
        "x": rng.normal(size=ROWS),
        "c": rng.choice(["a", "b"], ROWS),
        "y": rng.integers(0, 2, ROWS),
    }
)
GAPS = rng.random(ROWS) < 0.2
EVER = Window(0, -1e18, 1e18)


def with_gaps(values: pd.Series) -> pd.Series:  # type: ignore[type-arg]
    return values.astype(object).where(~GAPS, None)


def begun(path: Path) -> tuple[pa.Table, Schema]:
    """The training table and the schema of a file."""
    rows = read_rows(path)
    guess = guess_settings(rows, "y", task=None, columns=FileColumns(id="id", time="ts"), window=None, name="m")
    ignored = [name for name in rows.columns if name not in guess.features and name != "y"]
    schema = learn_schema(rows, task=guess.task, target="y", ignore=ignored, declared=guess.features)
    return labelled_table(rows, schema, guess.columns, 0.0), schema


def source_of(path: Path, schema: Schema, feedback: Path | None = None, **columns: str) -> FilesSource:
    names = {"at": "ts", "id": "id"} | ({} if feedback else {"label": "y"}) | columns
    settings = FilesSettings(str(path), "auto", names, feedback and str(feedback), {"id": "id"} if feedback else {})
    source = FilesSource("m", schema, Places(path.parent / "state"), settings)
    assert source.refresh(1_790_000_000.0).faults == ()
    return source


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (DATA.y == 1, ("0", "1")),
        (with_gaps(DATA.y.astype(float)), ("0", "1")),
        (np.where(DATA.y == 1, "TRUE", "FALSE"), ("0", "1")),
        (np.where(DATA.y == 1, "01", "02"), ("01", "02")),
    ],
    ids=["truths", "floats with gaps", "TRUE and FALSE", "codes"],
)
def test_a_target_of_a_csv_file_has_one_form(tmp_path: Path, target: Any, classes: tuple[str, ...]) -> None:
    """The labels that a version is trained on are those that its source reads of the same file."""
    path = tmp_path / "data.csv"
    DATA.assign(y=target).to_csv(path, index=False)
    table, schema = begun(path)
    assert schema.classes == classes
    outcomes = source_of(path, schema).outcomes(EVER, 9e18)
    assert (outcomes.classes, outcomes.unseen) == (classes, ())
    expected = [label for label in table["y"].to_pylist() if label is not None]
    assert [classes[int(code)] for code in outcomes.label if code >= 0] == expected


def test_a_boolean_with_gaps_has_one_form(tmp_path: Path) -> None:
    """True, False and nothing in a CSV file are a boolean feature for both."""
    path = tmp_path / "data.csv"
    DATA.assign(b=with_gaps(DATA.x > 0)).to_csv(path, index=False)
    table, schema = begun(path)
    assert schema.kind_of("b") is Kind.BOOLEAN
    columns, _ = next(source_of(path, schema).chunks(EVER))
    column = columns.values["b"]
    assert isinstance(column, Coded)
    assert [None if code < 0 else bool(code) for code in column.codes.tolist()] == table["b"].to_pylist()
    assert columns.unreadable == {}


@pytest.mark.parametrize(
    "target",
    [
        DATA.y.astype("float32"),
        pd.array(DATA.y.where(DATA.y.index % 4 > 0), dtype="Float32"),
        [Decimal(f"{value}.00") for value in DATA.y],
        DATA.y.astype("float64"),
    ],
    ids=["float32", "Float32 with gaps", "decimal", "float64"],
)
def test_a_target_of_any_number_type_has_one_form(tmp_path: Path, target: Any) -> None:
    """The classes are 0 and 1, whatever type Parquet has for them."""
    path = tmp_path / "data.parquet"
    DATA.assign(y=target).to_parquet(path)
    schema = learn_schema(pd.read_parquet(path), task=Task.CLASSIFICATION, target="y", ignore=["id", "ts"])
    outcomes = source_of(path, schema).outcomes(EVER, 9e18)
    assert (schema.classes, outcomes.classes, outcomes.unseen) == (("0", "1"), ("0", "1"), ())


def test_dates_of_a_file_are_timestamps(tmp_path: Path) -> None:
    """A date32 column is a timestamp feature, and its version can be trained from Parquet."""
    path = tmp_path / "data.parquet"
    days = (DATA.ts - pd.to_timedelta(rng.integers(0, 20, ROWS), unit="D")).dt.date
    DATA.assign(signup=days).to_parquet(path)
    table, schema = begun(path)
    assert schema.kind_of("signup") is Kind.TIMESTAMP
    found = pa.concat_tables(source_of(path, schema).read_labelled(0.0, 9e9, 9e9))
    assert found["signup"].to_pylist() == table["signup"].to_pylist()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_of_two_forms_join(tmp_path: Path, suffix: str) -> None:
    """Feedback in which pandas wrote 5.0 for 5 joins its predictions."""
    path, feedback = tmp_path / f"predictions.{suffix}", tmp_path / "feedback" / f"labels.{suffix}"
    feedback.parent.mkdir()
    predictions = DATA.assign(id=np.arange(ROWS) + 5).drop(columns="y")
    labels = pd.DataFrame({"id": (np.arange(ROWS) + 5).astype(float), "label": DATA.y, "at": DATA.ts})
    for frame, place in ((predictions, path), (labels, feedback)):
        frame.to_csv(place, index=False) if suffix == "csv" else frame.to_parquet(place)
    schema = learn_schema(DATA, task=Task.CLASSIFICATION, target="y", ignore=["id", "ts"])
    source = source_of(path, schema, feedback.parent)
    assert int(source.outcomes(EVER, 9e18).labelled.sum()) == ROWS


def test_ids_of_bytes_are_uuids(tmp_path: Path) -> None:
    """Sixteen bytes are the text of their UUID, and no check fails for them."""
    names = [UUID(int=2**100 + row) for row in range(ROWS)]
    table = pa.Table.from_pandas(DATA, preserve_index=False)
    path = tmp_path / "data.parquet"
    pq.write_table(table.set_column(0, "id", pa.array([name.bytes for name in names], pa.binary(16))), path)
    schema = learn_schema(DATA, task=Task.CLASSIFICATION, target="y", ignore=["id", "ts"])
    found = pa.concat_tables(source_of(path, schema).read_labelled(0.0, 9e9, 9e9))
    assert found["driftd_id"].to_pylist() == [str(name) for name in names]


def test_a_feature_named_like_a_column_of_driftd_is_a_feature(tmp_path: Path) -> None:
    """A credit score is a feature of the schema, not the probability of the prediction, unless the config says so."""
    data = DATA.assign(score=rng.integers(300, 850, ROWS), version=7, prediction=DATA.y)
    schema = learn_schema(data, task=Task.CLASSIFICATION, target="y", ignore=["id", "ts", "prediction"])
    path = tmp_path / "data.csv"
    data.to_csv(path, index=False)
    source = source_of(path, schema)
    columns, outcomes = next(source.chunks(EVER))
    assert columns.values["score"].tolist() == data["score"].tolist()  # type: ignore[union-attr]
    assert np.isnan(outcomes.score).all()
    assert set(outcomes.version.tolist()) == {-1}
    assert losses("error", Task.CLASSIFICATION, outcomes).sum() == 0
    said = source_of(path, schema, version="version").outcomes(EVER, 9e18)
    assert set(said.version.tolist()) == {7}


def test_a_probability_outside_its_bounds_is_unreadable(tmp_path: Path) -> None:
    """Scores outside 0 to 1 are missing, counted, and a fault of the score."""
    data = DATA.assign(score=np.where(np.arange(ROWS) < 100, 56.8, 0.5), prediction=DATA.y)
    schema = learn_schema(DATA, task=Task.CLASSIFICATION, target="y", ignore=["id", "ts"])
    path = tmp_path / "data.csv"
    data.to_csv(path, index=False)
    columns, outcomes = next(source_of(path, schema).chunks(EVER))
    assert outcomes.unreadable_scores == 100
    assert int(np.isnan(outcomes.score).sum()) == 100
    good = pd.Series(np.full(ROWS, 0.5)).to_numpy()
    usual = replace(outcomes, score=good, unreadable_scores=0)
    layout = learn_layout(columns, usual, schema)
    faults = quality_faults(profile_of(columns, outcomes, layout), profile_of(columns, usual, layout), layout)
    assert [(fault.subject, fault.fault) for fault in faults if fault.alarm] == [("score", "unreadable")]

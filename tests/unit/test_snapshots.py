"""Snapshots: named by content, deterministic, each row once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from driftd.paths import Places
from driftd.training import row_runs, snapshots
from driftd.training.snapshots import (
    SnapshotError,
    collected_rows,
    labelled_rows,
    name_values,
    read_snapshot,
    take_snapshot,
    without_spans,
)
from driftd.training.tasks.snapshot import Arguments, base_rows, run
from driftd_detectors.schema import Feature, Kind, Schema, Task

FEATURES = (Feature("x", Kind.NUMBER), Feature("c", Kind.CATEGORY))
SCHEMA = Schema(Task.CLASSIFICATION, "y", FEATURES, ("a", "b"))


def table(rows: int, *, seed: int = 0, **replaced: object) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns = {
        "c": rng.choice(["u", "v"], rows).tolist(),
        "x": rng.normal(size=rows),
        "y": rng.choice(["a", "b"], rows).tolist(),
        "driftd_id": [f"id-{n}" for n in range(rows)],
        "driftd_at": np.arange(rows, dtype=float),
        "driftd_label_at": np.arange(rows, dtype=float) + 5,
        "driftd_version": np.ones(rows, dtype=np.int64),
        "driftd_prediction": ["a"] * rows,
    }
    return pa.table(columns | replaced)


def test_the_same_content_is_the_same_folder(tmp_path: Path) -> None:
    """However the rows come (order, chunks, columns beside), one content has one name, written once."""
    places = Places(tmp_path)
    rows = table(50)
    item = take_snapshot(places, "demand", [rows], SCHEMA)
    stamp = (tmp_path / "snapshots/demand" / item.digest / "data.parquet").stat().st_mtime_ns
    shuffled = rows.take(np.random.default_rng(1).permutation(50)).drop_columns(["driftd_prediction"])
    other = take_snapshot(places, "demand", [shuffled.slice(0, 20), shuffled.slice(20)], SCHEMA)
    assert other.digest == item.digest
    assert [path.name for path in (tmp_path / "snapshots/demand").iterdir()] == [item.digest]
    assert (tmp_path / "snapshots/demand" / item.digest / "data.parquet").stat().st_mtime_ns == stamp


def many(rows: int, *, seed: int) -> pa.Table:
    """Rows of few moments, some of them without an identity, others with one that repeats; texts in two spellings."""
    rng = np.random.default_rng(seed)
    ids = [None if rng.random() < 0.02 else f"id-{rng.integers(0, 3 * rows)}" for _ in range(rows)]
    return table(
        rows,
        seed=seed,
        c=rng.choice(["1.0", "2", "1"], rows).tolist(),
        driftd_id=ids,
        driftd_at=np.floor(rng.uniform(0, 40, rows)),
        driftd_label_at=np.floor(rng.uniform(0, 9, rows)),
    )


def test_rows_that_do_not_fit_in_memory_make_the_same_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on the disk, merged block by block, give the bytes of a sort in memory; nothing of them is left behind."""
    monkeypatch.setattr(row_runs, "BLOCK_BYTES", 2_000)
    monkeypatch.setattr(row_runs, "_CANDIDATES", 300)
    tables = [many(800, seed=number) for number in range(4)]
    whole = take_snapshot(Places(tmp_path / "a"), "demand", tables, SCHEMA)
    merged = take_snapshot(Places(tmp_path / "b"), "demand", tables, SCHEMA, run_bytes=20_000)
    assert merged.digest == whole.digest
    assert merged.schema.features[1].categories == ("1", "2")
    assert [path.name for path in (tmp_path / "b/snapshots/demand").iterdir()] == [merged.digest]
    assert sorted(path.name for path in (tmp_path / "b/snapshots/demand" / merged.digest).iterdir()) == [
        "data.parquet",
        "manifest.json",
    ]
    with collected_rows(tables, SCHEMA, logged=True, run_bytes=20_000) as found:
        assert not isinstance(found.source, pa.Table)
        assert found.read().equals(labelled_rows(tables, SCHEMA, logged=True))


def test_only_the_newest_rows_are_taken(tmp_path: Path) -> None:
    """With `most` the oldest rows stay out, whether or not the rows fit in memory."""
    for run_bytes in (1_000, 1 << 20):
        taken = take_snapshot(Places(tmp_path), "demand", [table(50), table(9)], SCHEMA, most=20, run_bytes=run_bytes)
        assert taken.at.tolist() == list(range(30, 50))


@pytest.mark.parametrize(
    ("wanted", "oldest"),
    [
        ({}, 0),
        ({"rows": 150}, 200),
        ({"span": 75}, 299),
        ({"rows": 150, "span": 75}, 299),
        ({"rows": 300, "span": 1}, 398),
    ],
)
def test_what_the_config_wants_is_all_that_is_read(tmp_path: Path, wanted: dict[str, object], oldest: int) -> None:
    """`rows` and `span` bound what a build trains on, whichever way it trains; a quarter comes on top, to judge by."""
    base = take_snapshot(Places(tmp_path), "demand", [table(400)], SCHEMA)
    config = {"task": "classification", "target": "y", "retrain": {"data": wanted}}
    taken = run(
        Arguments(
            model="demand",
            model_config=config,
            state_dir=str(tmp_path),
            schema=SCHEMA.to_dict(),
            since=0.0,
            until=500.0,
            base=base.digest,
        )
    )
    assert (taken["first_at"], taken["last_at"]) == (oldest, 399)
    assert taken["rows"] == 400 - oldest


def test_too_many_texts_are_no_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column with more distinct texts than categories may have keeps its texts, and none is remembered."""
    monkeypatch.setattr(snapshots, "MOST_NAMES", 3)
    named = name_values(table(6, c=["1", "1.0", "u", "v", "w", "u"]), SCHEMA)
    assert named.schema.features[1].categories == ()
    assert named.table["c"].to_pylist() == ["1", "1.0", "u", "v", "w", "u"]


def test_rows_of_faulty_windows_stay_out() -> None:
    """Rows in one of the spans `start <= at < end` are left out, and none beside them."""
    left = without_spans(table(10), [(6.0, 8.0), (0.0, 2.0)])
    assert left["driftd_at"].to_pylist() == [2, 3, 4, 5, 8, 9]
    assert without_spans(table(10), []).num_rows == 10


def test_one_changed_value_is_another_snapshot(tmp_path: Path) -> None:
    """Content decides the name."""
    places = Places(tmp_path)
    item = take_snapshot(places, "demand", [table(50)], SCHEMA)
    other = take_snapshot(places, "demand", [table(50, x=np.zeros(50))], SCHEMA)
    assert item.digest != other.digest


def test_a_snapshot_reads_back_whole(tmp_path: Path) -> None:
    """Rows, schema and manifest come back as they were stored."""
    places = Places(tmp_path)
    taken = take_snapshot(places, "demand", [table(50)], SCHEMA)
    read = read_snapshot(places, "demand", taken.digest)
    assert read.rows.read().equals(taken.rows.read())
    assert read.schema == replace(SCHEMA, features=(FEATURES[0], replace(FEATURES[1], categories=("u", "v"))))
    manifest = json.loads((places.snapshot("demand", taken.digest) / "manifest.json").read_text())
    assert (manifest["rows"], manifest["first_at"], manifest["last_at"]) == (50, 0.0, 49.0)


def test_a_damaged_snapshot_is_refused_and_mended_by_the_same_content(tmp_path: Path) -> None:
    """Changed bytes are never read as data; taking the same snapshot again restores it."""
    places = Places(tmp_path)
    taken = take_snapshot(places, "demand", [table(50)], SCHEMA)
    path = places.snapshot("demand", taken.digest) / "data.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SnapshotError, match="does not match its name"):
        read_snapshot(places, "demand", taken.digest)
    take_snapshot(places, "demand", [table(50)], SCHEMA)
    assert read_snapshot(places, "demand", taken.digest).at.size == 50


def test_an_absent_snapshot_says_so(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(SnapshotError, match=r"is absent.*restore"):
        read_snapshot(Places(tmp_path), "demand", "0" * 64)


def test_of_several_labels_the_newest_wins() -> None:
    """A corrected label replaces the earlier one; rows without an id are kept apart from each other."""
    first = table(3, y=["a", "a", "a"])
    correction = table(3, y=["b", "b", "b"], driftd_label_at=[100.0, 0.0, 100.0])
    rows = labelled_rows([first, correction], SCHEMA)
    assert rows["y"].to_pylist() == ["b", "a", "b"]
    nameless = table(3, driftd_id=pa.array([None, None, "z"], pa.string()))
    assert labelled_rows([nameless], SCHEMA).num_rows == 3


def test_rows_without_a_usable_label_or_time_are_left_out() -> None:
    """Null labels and times, and numbers that are not finite, never reach a trainer."""
    y = pa.array(["a", None, "b"], pa.string())
    at = pa.array([0.0, 1.0, None], pa.float64())
    assert labelled_rows([table(3, y=y, driftd_at=at)], SCHEMA).num_rows == 1
    numeric = Schema(Task.REGRESSION, "y", FEATURES)
    values = pa.array([1.0, float("nan"), float("inf"), None], pa.float64())
    assert labelled_rows([table(4, y=values)], numeric)["y"].to_pylist() == [1.0]


def test_nothing_labelled_is_an_error(tmp_path: Path) -> None:
    """A snapshot of no rows is not made."""
    with pytest.raises(SnapshotError, match="no labelled row of demand"):
        take_snapshot(Places(tmp_path), "demand", [], SCHEMA)
    assert not list((tmp_path / "snapshots" / "demand").iterdir())


def test_a_feature_that_no_row_has_is_null(tmp_path: Path) -> None:
    """Absent features are null in every row."""
    taken = take_snapshot(Places(tmp_path), "demand", [table(3).drop_columns(["x"])], SCHEMA)
    assert taken.rows.read()["x"].null_count == 3


@pytest.mark.parametrize(("strays", "classes"), [(99, ("a", "b")), (100, ("a", "b", "Z"))])
def test_a_new_class_joins_with_enough_rows(tmp_path: Path, strays: int, classes: tuple[str, ...]) -> None:
    """A label outside the classes joins behind them once it has 100 rows; before, its rows are left out."""
    rows = table(300, y=["Z"] * strays + ["a", "b"] * ((300 - strays) // 2) + ["a"] * (strays % 2))
    taken = take_snapshot(Places(tmp_path), "demand", [rows], SCHEMA)
    assert taken.schema.classes == classes
    assert set(taken.rows.read()["y"].to_pylist()) == set(classes)
    assert dict(taken.left_out) == ({} if "Z" in classes else {"Z": 99})


def test_the_config_names_the_classes(tmp_path: Path) -> None:
    """A class that the config names joins with a single row, and no other does, however many rows it has."""
    rows = table(302, y=["a"] * 100 + ["x"] * 200 + ["c"] * 2)
    taken = take_snapshot(Places(tmp_path), "demand", [rows], SCHEMA, ("a", "b", "c"))
    assert taken.schema.classes == ("a", "b", "c")
    assert dict(taken.left_out) == {"x": 200}


def test_spellings_of_one_value_are_one_in_a_snapshot(tmp_path: Path) -> None:
    """Classes and categories that older rows have in another spelling are those of the schema."""
    schema = Schema(Task.CLASSIFICATION, "y", (FEATURES[0], Feature("c", Kind.CATEGORY, ("1",))), ("0", "1"))
    rows = table(6, y=["0", "1", "1.0", "True", " 1", "0.0"], c=["1", "1.0", "2.0", "2", " 1", "true"])
    taken = take_snapshot(Places(tmp_path), "demand", [rows], schema)
    assert taken.schema.classes == ("0", "1")
    assert taken.rows.read()["y"].to_pylist() == ["0", "1", "1", "1", "1", "0"]
    assert taken.schema.features[1].categories == ("1", "2")
    assert taken.rows.read()["c"].to_pylist() == ["1", "1", "2", "2", "1", "1"]


def test_a_snapshot_that_is_gone_is_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A build whose base was removed goes on with the rows of the source alone, and its log says so."""
    assert list(base_rows(Places(tmp_path), "m", "0" * 64, 0.0)) == []
    assert "goes on with the rows of the source alone" in capsys.readouterr().out

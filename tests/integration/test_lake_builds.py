"""Versions made of Delta and Iceberg tables: the lineage names what was read, and rows in place can be read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from driftd.paths import Places
from driftd.registry import Manifest, Registry
from driftd.training.tasks import snapshot, train
from driftd_detectors.schema import Feature, Kind, Schema, Task
from lake_tables import LakeTables, delta_tables, iceberg_catalog, iceberg_tables

SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
START, ROWS = 1_700_000_000.0, 3_000

# Trains where the rows are, on the version that it is told.
PROGRAM = """
import json, os, pathlib
import skops.io
from sklearn.linear_model import LinearRegression

rows = json.load(open(os.environ["DRIFTD_ROWS"]))
source, version = rows["source"], rows["source_version"]["predictions"]
if source["kind"] == "delta":
    from deltalake import DeltaTable
    data = DeltaTable(source["predictions"], version=int(version)).to_pandas()
else:
    from pyiceberg.catalog import load_catalog
    table = load_catalog("default", type="sql", uri=source["catalog"]["uri"]).load_table(source["predictions"])
    data = table.scan(snapshot_id=table.metadata.refs[rows["source_tag"]].snapshot_id).to_pandas()
data = data[data["at"] < rows["until"]]
model = LinearRegression().fit(data[rows["features"]], data["label"])
skops.io.dump(model, os.path.join(os.environ["DRIFTD_OUTPUT"], "model.skops"))
pathlib.Path(os.environ["TOLD"]).write_text(json.dumps({"trained": len(data)}))
"""


def delta(folder: Path, rows: pa.Table) -> tuple[LakeTables, Callable[[], object]]:
    """A table, and how its rows are deleted."""
    made = delta_tables(folder)
    path = str(folder / "rows")
    write_deltalake(path, rows)
    return LakeTables({"kind": "delta", "predictions": path}, made.write), lambda: DeltaTable(path).delete()


def iceberg(folder: Path, rows: pa.Table) -> tuple[LakeTables, Callable[[], object]]:
    """The same in a catalog."""
    made = iceberg_tables(folder)
    iceberg_catalog(made.section).create_table("lake.rows", rows.schema).append(rows)
    section = {**made.section, "predictions": "lake.rows", "labels": None}
    return LakeTables(section, made.write), lambda: iceberg_catalog(section).load_table("lake.rows").delete()


def build(folder: Path, section: dict[str, Any], keep: str, between: Callable[[], object]) -> Manifest:
    """A snapshot and a version; `between` comes after the snapshot."""
    (folder / "train.py").write_text(PROGRAM)
    command = [sys.executable, str(folder / "train.py")]
    in_place = {"trainer": {"command": command}, "retrain": {"refresh": "off", "data": {"keep": "in_place"}}}
    config = {"task": "regression", "target": "y", "source": section, **(in_place if keep == "in_place" else {})}
    until = START + ROWS * 60.0
    common: dict[str, Any] = {"model": "m", "model_config": config, "state_dir": str(folder / "state")}
    taken = snapshot.run(snapshot.Arguments(**common, schema={**SCHEMA.to_dict()}, since=0.0, until=until))
    between()
    order: dict[str, Any] = {"version": 1, "snapshot": taken["digest"], "seed": 1, "trigger": "performance"}
    train.run(train.Arguments(**common, **order, reason="a test", until=until))
    return Registry(Places(folder / "state")).manifest("m", 1)


def rows_of_a_day() -> pa.Table:
    rng = np.random.default_rng(1)
    x = rng.normal(size=ROWS)
    return pa.table(
        {
            "prediction_id": [f"p{number}" for number in range(ROWS)],
            "at": START + np.arange(ROWS) * 60.0,
            "prediction": x,
            "x": x,
            "label": 2 * x + rng.normal(size=ROWS) / 10,
        }
    )


@pytest.mark.parametrize("make", [delta, iceberg])
def test_a_version_of_copied_rows_names_what_they_were_read_from(tmp_path: Path, make: Any) -> None:
    """Rows that are deleted while a build runs are in its copy, and its lineage has the version that had them."""
    tables, delete = make(tmp_path / "lake", rows_of_a_day())
    versions = tables.engine().versions()
    manifest = build(tmp_path, dict(tables.section), "copy", delete)
    assert manifest.data["source_version"] == versions
    assert tables.engine().versions() != versions
    assert manifest.data["training_rows"] > ROWS // 2


@pytest.mark.parametrize("make", [delta, iceberg])
def test_a_program_in_place_reads_the_version_that_it_is_told(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version stands in the lineage; Iceberg keeps it by a tag, and of Delta the log says what may remove it."""
    monkeypatch.setenv("TOLD", str(tmp_path / "told.json"))
    monkeypatch.setattr(snapshot, "JUDGED_ROWS", 900)
    tables, _ = make(tmp_path / "lake", rows_of_a_day())
    manifest = build(tmp_path, dict(tables.section), "in_place", lambda: None)
    rows = manifest.data["in_place"]
    assert rows["source_version"] == manifest.data["source_version"] == tables.engine().versions()
    assert json.loads((tmp_path / "told.json").read_text()) == {"trained": ROWS - 300}
    log = capsys.readouterr().out
    if make is iceberg:
        assert rows["source_tag"] == f"driftd-m-{manifest.snapshot[:12]}"
    else:
        assert rows["source_tag"] is None
        assert "a vacuum may remove the files of version 0 after a week" in log

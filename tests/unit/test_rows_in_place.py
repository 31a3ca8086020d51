"""Training rows that stay in the source: a program is told which they are, and the gate judges by newer ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Manifest, Registry
from driftd.sources import open_source
from driftd.training.tasks import snapshot, train
from driftd_detectors.schema import Feature, Kind, Schema, Task

SCHEMA = Schema(Task.REGRESSION, "y", (Feature("x", Kind.NUMBER),))
START, ROWS = 1_700_000_000.0, 6_000

# Trains where the rows are: on all of the folder up to `until`, and writes down what it was told.
PROGRAM = """
import json, os, pathlib
import pandas as pd
import skops.io
from sklearn.linear_model import LinearRegression

rows = json.load(open(os.environ["DRIFTD_ROWS"]))
data = pd.read_parquet(rows["source"]["path"])
data = data[(data["at"] < rows["until"]) & (data["at"] >= (rows["since"] or 0)) & data["label"].notna()]
model = LinearRegression().fit(data[rows["features"]], data["label"])
skops.io.dump(model, os.path.join(os.environ["DRIFTD_OUTPUT"], "model.skops"))
copied = len(pd.read_parquet(os.environ["DRIFTD_SNAPSHOT"]))
told = {**rows, "trained": len(data), "copied": copied}
pathlib.Path(os.environ["TOLD"]).write_text(json.dumps(told))
"""


def write_logs(folder: Path) -> None:
    """A day of predictions with their labels, in two files."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    x = rng.normal(size=ROWS)
    rows = pa.table(
        {
            "prediction_id": [f"p{number}" for number in range(ROWS)],
            "at": START + np.arange(ROWS) * 60.0,
            "prediction": x,
            "x": x,
            "label": 2 * x + rng.normal(size=ROWS) / 10,
        }
    )
    pq.write_table(rows.slice(0, ROWS // 2), folder / "a.parquet")
    pq.write_table(rows.slice(ROWS // 2), folder / "b.parquet")


def build(folder: Path, command: list[str], until: float) -> Manifest:
    """A snapshot and a version, as a build makes them of the log files in `folder`."""
    config = {
        "task": "regression",
        "target": "y",
        "source": {"kind": "files", "path": str(folder / "logs")},
        "trainer": {"command": command},
        "retrain": {"refresh": "off", "data": {"keep": "in_place"}},
    }
    places = Places(folder / "state")
    source = open_source("m", ModelConfig.model_validate(config), SCHEMA, places)
    source.refresh(until)  # as the daemon did before it ordered a build
    common = {"model": "m", "model_config": config, "state_dir": str(places.root)}
    taken = snapshot.run(snapshot.Arguments(**common, schema=SCHEMA.to_dict(), since=0.0, until=until))  # type: ignore[arg-type]
    order = {"version": 1, "snapshot": taken["digest"], "seed": 1, "trigger": "performance", "reason": "a test"}
    train.run(train.Arguments(**common, **order, until=until))  # type: ignore[arg-type]
    return Registry(places).manifest("m", 1)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What the program of a build was told, beside the lineage of the version that it made."""
    folder = tmp_path_factory.mktemp("in-place")
    write_logs(folder / "logs")
    (folder / "train.py").write_text(PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "JUDGED_ROWS", 900)
        patch.setenv("TOLD", str(folder / "told.json"))
        manifest = build(folder, [sys.executable, str(folder / "train.py")], START + ROWS * 60.0)
        found: dict[str, object] = json.loads((folder / "told.json").read_text())
        yield {**found, "rows": manifest.data["training_rows"], "lineage": manifest.data["in_place"]}


def test_a_program_trains_on_all_rows_and_only_the_newest_are_copied(told: dict[str, object]) -> None:
    """Of 6,000 rows 1,200 are copied; a quarter of these judges, and all older ones are the program's to read."""
    assert told["trained"] == ROWS - 300
    assert told["copied"] == 900
    assert told["labelled_rows"] == ROWS


def test_the_rows_that_judge_are_never_trained_on(told: dict[str, object]) -> None:
    """The program is told to stop where the rows of the gate begin, and by when a label had to be known."""
    assert told["until"] == START + (ROWS - 300) * 60.0
    assert told["known_by"] == START + ROWS * 60.0
    assert told["until_iso"] == "2023-11-18T21:13:20+00:00"


def test_the_lineage_says_which_rows_they_were(told: dict[str, object]) -> None:
    """The version keeps what the program was told, and the hash of it."""
    lineage = told["lineage"]
    assert isinstance(lineage, dict)
    assert {name: told[name] for name in lineage} == lineage
    assert len(str(lineage["hash"])) == 64

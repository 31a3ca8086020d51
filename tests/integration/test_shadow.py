"""The shadow of a version compares it with the one before on the live rows that are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.sources import open_source
from driftd.training.job_main import run_task
from first_versions import copy_version
from loop_world import HOUR, LABEL_DELAY, MODEL, ROWS, World, hour

pytestmark = pytest.mark.slow

SINCE, HOURS = 120, 3
COLUMNS = "columns: {{id: id, at: at, prediction: prediction, label: y, label_at: label_at{version}}}"
LOG = "    source: {{kind: files, path: {path}, " + COLUMNS + "}}\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two versions that are alike."""
    made = World.begin(tmp_path_factory.mktemp("world"))
    copy_version(made.places, MODEL, 2)
    return made


def logged(world: World) -> pd.DataFrame:
    """What was logged since version 2 serves, with labels; nobody says by which version."""
    parts = []
    for number in range(SINCE, SINCE + HOURS):
        frame, truth = hour(number)
        at = world.start + number * HOUR + np.arange(ROWS) * HOUR / ROWS
        ids = [f"{number}-{row}" for row in range(ROWS)]
        parts.append(frame.assign(id=ids, at=at, prediction=truth + 0.5, y=truth, label_at=at + LABEL_DELAY))
    return pd.concat(parts)


def compared(world: World, source: str = "") -> int:
    """How many labelled rows version 2 is compared with version 1 on."""
    config = world.folder / "shadow.yaml"
    config.write_text((world.folder / "config.yaml").read_text() + source)
    model, since = load(config).models[MODEL], world.start + SINCE * HOUR
    reader = open_source(MODEL, model, Registry(world.places).readable(MODEL, 1).schema, world.places)
    reader.refresh(since + 9 * HOUR)  # as the daemon does
    reader.close()
    arguments: dict[str, Any] = {
        "model": MODEL,
        "state_dir": str(world.places.root),
        "model_config": model.model_dump(mode="json"),
    }
    found = run_task("shadow", arguments | {"new": 2, "old": 1, "since": since, "until": since + 9 * HOUR})
    return int(found["labels"])


@pytest.mark.parametrize(
    ("version", "share"),
    [(None, 1.0), ([np.nan], 1.0), ([0], 1.0), ([2], 1.0), ([1], 0.0), ([np.nan, 1], 0.5), ([2, np.nan], 1.0)],
    ids=["no column", "no values", "elsewhere", "its own", "the one before", "some of the one before", "some named"],
)
def test_rows_of_files_that_name_no_version_are_compared(
    world: World, tmp_path: Path, version: list[float] | None, share: float
) -> None:
    """Rows are of the version that served unless they name another; a log without versions is one of those."""
    rows = logged(world)
    if version is not None:
        rows["number"] = np.resize(np.array(version, dtype=float), len(rows))
    rows.to_parquet(tmp_path / "one.parquet")
    source = LOG.format(path=tmp_path, version="" if version is None else ", version: number")
    assert compared(world, source) == share * len(rows)


def test_events_that_name_no_version_are_compared(world: World) -> None:
    """So are the events of an application that logs predictions without a version."""
    rows = logged(world)
    features = rows[["a", "b", "c"]].to_dict("records")
    events: list[dict[str, Any]] = [
        {"prediction_id": name, "at": at, "features": feature, "prediction": said}
        for name, at, feature, said in zip(rows["id"], rows["at"], features, rows["prediction"], strict=True)
    ]
    labels = zip(rows["id"], rows["y"], rows["label_at"], strict=True)
    events += [{"prediction_id": name, "label": label, "at": at} for name, label, at in labels]
    with Driftd(world.places.root, MODEL) as application:
        _, refused = application.log(events)
    assert not refused
    assert compared(world) == len(rows)

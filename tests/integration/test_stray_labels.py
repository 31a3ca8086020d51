"""Labels outside the classes in a build: what joins a version, what the gate says, and what stays out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from driftd.config.model_schema import ModelConfig
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.events.validation import read_events
from driftd.store.events.writer import EventStore
from driftd.training.bootstrap import FileColumns, make_first_version
from driftd.training.job_main import run_task

MODEL = "demand"
ROWS = 1_200
NOW = time.time()
CONFIG = {
    "task": "classification",
    "target": "y",
    "window": {"every": "1h"},
    "parameters": {"max_iter": 20},
}
pytestmark = pytest.mark.slow


def rows_of(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=ROWS), "c": rng.choice(["a", "b"], ROWS)})
    return frame.assign(y=(frame["x"] + rng.normal(0, 0.5, ROWS) > 0).astype(int))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A model with version 1, whose classes are 0 and 1."""
    config = ModelConfig.model_validate(CONFIG)
    found = Places(tmp_path)
    made = make_first_version(MODEL, config, rows_of(1), FileColumns(), found, now=NOW - 4 * ROWS)
    assert made.version == 1
    return found


def log(places: Places, strays: int, stray: str) -> None:
    """Predictions with their labels, the first of which are strays."""
    schema = Registry(places).manifest(MODEL, 1).schema
    frame = rows_of(2)
    labels = [stray if place < strays else str(y) for place, y in enumerate(frame["y"])]
    events: list[dict[str, Any]] = []
    for place, (x, c, label) in enumerate(zip(frame["x"], frame["c"], labels, strict=True)):
        at = NOW - 2 * ROWS + (place * 7919) % ROWS
        events.append({"prediction_id": f"p{place}", "at": at, "features": {"x": x, "c": c}, "prediction": "1"})
        events.append({"prediction_id": f"p{place}", "at": at + 1, "label": label})
    store = EventStore.open(places.events_db(MODEL), schema, segments=places.segments(MODEL))
    store.append(read_events(events, schema, NOW)[0])
    store.close()


def build(places: Places, **more: Any) -> dict[str, Any]:
    """Make version 2 by the daemon's own tasks; what the gate says of it."""
    served = Registry(places).manifest(MODEL, 1)
    common = {"model": MODEL, "state_dir": str(places.root), "model_config": CONFIG | more, "until": NOW}
    order = {**common, "schema": served.schema.to_dict(), "since": 0.0, "base": served.snapshot, "change_at": None}
    taken = run_task("snapshot", order)
    order = {"version": 2, "snapshot": taken["digest"], "change_at": None, "seed": 2, "parent": 1}
    run_task("train", {**common, **order, "trigger": "manual", "reason": "a test"})
    gate = run_task("judge", {**common, "challenger": 2, "champion": 1, "trigger": "manual"})
    return {**gate, "left_out": taken["left_out"]}


def test_a_stray_label_changes_no_classes(places: Places) -> None:
    """One "banana" among 1,200 labels leaves the next version with the classes of the first."""
    log(places, 1, "banana")
    gate = build(places)
    assert Registry(places).manifest(MODEL, 2).schema.classes == ("0", "1")
    assert (gate["left_out"], gate["class_change"]) == (1, None)
    assert "class" not in gate["sentence"]


def test_a_new_class_with_enough_rows_waits_for_a_person(places: Places) -> None:
    """With 150 rows a class joins behind the others, and the gate says that a person must agree."""
    log(places, 150, "Banana")
    gate = build(places)
    assert Registry(places).manifest(MODEL, 2).schema.classes == ("0", "1", "Banana")
    assert gate["left_out"] == 0
    assert "it adds the class 'Banana'" in gate["class_change"]
    assert gate["class_change"] in gate["sentence"]


def test_a_class_that_the_config_names_needs_nobody(places: Places) -> None:
    """A class of the config joins with few rows, is told, and needs no other approval; other labels stay out."""
    log(places, 10, "kiwi")
    gate = build(places, classes=["0", "1", "kiwi"])
    assert Registry(places).manifest(MODEL, 2).schema.classes == ("0", "1", "kiwi")
    assert gate["class_change"] is None
    assert "it adds the class 'kiwi'" in gate["sentence"]

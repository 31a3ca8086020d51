"""A version with other features than the one before: what is served after the swap is read by its own schema."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.config.load import load
from driftd.registry import Registry
from driftd.training.bootstrap import FileColumns, labelled_table, schema_of
from driftd.training.fork_server import SHARED
from driftd.training.jobs import JobLimits, start_job
from driftd.training.snapshots import take_snapshot
from loop_world import HOUR, LABEL_DELAY, MODEL, ROWS, World, hour

pytestmark = pytest.mark.slow


def with_weight(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The application sends another feature from now on, and one less."""
    return frame.assign(weight=frame["a"].to_numpy() ** 2).drop(columns="b"), truth


def second_version(world: World) -> None:
    """Train and judge version 2 on rows with other features, as a person does who changes a trainer and its data."""
    parts = []
    for number in range(world.hours):
        frame, truth = with_weight(*hour(number))
        at = world.start + number * HOUR + np.arange(ROWS) * HOUR / ROWS
        parts.append(frame.assign(y=truth, at=at, label_at=at + LABEL_DELAY))
    rows, columns = pd.concat(parts), FileColumns(time="at", label_time="label_at")
    config, now = load(world.folder / "config.yaml").models[MODEL], world.clock.now()
    schema = schema_of(config, rows, columns)
    snapshot = take_snapshot(world.places, MODEL, [labelled_table(rows, schema, columns, now)], schema)
    base = {"model": MODEL, "model_config": config.model_dump(mode="json"), "state_dir": str(world.places.root)}
    base |= {"until": now, "trigger": "manual", "reason": "other features"}
    order = {"version": 2, "snapshot": snapshot.digest, "change_at": None, "seed": 2, "parent": 1}
    for task, arguments in (("train", order), ("judge", {"challenger": 2, "champion": None})):
        job = start_job(world.places.job(f"second-{task}"), task, {**base, **arguments}, JobLimits(), SHARED)
        while (result := job.poll()) is None:
            time.sleep(0.02)
        assert result.ok, result.error


def test_the_source_follows_the_features_of_a_swapped_version(tmp_path: Path) -> None:
    """Windows after the swap hold the new feature and miss no dropped one, without the daemon being started again."""
    world = World.begin(tmp_path, hours=30)
    world.live(2)
    second_version(world)
    path = world.folder / "config.yaml"
    path.write_text(path.read_text() + 'override: {reason: "new features", pin: {demand: 2}}\n')
    assert world.daemon.reload(world.clock.now()) is None
    world.daemon.catch_up(world.clock.now())
    assert Registry(world.places).current(MODEL) == 2
    world.live(3, with_weight)
    store = world.daemon.assembly.store
    newest = store.newest_checks(MODEL, "window", 2)
    assert [check.version for check in newest] == [2, 2]
    assert [check.rows for check in newest] == [ROWS, ROWS]
    assert [list(check.figures.get("faults", ())) for check in newest] == [[], []]
    world.close()

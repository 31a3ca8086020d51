"""A version that was made elsewhere is handed in by a command: checked, judged by rows new to it, promoted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from driftd.registry import Registry
from driftd_processes import driftd
from loop_world import CONFIG, HOUR, MODEL, START, World, hour

pytestmark = pytest.mark.slow


def write_model(path: Path, hours: int, *, backwards: bool = False) -> Path:
    """A model of somebody's own making, fitted to the first hours; `backwards` it has learned nonsense."""
    frames, truths = zip(*map(hour, range(hours)), strict=True)
    encoder = (OneHotEncoder(handle_unknown="ignore"), ["c"])
    model = make_pipeline(make_column_transformer(encoder, remainder="passthrough"), LinearRegression())
    skops.io.dump(model.fit(pd.concat(frames), np.concatenate(truths) * (-1 if backwards else 1)), path)
    return path


def test_a_version_is_handed_in_judged_and_serves(tmp_path: Path) -> None:
    """The gate asks only that it is no worse; rows after its time judge it, and the lineage says where it is from."""
    world = World.begin(tmp_path, hours=72, config=CONFIG.replace("retrain: {on", "retrain: {refresh: off, on"))
    until = datetime.fromtimestamp(START + 48 * HOUR, UTC).isoformat()
    model = str(write_model(tmp_path / "model.skops", 48))
    asked = driftd(tmp_path, "submit", MODEL, model, "--trained-until", until, "--why", "own features", "--wait", "0")
    assert "asked (request" in asked.stdout, asked.stderr
    world.daemon.catch_up(world.clock.now())
    assert "promoted" in world.events
    registry = Registry(world.places)
    manifest = registry.manifest(MODEL, 2)
    assert registry.current(MODEL) == 2
    assert manifest.trainer.reference == "outside submitted"
    assert manifest.data["held_out_from"] >= START + 48 * HOUR
    assert manifest.data["outside"]["trained_until"] == START + 48 * HOUR
    assert "submits a version that was trained until" in manifest.reason
    bad = str(write_model(tmp_path / "bad.skops", 48, backwards=True))
    driftd(tmp_path, "submit", MODEL, bad, "--trained-until", until, "--wait", "0")
    (tmp_path / "odd.skops").write_bytes(b"no model at all")
    world.daemon.catch_up(world.clock.now())
    assert "challenger_rejected" in world.events
    driftd(tmp_path, "submit", MODEL, str(tmp_path / "odd.skops"), "--trained-until", until, "--wait", "0")
    world.daemon.catch_up(world.clock.now())
    failed = next(line for line in world.daemon.assembly.store.history(MODEL, 5) if line.event == "build_failed")
    assert "is no artefact that this driftd can read" in failed.reason
    assert world.daemon.models[MODEL].state.want is None
    assert registry.current(MODEL) == 2
    world.close()

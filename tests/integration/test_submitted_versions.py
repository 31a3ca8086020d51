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
from outside_world import skops_file

pytestmark = pytest.mark.slow


def write_model(path: Path, hours: int, *, backwards: bool = False) -> Path:
    """A model of somebody's own making, fitted to the first hours; `backwards` it has learned nonsense."""
    frames, truths = zip(*map(hour, range(hours)), strict=True)
    encoder = (OneHotEncoder(handle_unknown="ignore"), ["c"])
    model = make_pipeline(make_column_transformer(encoder, remainder="passthrough"), LinearRegression())
    skops.io.dump(model.fit(pd.concat(frames), np.concatenate(truths) * (-1 if backwards else 1)), path)
    return path


def hand_in(world: World, file: Path, until: float) -> None:
    """The command, and what the daemon makes of it."""
    time = datetime.fromtimestamp(until, UTC).isoformat()
    why = ("--why", "own features", "--wait", "0")
    asked = driftd(world.folder, "submit", MODEL, str(file), "--trained-until", time, *why)
    assert "asked (request" in asked.stdout, asked.stderr
    world.daemon.catch_up(world.clock.now())


def test_a_version_is_handed_in_judged_and_serves(tmp_path: Path) -> None:
    """Rows after its time judge it, and it need only be no worse; what is worse, or no model, is refused."""
    world = World.begin(tmp_path, hours=72, config=CONFIG.replace("retrain: {on", "retrain: {refresh: off, on"))
    world.live(6)
    until, registry = START + 72 * HOUR, Registry(world.places)
    hand_in(world, write_model(tmp_path / "bad.skops", 48, backwards=True), until)
    assert "challenger_rejected" in world.events
    (tmp_path / "odd.skops").write_bytes(b"no model at all")
    refused = driftd(world.folder, "submit", MODEL, str(tmp_path / "odd.skops"), "--why", "own features")
    assert "odd.skops is no file of skops" in refused.stderr
    (tmp_path / "odd.skops").write_bytes(skops_file())
    hand_in(world, tmp_path / "odd.skops", until)
    failed = next(line for line in world.daemon.assembly.store.history(MODEL, 5) if line.event == "build_failed")
    assert "is no artefact that this driftd can read" in failed.reason
    assert world.daemon.models[MODEL].state.want is None
    assert registry.current(MODEL) == 1
    hand_in(world, write_model(tmp_path / "model.skops", 72), until)
    assert "promoted" in world.events
    serves = registry.current(MODEL)
    assert serves is not None
    manifest = registry.manifest(MODEL, serves)
    assert manifest.trainer.reference == "outside submitted"
    assert manifest.data["held_out_from"] > until
    assert manifest.data["outside"]["trained_until"] == until
    assert "submits a version that was trained until" in manifest.reason
    world.close()

"""Segments and attribution in the whole loop, over the store and on record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loop_world import CONFIG, MODEL, World

pytestmark = pytest.mark.slow


def noisy_blue(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Blue rows become harder to predict, the others stay."""
    off = np.random.default_rng(len(frame)).normal(0, 0.9, len(frame))
    return frame, truth + np.where(frame["c"] == "blue", off, 0.0)


def test_an_alarm_names_the_segment_and_says_where_the_loss_comes_from(tmp_path: Path) -> None:
    """Blue rows become harder: the alarm names c = blue, calls it concept, and the evidence outlives a restart."""
    config = CONFIG.replace("    retrain:", "    detect: {{segments: [c]}}\n    retrain:")
    world = World.begin(tmp_path, hours=72, config=config)
    world.live(1)
    assert world.daemon.models[MODEL].evidence.current.segment_columns == ("c",)
    world.live(30, noisy_blue, until=lambda world: "alarm" in world.events)
    alarm = next(alarm for alarm in world.daemon.assembly.store.alarms(MODEL) if alarm.kind == "performance")
    assert "c = blue" in alarm.sentence
    told = world.daemon.assembly.store.decision_of_alarm(alarm.id)
    assert told is not None
    assert told.decision_figures.parts is not None
    assert "Of the rise of mae by" in told.decision_figures.parts.figures
    assert "most where c = blue" in told.decision_figures.parts.figures
    assert "c = blue" in dict(alarm.leaders)
    seen = world.daemon.models[MODEL].evidence.current.segments
    world.close()
    world.reopen()
    world.live(0)
    world.daemon.watch(world.clock.now())
    again = world.daemon.models[MODEL].evidence.current.segments
    assert seen is not None
    assert again is not None
    assert again.alarmed == seen.alarmed
    assert list(again.parts) == list(seen.parts)
    world.close()

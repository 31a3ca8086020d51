"""Refreshes on the real loop: fresh versions from all rows, judged by siblings, watched until the next."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.events import Event
from driftd.paths import Places
from driftd.records import Phase
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.store.state.records import StoredTransition
from driftd.training.siblings import load_generations
from driftd.training.snapshots import read_snapshot
from driftd_detectors.reference import Reference
from fault_counts import daemon, events_of, open_kinds
from limits import time_limit, wait
from loop_world import CONFIG, MODEL, ROWS, World
from row_windows import CONFIG as ROW_CONFIG
from row_windows import first_version, live

pytestmark = pytest.mark.slow

# Storm control holds back what comes within hours: these tests want each refresh that is due.
EVERY_THREE = "refresh: {{rows: 2%, every: 3 windows}}, cooldown: 1m, budget: {{builds: 99, per: 1d}}"
REFRESHED = CONFIG.replace("on: [performance], cooldown: 1h", f"on: [performance, refresh], {EVERY_THREE}").replace(
    "max_iter: 30", "max_iter: 10"
)


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round; the features themselves do not change."""
    return frame, truth - 5 * frame["a"].to_numpy()


def history(world: World) -> list[StoredTransition]:
    return list(reversed(world.daemon.assembly.store.history(MODEL, 1000)))


def promoted(world: World) -> list[int]:
    return [line.figures["version"] for line in history(world) if line.event == Event.PROMOTED]


def test_rows_that_have_grown_are_refreshed_again_and_again_during_probation(tmp_path: Path) -> None:
    """Each three windows a version from all rows serves, without hold-out, judged by siblings that never saw the rows.

    What it promises is the loss of its siblings on unseen rows; its probation lasts until the next refresh.
    """
    world = World.begin(tmp_path, hours=60, config=REFRESHED)
    world.live(11)
    versions = promoted(world)
    assert len(versions) >= 2
    state, store = world.daemon.models[MODEL].state, world.daemon.assembly.store
    assert state.phase is Phase.PROBATION
    assert state.probation is not None
    assert state.probation.until_refresh
    assert not {"confirmed", "alarm", "build_failed"} & set(world.events)
    said = [line.reason for line in history(world) if line.event == Event.PROMOTED]
    assert "no older version is surely better" in said[0]
    registry = world.daemon.assembly.registry
    losses = [check.figures["loss"] for check in store.checks(MODEL, 1000, "labels") if "loss" in check.figures]
    for generation in load_generations(world.places, MODEL, 1000, allow_joblib=False):
        manifest = registry.manifest(MODEL, generation.number)
        rows = read_snapshot(world.places, MODEL, manifest.snapshot)
        trained = int(manifest.data["training_rows"])
        assert manifest.trigger == "refresh"
        assert {"all", "recent", "half_life"} <= set(generation.recipes)
        assert len(rows.at) - trained <= 2 * ROWS  # those of the windows whose labels are still coming
        assert rows.at[trained - 1] < generation.seen_until <= manifest.created_at
        stored = registry.file(MODEL, generation.number, "reference.bin").read_bytes()
        reference = Reference.from_bytes(stored)
        assert reference.losses["mae"].rows < trained
        assert reference.losses["mae"].mean == pytest.approx(float(np.mean(losses)), rel=0.2)
    world.close()


def test_an_alarm_brings_refreshes_forward(tmp_path: Path) -> None:
    """After a change the real detector's alarm starts a refresh before one is due, and two more follow it."""
    slow = REFRESHED.replace("rows: 2%, every: 3 windows", "rows: 500%, every: 50 windows")
    world = World.begin(tmp_path, hours=60, config=slow)
    world.live(3)
    assert "build_started" not in world.events
    world.live(11, concept)
    begun = [line for line in history(world) if line.event == Event.BUILD_STARTED]
    alarm = next(line for line in history(world) if line.event == Event.ALARM and line.figures["kind"] == "performance")
    assert len(begun) >= 3
    assert {line.figures["trigger"] for line in begun} == {"performance"}
    assert begun[0].figures["alarm"] == alarm.figures["alarm"]
    assert begun[0].at - alarm.at < 3600
    assert begun[1].at - begun[0].at == pytest.approx(4 * 3600, abs=3600)
    assert begun[2].at - begun[0].at == pytest.approx(7 * 3600, abs=3600)
    recipes = [generation.recipes for generation in load_generations(world.places, MODEL, 1000, allow_joblib=False)]
    assert any("since_change" in names for names in recipes)
    losses = [
        check.figures["loss"]
        for check in reversed(world.daemon.assembly.store.checks(MODEL, 1000, "labels"))
        if "loss" in check.figures
    ]
    assert losses[-1] < 0.5 * max(losses)
    world.close()


def test_the_cautious_rule_serves_only_what_is_surely_better(tmp_path: Path) -> None:
    """With `promote.serve: surely_better` nothing is swapped in a world that does not change, and it says why."""
    config = REFRESHED + "    promote: {{serve: surely_better}}\n"
    world = World.begin(tmp_path, hours=60, config=config)
    world.live(4)
    assert "promoted" not in world.events
    kept = [line for line in history(world) if line.event == Event.CHAMPION_KEPT]
    assert kept
    assert "is not surely better (promote.serve is surely_better)" in kept[0].reason
    assert world.daemon.models[MODEL].state.champion == 1
    world.close()


def test_a_daemon_that_is_killed_in_a_refresh_comes_back_to_the_right_place(tmp_path: Path) -> None:
    """`kill -9` while a refresh is at work: after the restart it is made once, and its version serves."""
    path, places = tmp_path / "config.yaml", Places(tmp_path / "state")
    text = ROW_CONFIG.replace(
        "on: [performance]", "on: [performance, refresh], refresh: {{rows: 2%, every: 3 windows}}"
    )
    path.write_text(text.format(state=places.root))
    first_version(path, places)
    with Driftd(places.root, MODEL) as application:
        for number in range(120, 126):
            live(application, number)
    for _ in range(2):
        with daemon(path) as process:
            wait(lambda: "refresh" in open_kinds(places, MODEL), "a refresh is under way")
            time.sleep(0.7)
            process.kill()
    with daemon(path) as process:
        wait(lambda: "promoted" in events_of(places, MODEL), "promoted")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=time_limit(8)) == 0
    events = events_of(places, MODEL)
    assert events.count("build_started") == 1
    assert "build_failed" not in events
    assert Registry(places).current(MODEL) == 2
    assert {path.name for path in places.siblings(MODEL).iterdir()} == {"2"}

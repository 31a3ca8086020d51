"""The whole loop on a virtual clock: real stores, real children, real versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.events import Event
from driftd.records import Phase
from driftd.store.state.request_queue import post_request
from driftd.training.snapshots import read_snapshot
from loop_world import HOUR, MODEL, World

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    begun = World.begin(tmp_path)
    yield begun
    begun.close()


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round; the features themselves do not change."""
    return frame, truth - 5 * frame["a"].to_numpy()


def covariates(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """A feature that the target does not depend on moves; the model is as good as ever."""
    return frame.assign(b=frame["b"] + 0.6), truth


def broken(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The feed loses a column."""
    return frame.drop(columns="a"), truth


def test_nothing_happens_where_nothing_changes(world: World) -> None:
    """Forty clean windows: no alarm, no build, and every window was checked once and found ok."""
    world.live(40)
    assert world.events == ["adopted"]
    checks = world.daemon.assembly.store.checks(MODEL, 1000, "window")
    assert len(checks) == 40
    assert {check.verdict for check in checks} <= {"ok", "suspected"}
    assert len({check.window_index for check in checks}) == 40


def test_a_harmful_change_is_seen_rebuilt_judged_swapped_and_confirmed(world: World) -> None:
    """When the concept changes, the loop closes by itself, and the new version is much better on what follows."""
    world.live(6)
    world.live(30, concept, until=lambda item: "confirmed" in item.events)
    events = world.events
    for item in ("alarm", "build_started", "swap_started", "promoted", "confirmed"):
        assert item in events, events
    assert events.index("alarm") < events.index("build_started") < events.index("promoted") < events.index("confirmed")
    store = world.daemon.assembly.store
    reasons = {line.event: line.reason for line in store.history(MODEL, 1000)}
    assert "Mean absolute error" in reasons["build_started"]
    decided = {line.event: line for line in store.history(MODEL, 1000)}
    alarm, start = decided[Event.ALARM], decided[Event.BUILD_STARTED]
    assert start.decision_figures.alarm == alarm.decision_figures.alarm is not None
    assert world.daemon.models[MODEL].state.champion == world.daemon.assembly.registry.current(MODEL) != 1
    losses = [
        check.figures["loss"] for check in reversed(store.checks(MODEL, 1000, "labels")) if "loss" in check.figures
    ]
    assert losses[-1] < 0.5 * max(losses)


def test_drift_without_harm_informs_and_does_not_build(world: World) -> None:
    """A moved feature that does no harm raises one data alarm that names it, and no build."""
    world.live(20, covariates)
    assert "alarm" in world.events
    assert "build_started" not in world.events
    (alarm,) = [item for item in world.daemon.assembly.store.alarms(MODEL) if item.kind == "data"]
    assert alarm.subject == "b"
    assert alarm.report is not None
    assert Path(alarm.report).is_file()


def test_a_broken_feed_blocks_builds_until_it_is_mended(world: World) -> None:
    """A vanished column is a quality fault in one window; a build asked for meanwhile waits until the feed is whole."""
    world.live(3)
    world.live(2, broken)
    assert "quality_fault" in world.events
    state = world.daemon.models[MODEL].state
    assert state.blocked is not None
    assert "a" in state.blocked
    post_request(
        world.places.state_db,
        at=world.clock.now(),
        who="ada",
        model=MODEL,
        kind="retrain",
        arguments={"text": "please"},
    )
    world.live(1, broken)
    assert "build_started" not in world.events
    assert "the pipeline is broken" in (world.daemon.models[MODEL].state.waits or "")
    world.live(3)
    assert world.events.index("quality_restored") < world.events.index("build_started")


def test_an_outage_of_a_feed_is_no_evidence_and_hides_nothing(tmp_path: Path) -> None:
    """A column that is gone for four hours raises no alarm of performance; a change afterwards is found at once."""
    world = World.begin(tmp_path, hours=80)
    world.live(2)
    world.live(4, broken)
    world.live(4)
    store = world.daemon.assembly.store
    assert {alarm.kind for alarm in store.alarms(MODEL)} == {"quality"}
    assert world.events == ["adopted", "quality_fault", "alarm", "quality_restored"]
    labels = list(reversed(store.checks(MODEL, 1000, "labels")))
    assert ["loss" in check.figures for check in labels] == [True] * 2 + [False] * 4 + [True] * 4
    world.live(16, concept, until=lambda item: "promoted" in item.events)
    alarm = next(alarm for alarm in store.alarms(MODEL) if alarm.kind == "performance")
    first = labels[0].window_index + 10
    assert first <= alarm.window_index <= first + 2
    assert "promoted" in world.events
    version = world.daemon.models[MODEL].state.champion
    assert version is not None
    manifest = world.daemon.assembly.registry.manifest(MODEL, version)
    at = read_snapshot(world.places, MODEL, manifest.snapshot).at
    outage = world.start + 82 * HOUR
    assert not ((at >= outage) & (at < outage + 4 * HOUR)).any()
    world.close()


def test_an_alarm_is_acknowledged_by_a_command_and_acted_on_afterwards(world: World) -> None:
    """Nothing is built for an alarm that a person acknowledged, until the time that they gave."""
    world.live(4)
    path = world.folder / "config.yaml"
    before = path.read_text()
    path.write_text(f"{before}override: {{reason: INC-1, pause: [retraining]}}\n")
    assert world.daemon.reload(world.clock.now()) is None
    world.live(4, concept, until=lambda item: bool(item.daemon.models[MODEL].state.open_alarms))
    (alarm,) = world.daemon.models[MODEL].state.open_alarms
    arguments = {"alarm": alarm.number, "until": world.clock.now() + 3 * HOUR, "text": "known"}
    post_request(
        world.places.state_db, at=world.clock.now(), who="ada", model=MODEL, kind="acknowledge", arguments=arguments
    )
    path.write_text(before)
    assert world.daemon.reload(world.clock.now()) is None
    world.live(2, concept)
    assert "alarm_acknowledged" in world.events
    assert "build_started" not in world.events
    world.live(3, concept, until=lambda item: "build_started" in item.events)
    assert "build_started" in world.events


def test_a_day_of_downtime_is_caught_up_in_order(world: World) -> None:
    """Windows that went by while the daemon was down are checked at the next start, each once, oldest first."""
    world.live(2)
    world.close()
    down = world.daemon
    world.daemon = type("Asleep", (), {"catch_up": lambda self, now: None})()  # type: ignore[assignment]
    world.live(24)
    world.daemon = down
    world.reopen()
    world.daemon.catch_up(world.clock.now())
    checks = [check.window_index for check in reversed(world.daemon.assembly.store.checks(MODEL, 1000, "window"))]
    assert checks == list(range(checks[0], checks[0] + 26))


def test_one_models_failure_never_touches_another(world: World) -> None:
    """A second model without a version is told as such, and the first one is watched as ever."""
    path = world.folder / "config.yaml"
    path.write_text(path.read_text() + "  orphan: {task: regression, target: y}\n")
    assert world.daemon.reload(world.clock.now()) is None
    world.live(2)
    assert "no version yet" in world.daemon.obstacles["orphan"]
    assert world.phase == Phase.STEADY
    assert len(world.daemon.assembly.store.checks(MODEL, 10, "window")) == 2

"""`driftd backtest`: the replay of a recorded history says what the daemon said, and what another config would have."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.cli.backtest import _beginner
from driftd.cli.main import main
from driftd.loop.backtest import Era, Replay, eras_of, lateness_of, windows_of
from driftd.sources import open_source
from driftd.store.state.reader import StateReader
from loop_world import CONFIG, MODEL, World
from notify_samples import decision

pytestmark = pytest.mark.slow

WATCHED = CONFIG.replace("retrain: {{cooldown: 1h}}", "retrain: {{on: []}}")
Run = Callable[..., tuple[int, str, str]]


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    return frame, truth + 2.5 * (frame["b"].to_numpy() > 0)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world that was as trained for some hours, then changed until the daemon raised its alarm."""
    world = World.begin(tmp_path_factory.mktemp("lived"), config=WATCHED)
    world.live(8)
    world.live(12, concept, until=lambda one: "alarm" in one.events)
    world.close()
    return world


@pytest.fixture
def driftd(lived: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["driftd", "backtest", *arguments])
        monkeypatch.setenv("DRIFTD_CONFIG", str(lived.folder / "config.yaml"))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_the_replay_says_what_the_daemon_said(lived: World) -> None:
    """Window by window the same verdict and the very same evidence, and the same alarm in the same window."""
    assembly = lived.daemon.assembly
    config, now = assembly.config.models[MODEL], lived.clock.now()
    manifest = assembly.registry.manifest(MODEL, 1)
    source = open_source(MODEL, config, manifest.schema, lived.places)
    replay = Replay(source, [Era(1, 0.0)], _beginner(assembly.registry, MODEL, config), lateness_of(config))
    looks = list(replay.run(windows_of(config, source, manifest.data["last_at"], now), now))
    source.close()
    with StateReader.read_only(lived.places.state_db) as reader:
        checks = {(one.kind, one.window_index): one for one in reader.checks(MODEL, 1000)}
        alarms = [(one.kind, one.window_index) for one in reversed(reader.alarms(MODEL, 1000))]
    assert len(looks) == len(checks) >= 16
    for look in looks:
        recorded = checks[look.kind, look.window.index]
        assert look.assessment.verdict == recorded.verdict
        for kind in look.assessment.kinds:
            found = recorded.evidence[kind.kind]["evidence"]
            assert math.isclose(kind.evidence, found, rel_tol=1e-9), (look.kind, look.window.index, kind.kind)
    assert [(alarm.kind, look.window.index) for look in looks for alarm in look.alarms] == alarms


def test_the_command_tells_the_alarms_and_writes_nothing(driftd: Run, lived: World) -> None:
    """The alarm is told with its window and sentence, beside what the daemon recorded; no file changes."""
    before = {path: path.stat().st_mtime_ns for path in lived.places.root.rglob("*.db")}
    until = np.datetime_as_string(np.datetime64(int(lived.clock.now()), "s"), "s")
    code, out, complaint = driftd("--until", until)
    assert code == 0, complaint
    assert "performance" in out
    assert "1 alarm in" in out
    assert "the daemon itself raised 1 in these windows" in out
    assert {path: path.stat().st_mtime_ns for path in lived.places.root.rglob("*.db")} == before


def test_another_config_would_have_raised_other_alarms(driftd: Run, lived: World, tmp_path: Path) -> None:
    """A candidate that tolerates the loss raises none over the same windows."""
    config = (lived.folder / "config.yaml").read_text()
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(config.replace("    window:", "    detect: {performance: {tolerated_loss: 50}}\n    window:"))
    until = np.datetime_as_string(np.datetime64(int(lived.clock.now()), "s"), "s")
    code, out, complaint = driftd("--config", str(candidate), "--until", until, "--json")
    assert code == 0, complaint
    assert [one for one in json.loads(out)["alarms"] if one["kind"] == "performance"] == []
    code, out, _ = driftd("--until", until, "--json")
    assert [one["kind"] for one in json.loads(out)["alarms"]] == ["performance"]


def test_a_time_without_windows_is_told(driftd: Run) -> None:
    """Where there is nothing to replay the command ends with 4."""
    code, _, complaint = driftd("--until", "2001-01-01")
    assert code == 4
    assert "no complete window" in complaint


def test_the_versions_that_served_are_read_from_the_history() -> None:
    """Each swap begins an era: promotions, rollbacks and pins, but not a pin of what serves already."""
    history = [
        decision(1, "adopted", at=10.0, figures={"version": 1}),
        decision(2, "alarm", at=20.0, figures={"alarm": 1}),
        decision(3, "promoted", at=30.0, figures={"version": 2, "from": 1}),
        decision(4, "pinned", at=40.0, figures={"version": 2}),
        decision(5, "rolled_back", at=50.0, figures={"version": 1, "from": 2}),
    ]
    assert eras_of(reversed(history)) == [Era(1, 10.0), Era(2, 30.0), Era(1, 50.0)]

"""`driftd backtest`: the replay of a recorded history says what the daemon said, and what another config would have."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.cli.main import main
from driftd.config.load import load
from driftd.events import Event
from driftd.loop.backtest import Backtest, BacktestError, Era, eras_of
from driftd.paths import Places
from driftd.registry import Registry
from driftd.store.state.reader import StateReader
from driftd.store.state.records import StoredAlarm, StoredCheck
from loop_world import CONFIG, HOUR, MODEL, World, hour
from notify_samples import decision
from sql_tables import duckdb_database

pytestmark = pytest.mark.slow

WATCHED = CONFIG.replace("retrain: {{on: [performance], cooldown: 1h}}", "retrain: {{on: []}}")
Run = Callable[..., tuple[int, str, str]]


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    return frame, truth + 2.5 * (frame["b"].to_numpy() > 0)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world that was as trained for some hours, then changed until the daemon raised its alarm."""
    world = World.begin(tmp_path_factory.mktemp("lived"), config=WATCHED)
    world.live(8)
    world.live(12, concept, until=lambda item: Event.ALARM in item.events)
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


def backtested(world: World, scratch: Path, eras: list[Era]) -> tuple[list[StoredCheck], list[StoredAlarm]]:
    """Everything that the loop records over all windows of a world, as its daemon knew it."""
    config, now = load(world.folder / "config.yaml"), world.clock.now()
    with Backtest(config, world.folder / "config.yaml", world.places, MODEL, eras, scratch=scratch, now=now) as test:
        moments = list(test.run(test.windows(), now))
    checks = [check for moment in moments for check in moment.checks]
    return checks, [alarm for moment in moments for alarm in moment.alarms]


def test_the_backtest_says_what_the_daemon_said(lived: World, tmp_path: Path) -> None:
    """Window by window the same verdict and the very same evidence, and the same alarm in the same window."""
    checks, raised = backtested(lived, tmp_path, [Era(1, 0.0)])
    with StateReader.read_only(lived.places.state_db) as reader:
        recorded = {(item.kind, item.window_index): item for item in reader.checks(MODEL, 1000)}
        alarms = [(item.kind, item.window_index) for item in reversed(reader.alarms(MODEL, 1000))]
    assert len(checks) == len(recorded) >= 16
    for check in checks:
        then = recorded[check.kind, check.window_index]
        assert (check.verdict, check.reason) == (then.verdict, then.reason)
        assert check.evidence.keys() == then.evidence.keys()
        for kind, found in check.evidence.items():
            assert math.isclose(found.evidence, then.evidence[kind].evidence, rel_tol=1e-9), (check.id, kind)
    assert [(alarm.kind, alarm.window_index) for alarm in raised] == alarms


def test_each_window_is_held_against_the_version_that_served_then(lived: World, tmp_path: Path) -> None:
    """After a swap the evidence begins anew; windows that another version predicted say so instead of alarming."""
    registry, middle = Registry(lived.places), lived.start + 124 * HOUR
    twin = tmp_path / "twin"
    shutil.copytree(lived.places.root, twin / "state", symlinks=True)
    first = twin / "state" / "models" / MODEL / "versions" / "1"
    shutil.copytree(first, first.with_name("2"))
    manifest = first.with_name("2") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    (twin / "config.yaml").write_text((lived.folder / "config.yaml").read_text())
    world = World(twin, lived.clock, Places(twin / "state"), lived.daemon, lived.hours, lived.start)
    checks, _ = backtested(world, tmp_path / "scratch", [Era(1, 0.0), Era(2, middle)])
    windows = [check for check in checks if check.kind == "window"]
    assert {check.version for check in windows if check.at <= middle} == {1}
    later = [check for check in windows if check.at > middle]
    assert {check.version for check in later} == {2}
    assert all("another version" in check.reason for check in later)
    assert registry.current(MODEL) == 1


def state_of(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file and what it holds, but those that SQLite makes to read a database."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_the_command_tells_the_alarms_and_writes_nothing(driftd: Run, lived: World) -> None:
    """The alarm is told with its window and sentence, beside what the daemon recorded; no file changes."""
    before = state_of(lived.places.root)
    code, out, complaint = driftd()
    assert code == 0, complaint
    assert "performance" in out
    assert "1 alarm in" in out
    assert "the daemon itself raised 1 in these windows" in out
    windows = lived.hours - 120
    assert f"demand: {windows} windows" in out
    assert f"labels of {windows}\n" in out  # up to the newest event, though years have passed since
    assert state_of(lived.places.root) == before


def test_another_config_would_have_raised_other_alarms(driftd: Run, lived: World, tmp_path: Path) -> None:
    """A candidate that tolerates the loss raises none over the same windows."""
    config = (lived.folder / "config.yaml").read_text()
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(config.replace("    window:", "    detect: {performance: {tolerated_loss: 50}}\n    window:"))
    until = np.datetime_as_string(np.datetime64(int(lived.clock.now()), "s"), "s")
    code, out, complaint = driftd("--config", str(candidate), "--until", until, "--json")
    assert code == 0, complaint
    assert [item for item in json.loads(out)["alarms"] if item["kind"] == "performance"] == []
    code, out, _ = driftd("--until", until, "--json")
    assert [item["kind"] for item in json.loads(out)["alarms"]] == ["performance"]


def test_what_is_learned_of_log_files_stays_out_of_the_live_state(driftd: Run, lived: World, tmp_path: Path) -> None:
    """A source of files keeps a catalogue of them; that of a backtest is thrown away with it."""
    frames = []
    for number in range(120, 126):
        frame, truth = hour(number)
        at = lived.start + number * HOUR + np.arange(len(frame)) * HOUR / len(frame)
        frames.append(frame.assign(at=at, prediction=truth, y=truth, id=[f"{number}-{row}" for row in range(len(at))]))
    pd.concat(frames).to_csv(tmp_path / "log.csv", index=False)
    source = (
        f"    source: {{kind: files, path: {tmp_path / 'log.csv'}, format: csv, columns: {{label: y}}}}\n    window:"
    )
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text((lived.folder / "config.yaml").read_text().replace("    window:", source))
    before = state_of(lived.places.root)
    code, out, complaint = driftd("--config", str(candidate), "--json")
    assert code == 0, complaint
    assert sum(json.loads(out)["verdicts"].values()) == 6
    assert state_of(lived.places.root) == before


def test_a_time_without_windows_is_told(driftd: Run) -> None:
    """Where there is nothing to replay the command ends with 4."""
    code, _, complaint = driftd("--until", "2001-01-01")
    assert code == 4
    assert "no complete window" in complaint


def test_the_versions_that_served_are_read_from_the_history() -> None:
    """Each swap begins an era: promotions, rollbacks and pins, but not a pin of what serves already."""
    history = [
        decision(1, Event.ADOPTED, at=10.0, figures={"version": 1}),
        decision(2, Event.ALARM, at=20.0, figures={"alarm": 1}),
        decision(3, Event.PROMOTED, at=30.0, figures={"version": 2, "from": 1}),
        decision(4, Event.PINNED, at=40.0, figures={"version": 2}),
        decision(5, Event.ROLLED_BACK, at=50.0, figures={"version": 1, "from": 2}),
    ]
    assert eras_of(reversed(history)) == [Era(1, 10.0), Era(2, 30.0), Era(1, 50.0)]


def test_an_engine_that_refuses_ends_a_backtest(lived: World, tmp_path: Path) -> None:
    """Windows whose rows are refused would be taken for calm ones: the backtest says why it cannot go on."""
    database = duckdb_database(tmp_path / "events.duckdb")
    database.execute('create table predictions ("at" double, prediction double, a double, b double, c varchar)')
    begun = lived.start + 120 * HOUR
    rows = [[begun + number * HOUR / 4, 1.0, 0.0, 0.0, "red"] for number in range(40)]
    database.run("insert into predictions values (?, ?, ?, ?, ?)", rows)

    def windows_of(folder: str, **keys: object) -> int:
        source = {"kind": "sql", "url": database.url, "predictions": "predictions", **keys}
        path = tmp_path / f"{folder}.yaml"
        text = f"{WATCHED}    source: {json.dumps(source).replace('{', '{{').replace('}', '}}')}\n"
        path.write_text(text.format(state=lived.places.root))
        scratch, now = tmp_path / folder, begun + 20 * HOUR
        scratch.mkdir()
        with Backtest(load(path), path, lived.places, MODEL, [Era(1, 0.0)], scratch=scratch, now=now) as test:
            return len([moment for moment in test.run(test.windows(), now) if moment.window is not None])

    assert windows_of("whole") > 5
    with pytest.raises(BacktestError, match=r"gives no rows: .* more than source.most_rows \(10\)"):
        windows_of("dear", most_rows=10)
    with pytest.raises(BacktestError, match=r"gives no rows: .*nowhere"):
        windows_of("absent", predictions="nowhere")

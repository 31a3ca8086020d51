"""The operator's hand by config, on the whole loop: what is saved takes effect, and proves it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from driftd.records import ActionKind, Phase
from driftd.store.state.reader import StateReader
from driftd.store.state.request_queue import post_request
from limits import HANG, time_limit
from loop_world import MODEL, World

pytestmark = pytest.mark.slow

HOUR = 3600.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    begun = World.begin(tmp_path)
    yield begun
    begun.close()


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The meaning of a feature turns round."""
    return frame, truth - 5 * frame["a"].to_numpy()


def moved(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """A feature that the target does not depend on moves."""
    return frame.assign(b=frame["b"] + 0.6), truth


def override(world: World, text: str) -> str | None:
    """Save an override and have the daemon read it; an empty text lifts it."""
    path = world.folder / "config.yaml"
    bare = path.read_text().split("override:")[0]
    path.write_text(bare + (f"override: {{{text}}}\n" if text else ""))
    return world.daemon.reload(world.clock.now())


def at(world: World, hours: float) -> str:
    """A time so many hours from now, as a config writes it."""
    return datetime.fromtimestamp(world.clock.now() + hours * HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reasons(world: World) -> dict[str, str]:
    """The last reason of each event."""
    return {line.event: line.reason for line in reversed(world.daemon.assembly.store.history(MODEL, 1000))}


def test_a_silenced_feature_raises_no_alarm_until_its_time(world: World) -> None:
    """A feature that moved is scored but raises nothing while it is silent; afterwards the alarm comes and names it."""
    world.live(6)
    assert override(world, f'reason: "INC-7", silence: {{demand: {{b: {at(world, 15)}}}}}') is None
    world.live(14, moved)
    assert "alarm" not in world.events
    scores = world.daemon.assembly.store.scores(MODEL)
    assert any(score.subject == "b" and abs(score.value or 0) > 0.3 for score in scores)
    world.live(20, moved, until=lambda item: "alarm" in item.events)
    output = reasons(world)
    assert "b silent until" in output["override_began"]
    assert "was lifted" not in output["override_ended"] or "b silent" in output["override_ended"]
    assert "alarm" in world.events
    alarm = world.daemon.assembly.store.alarms(MODEL)[0]
    assert alarm.subject == "b"


def test_a_pause_of_retraining_stops_a_build_under_way_and_lets_it_go_on(world: World) -> None:
    """The child of a build is killed by the pause, the build stays at its step, and goes on once the pause ends."""
    world.live(6)
    assert override(world, 'reason: "INC-8", pause: [retraining]') is None
    world.live(12, concept)
    assert "alarm" in world.events
    assert "build_started" not in world.events
    assert "waits: retraining is paused by the override: INC-8" in world.daemon.models[MODEL].standing
    assert override(world, "") is None
    model = world.daemon.models[MODEL]
    end = time.monotonic() + HANG
    while not any(action.kind is ActionKind.TRAIN for action in model.store.open_actions(MODEL)):
        world.daemon.round(world.clock.now())
        assert time.monotonic() < end
        time.sleep(0.01)
    world.daemon.round(world.clock.now())
    assert override(world, 'reason: "INC-8", pause: [retraining]') is None
    world.daemon.catch_up(world.clock.now())
    assert not model.jobs
    assert world.phase == Phase.RETRAINING
    assert "retraining is paused by the override: INC-8" in world.daemon.models[MODEL].standing
    assert override(world, "") is None
    world.live(1, concept)
    assert "promoted" in world.events or "gate_inconclusive" in world.events


def test_what_a_pause_of_checks_held_is_checked_as_soon_as_it_ends(world: World) -> None:
    """When a pause is lifted, or its time has come, the windows that waited are checked at once, not after a rest."""
    world.live(1)
    assert override(world, "reason: INC-9, pause: [checks]") is None
    world.live(3)
    assert world.phase == Phase.PAUSED
    assert override(world, "") is None
    world.daemon.catch_up(world.clock.now())
    assert len(world.daemon.assembly.store.checks(MODEL, 1000, "window")) == 4
    assert override(world, f"reason: INC-9, pause: [checks], expires: {at(world, 2.5)}") is None
    world.live(3)
    assert world.phase == Phase.STEADY
    assert len(world.daemon.assembly.store.checks(MODEL, 1000, "window")) == 7


def test_a_pin_to_a_broken_version_is_refused_and_the_champion_serves_on(world: World) -> None:
    """The pin names a version whose artefact was tampered with: nothing is swapped, and the refusal says why."""
    world.live(2)
    folder = world.places.version(MODEL, 1)
    broken = world.places.version(MODEL, 2)
    subprocess.run(["cp", "-r", folder, broken], check=True)
    manifest = broken / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    artefact = broken / "model.skops"
    artefact.chmod(0o644)
    artefact.write_bytes(artefact.read_bytes()[:-1] + b"x")
    assert override(world, 'reason: "INC-9", pin: {demand: 2}') is None
    world.daemon.catch_up(world.clock.now())
    world.daemon.round(world.clock.now())
    state = world.daemon.models[MODEL].state
    assert state.champion == 1 == world.daemon.assembly.registry.current(MODEL)
    assert "pin_refused" in world.events
    assert "version 2 cannot be served" in (state.pin_refused or "")
    assert "SHA-256" in (state.pin_refused or "")


CONFIG = """\
state_dir: {state}
http: {{listen: "127.0.0.1:0"}}
models:
  demand: {{task: regression, target: y, window: {{every: 1h}}}}
"""


def by_rename(path: Path, text: str) -> None:
    """As vim does."""
    beside = path.with_name(".config.yaml.swp")
    beside.write_text(text)
    beside.replace(path)


def by_writing_over(path: Path, text: str) -> None:
    """As nano does, and slowly."""
    with path.open("w") as file:
        for part in (text[:20], text[20:]):
            file.write(part)
            file.flush()
            time.sleep(0.2)


def by_swapping_links(path: Path, text: str) -> None:
    """As Kubernetes does with a ConfigMap."""
    folder = path.with_name(f"..{time.time_ns()}")
    folder.mkdir()
    (folder / "config.yaml").write_text(text)
    link = path.with_name("..data_tmp")
    link.symlink_to(folder)
    link.replace(path.with_name("..data"))
    if not path.is_symlink():
        path.unlink()
        path.symlink_to("..data/config.yaml")


def test_saving_the_file_is_enough_and_is_proved(tmp_path: Path) -> None:
    """Each way of saving takes effect within seconds, without a signal: in metrics, log, `status` and history."""
    world = World.begin(tmp_path, hours=30)
    world.close()
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    roots = os.pathsep.join(item for item in sys.path if item)
    environment = {**os.environ, "PYTHONPATH": roots}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "driftd.cli.main", "run", "--config", str(path)], env=environment, stderr=subprocess.PIPE
    )
    assert daemon.stderr is not None
    try:
        port = next(found[1] for line in daemon.stderr if (found := re.search(rb"127\.0\.0\.1:(\d+)", line)))
        url = f"http://127.0.0.1:{port.decode()}"
        _until(lambda: httpx.get(f"{url}/-/ready").status_code == 200)
        good = path.read_text()
        for number, save in enumerate((by_rename, by_writing_over, by_swapping_links), 1):
            save(path, f'{good}override: {{reason: "INC-{number}", pause: [checks]}}\n')
            _until(lambda: 'driftd_phase{model="demand",phase="paused"} 1.0' in httpx.get(f"{url}/metrics").text)
            status = _driftd("status", path, environment)
            assert f"override in force: pause ['checks']: INC-{number}" in status
            assert "is in force since" in status
            save(path, f"{good}nonsense: {number}\n")
            _until(lambda: "driftd_config_last_reload_successful 0.0" in httpx.get(f"{url}/metrics").text)
            assert "was REFUSED" in _driftd("status", path, environment)
            assert 'phase="paused"} 1.0' in httpx.get(f"{url}/metrics").text
            save(path, good)
            _until(lambda: 'driftd_phase{model="demand",phase="steady"} 1.0' in httpx.get(f"{url}/metrics").text)
        with StateReader.read_only(tmp_path / "state" / "state.db") as reader:
            output = [line.reason for line in reader.history("demand") if line.event == "override_began"]
        assert output == [f"the override holds: checks paused (INC-{number})" for number in (3, 2, 1)]
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=time_limit(10)) == 0
        log = daemon.stderr.read().decode()
        assert log.count('"event": "config_applied"') == 6
        assert log.count('"event": "config_refused"') == 3
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()


def _driftd(command: str, path: Path, environment: dict[str, str]) -> str:
    output = [sys.executable, "-m", "driftd.cli.main", command, "--config", str(path)]
    return subprocess.run(output, env=environment, capture_output=True, text=True, check=True).stdout


def _until(holds: object, seconds: float = HANG) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def test_the_orders_of_people_hold_a_model_on_the_whole_loop(world: World) -> None:
    """A pause holds the next window, a silence its feature; a restart keeps both, and `resume` lets the model go on."""
    database = world.places.state_db
    ask = partial(post_request, database, who="ada", model=MODEL)
    until = world.clock.now() + 100 * HOUR
    world.live(2)
    checked = len(world.daemon.assembly.store.checks(MODEL, 1000, "window"))
    ask(at=world.clock.now(), kind="pause", arguments={"what": ["checks"], "until": until, "text": "INC-3"})
    ask(at=world.clock.now(), kind="silence", arguments={"feature": "b", "until": until, "text": "campaign"})
    world.live(2, moved)
    assert world.phase == Phase.PAUSED
    assert len(world.daemon.assembly.store.checks(MODEL, 1000, "window")) == checked
    world.daemon.close()
    world.reopen()
    world.live(1, moved)
    assert world.phase == Phase.PAUSED
    ask(at=world.clock.now(), kind="resume", arguments={"what": ["checks"], "text": "INC-3 is over"})
    world.live(12, moved)
    assert len(world.daemon.assembly.store.checks(MODEL, 1000, "window")) > checked + 12
    assert "alarm" not in world.events
    metrics = world.daemon.assembly.metrics.expose("")[0].decode()
    assert f'driftd_model_orders{{model="{MODEL}",kind="silence"}} 1' in metrics
    said = [line.reason for line in world.daemon.assembly.store.history(MODEL, 100) if line.actor == "ada"]
    assert any("ada orders: checks paused until" in reason for reason in said)
    assert any("ada ends what was ordered: checks paused" in reason for reason in said)


def test_the_override_of_one_model_pauses_that_one_alone(world: World) -> None:
    """`override.models` pauses with a reason and an end of its own, and lets go by itself."""
    world.live(2)
    checked = len(world.daemon.assembly.store.checks(MODEL, 1000, "window"))
    own = f"models: {{{MODEL}: {{pause: [checks], reason: INC-5, expires: {at(world, 3.5)}}}}}"
    assert override(world, own) is None
    world.live(2)
    assert world.phase == Phase.PAUSED
    assert 'driftd_override_active{kind="pause_checks"} 1' in world.daemon.assembly.metrics.expose("")[0].decode()
    world.live(3)
    assert world.phase == Phase.STEADY
    assert len(world.daemon.assembly.store.checks(MODEL, 1000, "window")) > checked + 4
    assert "expired at" in reasons(world)["override_ended"]

"""From a broken database back to work: refused at the start, restored from the backup, reconciled, going on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import driftd_processes
from driftd.loop.integrity import require_whole_state
from driftd.loop.maintenance import back_up, backup_plan
from driftd.observe.metrics import Metrics
from driftd.serving.client import Driftd
from driftd.store.backups import list_backups, make_backup
from driftd.store.events.writer import EventsNotKeptError
from driftd.store.integrity import DamagedError, damage_marked, examine
from driftd.store.ownership import hold_lock
from driftd.store.restore import restore_state
from limits import HANG
from loop_world import HOUR, MODEL, START, World

pytestmark = pytest.mark.slow


def driftd(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the world's config; the daemon as a process."""
    arguments = (*arguments, "--config", str(world.folder / "config.yaml"))
    if arguments[0] != "run":
        return driftd_processes.driftd(world.folder, *arguments)
    command = [sys.executable, "-m", "driftd.cli.main", *arguments]
    environment = driftd_processes.environment()
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=HANG)


def rubbish(path: Path, page: int = 2, pages: int = 3) -> None:
    """Overwrite some pages, as a dying disk does."""
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(os.urandom(4096 * pages))


def backed_up(world: World) -> str:
    """The backup that housekeeping makes."""
    assembly = world.daemon.assembly
    path = world.folder / "config.yaml"
    made = back_up(assembly.config, path, world.places, Metrics(), world.clock.now())
    assert made is not None
    return made.name


def reopened(world: World) -> None:
    world.daemon = World.open(world.folder / "config.yaml", world.places)


def concept(frame: pd.DataFrame, truth: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The world changes its mind: what meant much now means little."""
    return frame, truth - 5 * frame["a"].to_numpy()


def test_a_broken_state_is_refused_and_restored(tmp_path: Path) -> None:
    """A start on rubbish ends with 6 and the way out; after `driftd restore` the daemon checks again and goes on."""
    world = World.begin(tmp_path)
    world.live(5)
    name = backed_up(world)
    world.live(3)
    checked = world.daemon.assembly.store.cursor(MODEL, "window")
    world.close()
    rubbish(world.places.state_db)
    broken = world.places.state_db.read_bytes()

    refused = driftd(world, "run")
    assert refused.returncode == 6
    assert "is damaged" in refused.stderr
    assert f"driftd restore --config {world.folder / 'config.yaml'}" in refused.stderr
    kept = list(world.places.root.glob("state.db.broken-*Z"))
    assert [item.read_bytes() for item in kept] == [broken]
    assert driftd(world, "run").returncode == 6
    assert list(world.places.root.glob("state.db.broken-*Z")) == kept

    listed = json.loads(driftd(world, "restore", "--list", "--json").stdout)
    assert [item["name"] for item in listed] == [name]
    done = driftd(world, "restore")
    assert done.returncode == 0, done.stderr
    assert f"restored from {name}" in done.stdout
    assert [item.read_bytes() for item in world.places.root.glob("state.db.before-restore-*Z")] == [broken]

    reopened(world)
    require_whole_state(world.daemon.assembly.config, world.folder / "config.yaml", world.places)
    store = world.daemon.assembly.store
    before = store.cursor(MODEL, "window")
    assert before is not None
    assert checked is not None
    assert before < checked
    world.daemon.catch_up(world.clock.now())
    assert store.cursor(MODEL, "window") == checked
    assert world.events[-1] == "restored"
    world.live(2)
    assert store.cursor(MODEL, "window") == checked + 2
    world.close()


def test_what_was_promoted_after_the_backup_goes_on_serving(tmp_path: Path) -> None:
    """The restored state takes up the later version that serves; numbers are not used again; nothing is deleted."""
    world = World.begin(tmp_path)
    world.live(6)
    backed_up(world)
    world.live(30, concept, until=lambda item: "promoted" in item.events)
    assert "promoted" in world.events
    registry = world.daemon.assembly.registry
    versions, served = registry.versions(MODEL), registry.current(MODEL)
    assert served == versions[-1] == 2
    digests = {version: registry.manifest(MODEL, version).files for version in versions}
    world.close()
    rubbish(world.places.state_db)
    done = driftd(world, "restore")
    assert done.returncode == 0, done.stderr
    assert list(world.places.root.glob("jobs.before-restore-*/demand-*"))

    reopened(world)
    world.daemon.catch_up(world.clock.now())
    state = world.daemon.models[MODEL].state
    assert (state.champion, registry.current(MODEL)) == (2, 2)
    assert world.events[1] == "restored"
    assert {version: registry.manifest(MODEL, version).files for version in versions} == digests
    assert world.daemon.models[MODEL]._facts(world.clock.now()).next_version == 3
    assert (state.phase, state.previous) == ("probation", 1)
    world.live(1, concept)
    assert registry.current(MODEL) == 2
    world.close()


def test_a_running_daemon_is_not_restored_under(tmp_path: Path) -> None:
    """While a daemon owns the state directory `driftd restore` refuses, and so does a second daemon."""
    world = World.begin(tmp_path)
    world.live(1)
    backed_up(world)
    with hold_lock(world.places.lock, "driftd run"):
        refused = driftd(world, "restore")
        assert refused.returncode == 1
        assert f"in use by driftd run (process {os.getpid()})" in refused.stderr
        second = driftd(world, "run")
        assert second.returncode == 1
        assert "one daemon at a time" in second.stderr
    world.close()


def test_a_missing_state_with_backups_is_no_first_start(tmp_path: Path) -> None:
    """A state database that is gone is not silently begun anew while backups of it exist."""
    world = World.begin(tmp_path)
    world.live(1)
    backed_up(world)
    world.close()
    for path in world.places.root.glob("state.db*"):
        path.unlink()
    refused = driftd(world, "run")
    assert refused.returncode == 6
    assert "the file is gone, though backups of it exist" in refused.stderr
    assert driftd(world, "restore").returncode == 0
    reopened(world)
    world.daemon.catch_up(world.clock.now())
    assert world.daemon.models[MODEL].state.champion == 1
    world.close()


def test_a_bad_backup_is_passed_over(tmp_path: Path) -> None:
    """The newest backup that can be read whole is restored, and why a newer one was not is said."""
    world = World.begin(tmp_path)
    world.live(1)
    good = backed_up(world)
    world.clock.advance_to(world.clock.now() + 2 * 86_400)
    bad = backed_up(world)
    world.close()
    rubbish(world.places.backups / bad / "state.db")
    done = driftd(world, "restore")
    assert done.returncode == 0, done.stderr
    assert f"{bad} cannot be used: state.db is not what was backed up" in done.stdout
    assert f"restored from {good}" in done.stdout
    assert driftd(world, "restore", "--backup", bad).returncode == 1
    assert driftd(world, "restore", "--backup", "nonsense").returncode == 4


def test_killed_in_the_middle_of_a_restore(tmp_path: Path) -> None:
    """Killed at any rename, the next start finds the old database, none, or the new one; and a restore ends it well."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    world = World.begin(tmp_path)
    world.live(1)
    backed_up(world)
    world.close()
    path = world.places.state_db
    whole = path.read_bytes()
    roots = os.pathsep.join(item for item in sys.path if item)
    for number in range(1, 5):
        path.write_bytes(whole)
        rubbish(path)
        path.with_name("state.db-wal").write_bytes(b"an old log" * 100)
        inject = f"inject=rename:signal=KILL:when={number}"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e", inject]
        command += [sys.executable, "-m", "driftd.cli.main", "restore", "-c", str(world.folder / "config.yaml")]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": roots}, check=False, capture_output=True, timeout=HANG)
        has_log = path.with_name("state.db-wal").exists()
        if path.exists() and examine(path, seconds=5.0) is None:
            assert not has_log  # the new one, without the old one's log
        done = driftd(world, "restore")
        assert done.returncode == 0, done.stderr
        assert examine(path, seconds=5.0) is None
        with sqlite3.connect(path) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_damage_found_at_work_ends_the_daemon(tmp_path: Path) -> None:
    """A state database that breaks under the daemon ends it with the sentence; the next start refuses by the mark."""
    world = World.begin(tmp_path)
    world.live(2)
    store = world.daemon.assembly.store
    store._db.execute("pragma wal_checkpoint(truncate)")
    store._db.execute("pragma cache_size = 1")
    rubbish(world.places.state_db, page=1, pages=40)
    world.clock.advance_to(world.clock.now() + HOUR)
    world.daemon.post_tick()
    world.daemon.run(world.clock, idle_seconds=0.1)
    assert world.daemon.damage is not None
    assert "driftd restore" in world.daemon.damage
    assert b"driftd_state_damaged 1" in world.daemon.assembly.metrics.expose()[0]
    assert list(world.places.root.glob("state.db.broken-*Z"))
    assert damage_marked(world.places.state_db) is not None
    with pytest.raises(DamagedError, match="driftd restore"):
        require_whole_state(world.daemon.assembly.config, world.folder / "config.yaml", world.places)


TWO = """\
state_dir: {state}
http: {{listen: 127.0.0.1:0}}
models:
  demand: {{task: regression, target: y, window: {{every: 1h, lateness: 1s}}, parameters: {{max_iter: 30}}}}
  supply: {{task: regression, target: y, window: {{every: 1h, lateness: 1s}}, parameters: {{max_iter: 30}}}}
"""


def test_a_broken_event_store_stops_only_its_model(tmp_path: Path) -> None:
    """The model whose events are broken is let go of and takes nothing in; the other goes on; a restore mends it."""
    world = World.begin(tmp_path, config=TWO)
    shutil.copytree(world.places.model(MODEL), world.places.model("supply"), symlinks=True)
    for path in world.places.model("supply").glob("versions/*/manifest.json"):
        path.write_text(path.read_text().replace('"model": "demand"', '"model": "supply"'))
    world.live(4)
    plan = backup_plan(world.daemon.assembly.config, world.folder / "config.yaml", world.places, world.clock.now())
    make_backup(plan)
    world.live(1)
    path = world.places.events_db(MODEL)
    application = Driftd(world.places.root, MODEL)
    cursor = world.daemon.assembly.store.cursor(MODEL, "window")
    assert set(world.daemon.models) == {"demand", "supply"}
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    rubbish(path, page=1, pages=30)
    world.clock.advance_to(world.clock.now() + HOUR)
    world.daemon.catch_up(world.clock.now())
    reopened(world)
    world.daemon.catch_up(world.clock.now())
    assert set(world.daemon.models) == {"supply"}
    assert "driftd restore --events demand" in world.daemon.obstacles["demand"]
    assert b'driftd_events_damaged{model="demand"} 1' in world.daemon.assembly.metrics.expose()[0]
    assert world.daemon.assembly.store.cursor(MODEL, "window") == cursor
    with pytest.raises(EventsNotKeptError, match="is damaged"):
        application.feedback("x", 1.0)
    assert application.predict({"a": 1.0, "b": 0.0, "c": "red"}).logged is False

    with hold_lock(world.places.lock, "driftd run"):  # the daemon goes on: it has let go of this file
        done = driftd(world, "restore", "--events", "demand")
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + HANG
    while not application.predict({"a": 1.0, "b": 0.0, "c": "red"}, ids="new", at=world.clock.now()).logged:
        assert time.monotonic() < deadline  # a store that could not be opened is tried again after some seconds
        time.sleep(0.2)
    application.close()
    world.daemon.catch_up(world.clock.now())
    assert set(world.daemon.models) == {"demand", "supply"}
    with sqlite3.connect(path) as connection:
        (rows,) = connection.execute("select count(*) from predictions").fetchone()
    assert rows == 4 * 200 + 1
    world.close()


def test_a_backup_of_an_older_schema_is_brought_up(tmp_path: Path) -> None:
    """A backup from before a migration is migrated while it is restored."""
    world = World.begin(tmp_path)
    world.live(1)
    backed_up(world)
    world.close()
    (path, backup), *_ = list_backups([world.places.backups])
    with sqlite3.connect(path / "state.db") as connection:
        connection.execute("drop table restores")
        connection.execute("delete from _sqlite_migrations where name = 'm004_restores'")
    connection.close()
    restore_state(world.places, path, backup, who="a test", now=START)
    reopened(world)
    world.daemon.catch_up(world.clock.now())
    assert world.events[-1] == "restored"
    world.close()

"""A package that brings one plug-in of each kind, used by a daemon; and plug-ins that fail, hang or are not there."""

from __future__ import annotations

import json
import mailbox
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.actions import ActionKind
from driftd.api.requests import Retrain, post
from driftd.config.load import load
from driftd.doctor.installation import Installation
from driftd.doctor.plugins import plugins
from driftd.notify.delivery import Notifier
from driftd.registry import Registry
from driftd.serving.client import Driftd
from driftd.training.jobs import start_job
from first_versions import copy_model
from installed_plugins import EXAMPLE, install
from limits import HANG, wait
from loop_world import CONFIG, HOUR, LABEL_DELAY, MODEL, ROWS, START, World, hour

pytestmark = pytest.mark.slow


def config_of(folder: Path) -> str:
    """The config of the world, with a plug-in wherever there can be one."""
    sections = {
        "source": {"kind": "plugin", "plugin": "sqlite_tables", "options": {"path": str(folder / "events.db")}},
        "registry": {"plugin": {"plugin": "folder", "options": {"folder": str(folder / "versions")}}},
        "detect": {
            "performance": {"metric": {"plugin": "late_cost"}},
            "detectors": [{"use": "missing_share"}],
        },
    }
    notify = {"mail": {"plugin": "maildir", "options": {"folder": str(folder / "mail")}, "on": ["all"]}}
    lines = [f"    {key}: {json.dumps(value)}" for key, value in sections.items()]
    text = "\n".join([*lines, f"notify: {json.dumps(notify)}"])
    return CONFIG + text.replace("{", "{{").replace("}", "}}") + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example package installed, and an empty database of events."""
    install(tmp_path / "site", monkeypatch)
    for name in ("versions", "world"):
        (tmp_path / name).mkdir()
    with sqlite3.connect(tmp_path / "events.db") as database:
        columns = 'prediction_id text, "at" real, version integer, prediction real, a real, b real, c text'
        database.execute(f"create table predictions ({columns})")
        database.execute("create table labels (prediction_id text, label real, label_at real)")
        database.execute("create index times on predictions (at)")
        database.execute("create index identities on labels (prediction_id)")
    return tmp_path


@pytest.fixture
def world(folder: Path) -> Iterator[World]:
    world = World.begin(folder / "world", config=config_of(folder))
    yield world
    world.close()


def live(world: World, folder: Path, hours: int) -> None:
    """Hours of an application that writes its predictions and labels into the database."""
    with Driftd(world.places.root, MODEL) as application, sqlite3.connect(folder / "events.db") as database:
        for _ in range(hours):
            frame, truth = hour(world.hours)
            at = START + world.hours * HOUR + np.arange(ROWS) * HOUR / ROWS
            ids = [f"{world.hours}-{row}" for row in range(ROWS)]
            answers = application.predict(frame, ids=ids, at=at)
            rows = pd.DataFrame({"id": ids, "at": at, "v": answers[0].version})
            rows["y"] = [answer.prediction for answer in answers]
            rows = rows.join(frame[["a", "b", "c"]])
            database.executemany("insert into predictions values (?, ?, ?, ?, ?, ?, ?)", rows.values.tolist())
            labels = list(zip(ids, truth.tolist(), (at + LABEL_DELAY).tolist(), strict=True))
            database.executemany("insert into labels values (?, ?, ?)", labels)
            database.commit()
            world.pass_hour()
            world.daemon.catch_up(world.clock.now())


def test_a_daemon_lives_by_plug_ins_of_every_kind(world: World, folder: Path) -> None:
    """Rows, metric, detector, registry and mails are those of the package; its version is in the lineage."""
    notifier = Notifier(world.places.state_db, lambda *_: None, world.daemon.assembly.metrics, world.clock.now)
    world.daemon.notify_by(notifier)
    live(world, folder, 4)
    store = world.daemon.assembly.store
    checks = store.checks(MODEL, 20)
    assert {check.rows for check in checks if check.kind == "window"} == {ROWS}
    windows = [check for check in checks if check.kind == "window"]
    assert all("gave no score" not in check.reason for check in windows), windows[0].reason
    assert (folder / "versions" / "serving").read_text() == "1\n"
    assert world.daemon.models[MODEL].state.registry is not None
    post(world.places.state_db, MODEL, Retrain(reason="to see a build"), who="ann")
    live(world, folder, 2)
    manifest = Registry(world.places).manifest(MODEL, 2)
    assert manifest.libraries["driftd-plugin-example"] == "0.1.0"
    assert manifest.data["source_version"] == {"source sqlite_tables": "driftd-plugin-example 0.1.0"}
    assert manifest.gate is not None
    assert manifest.gate["metric"] == "plugin:late_cost"
    wait(lambda: (folder / "mail" / "new").is_dir() and len(mailbox.Maildir(folder / "mail")) > 0, "a mail comes")
    mails = [mail["Subject"] for mail in mailbox.Maildir(folder / "mail")]
    assert any("demand" in subject for subject in mails), mails
    path = world.folder / "config.yaml"
    found = list(plugins(Installation.of(path, load(path), world.clock.now())))
    assert {finding.level for finding in found} == {"ok"}
    assert "the source sqlite_tables of driftd-plugin-example 0.1.0 can be imported" in [f.said for f in found]


def test_a_deployer_is_told_in_a_process_of_its_own(world: World, folder: Path) -> None:
    """The hand-over says by which package and version, and what that said."""
    served = folder / "served"
    served.mkdir()
    arguments = {
        "model": MODEL, "state_dir": str(world.places.root), "action": "deploy", "version": 1, "from": None,
        "reason": "x", "until": None, "plugin": "copy", "options": {"folder": str(served)}, "timeout": 60.0,
    }  # fmt: skip
    job = start_job(world.places.job("hand-over"), str(ActionKind.HAND_OVER), arguments)
    until = time.monotonic() + HANG
    while (result := job.poll()) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert result.ok, f"{result.error}\n{result.tail}"
    said = "by the deployer copy of driftd-plugin-example 0.1.0, which says: the file model is version 1"
    assert str(result.value["sentence"]).startswith(said)
    assert (served / "model").is_file()


def test_a_plugin_that_is_gone_costs_its_model_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model says which package lacks, in its source's faults; another model of the same daemon is checked."""
    world = World.begin(folder / "world")
    try:
        copy_model(world.places, MODEL, "supply")
        path = world.folder / "config.yaml"
        own = CONFIG.format(state="x").partition("  demand:\n")[2]
        source = "    source: {kind: plugin, plugin: gone}\n"
        path.write_text(f"{path.read_text()}  supply:\n{own}{source}")
        assert world.daemon.reload(world.clock.now()) is None
        world.live(2)
        store = world.daemon.assembly.store
        assert len([check for check in store.checks(MODEL, 20) if check.kind == "window"]) == 2
        extent = world.daemon.models["supply"].scheduler.extent
        assert extent is not None
        assert "no installed package brings a source 'gone'" in extent.faults[0]
        assert store.checks("supply", 20) == []
    finally:
        world.close()


def test_the_example_package_passes_the_kit() -> None:
    """Its own tests, as its author runs them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE)]
    done = subprocess.run(command, env=environment, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout

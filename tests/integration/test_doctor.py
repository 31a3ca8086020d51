"""`driftd doctor`: every check is shown a sound installation, and one in which its thing is really broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from driftd.cli.main import main
from driftd.doctor.checks import CHECKS
from driftd.doctor.installation import Finding, Level, examine_all
from driftd.loop.housekeeping import backup_plan
from driftd.store.backups import make_backup
from driftd.store.integrity import mark_damaged
from driftd.store.lock import held
from loop_world import CONFIG, HOUR, MODEL, World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A sound installation with some hours of life, and the moment it was left at."""
    folder = tmp_path_factory.mktemp("sound")
    world = World.begin(folder)
    world.live(3)
    plan = backup_plan(world.daemon.assembly.config, folder / "config.yaml", world.places, world.clock.now())
    make_backup(plan)
    world.close()
    world.places.root.chmod(0o750)
    return folder, world.clock.now()


@pytest.fixture
def place(sound: tuple[Path, float], tmp_path: Path) -> Path:
    """A copy of it to break."""
    shutil.copytree(sound[0] / "state", tmp_path / "state", symlinks=True)
    (tmp_path / "config.yaml").write_text(CONFIG.format(state=tmp_path / "state"))
    return tmp_path


def found(place: Path, now: float, *names: str) -> list[Finding]:
    """What some checks find."""
    return list(examine_all(place / "config.yaml", now, {name: CHECKS[name] for name in names}))


def bad(findings: list[Finding]) -> list[tuple[Level, str]]:
    """What is not as it should be; each says what to do."""
    assert all(one.todo for one in findings if one.level is not Level.OK)
    return [(one.level, f"{one.subject}: {one.said} -> {one.todo}") for one in findings if one.level is not Level.OK]


def test_a_sound_installation_has_no_failure(place: Path, sound: tuple[Path, float]) -> None:
    """With its daemon at work nothing fails but what this machine itself lacks."""
    with held(place / "state" / "driftd.lock", "driftd run"):
        findings = found(place, sound[1], *(name for name in CHECKS if name not in {"clock", "libraries", "config"}))
    assert bad(findings) == []
    assert {one.check for one in findings} == set(CHECKS) - {"clock", "libraries", "config"}


Break = Callable[[Path], object]


def sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def relink(place: Path) -> None:
    models = place / "state" / "models" / MODEL
    shutil.copytree(models / "versions" / "1", models / "versions" / "2")
    manifest = models / "versions" / "2" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    (models / "current").unlink()
    (models / "current").symlink_to("versions/2")


def rubbish(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(8192) + content[4096 * 3 :])


def config(place: Path, old: str, new: str) -> None:
    path = place / "config.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


BROKEN: dict[str, tuple[str, Break, Level, str]] = {
    "foreign owner": ("files", lambda p: os.chown(p / "state/state.db", 12345, -1), Level.FAIL, "do not belong.*chown"),
    "world-writable": ("files", lambda p: (p / "state/state.db").chmod(0o666), Level.FAIL, "by everybody.*chmod"),
    "open folder": ("files", lambda p: (p / "state").chmod(0o755), Level.WARN, "look into it.*chmod"),
    "read-only": ("files", lambda p: (p / "state/state.db").chmod(0o440), Level.FAIL, "cannot be written"),
    "absent": ("files", lambda p: shutil.rmtree(p / "state"), Level.FAIL, "does not exist"),
    "broken state": ("databases", lambda p: rubbish(p / "state/state.db"), Level.FAIL, "is damaged.*driftd restore"),
    "broken events": (
        "databases",
        lambda p: rubbish(p / "state/events/demand/events.db"),
        Level.FAIL,
        "is damaged.*restore.*--events demand",
    ),
    "marked events": (
        "databases",
        lambda p: mark_damaged(p / "state/events/demand/events.db", "malformed"),
        Level.FAIL,
        "damaged: malformed",
    ),
    "newer schema": (
        "databases",
        lambda p: sql(
            p / "state/state.db",
            "insert into _sqlite_migrations(migration_set, name, applied_at) values ('driftd.state', 'm999_x', '')",
        ),
        Level.FAIL,
        "newer driftd",
    ),
    "no backup": ("backups", lambda p: shutil.rmtree(p / "state/backups"), Level.WARN, "no backup.*driftd backup"),
    "old events": (
        "backlog",
        lambda p: sql(p / "state/events/demand/events.db", "update blocks set received_at = 5.0"),
        Level.WARN,
        "unsealed.*upkeep",
    ),
    "no trainer": (
        "trainers",
        lambda p: config(p, "target: y", "target: y\n    trainer: nonsense:train"),
        Level.FAIL,
        "cannot be imported.*No module named.*PYTHONPATH",
    ),
    "no program": (
        "trainers",
        lambda p: config(p, "target: y", "target: y\n    trainer: {command: [nonsense]}"),
        Level.FAIL,
        "not found",
    ),
    "source gone": (
        "sources",
        lambda p: config(p, "target: y", "target: y\n    source: {kind: files, path: /nonexistent/x.csv, format: csv}"),
        Level.WARN,
        "has no prediction|fails",
    ),
    "artefact": (
        "versions",
        lambda p: append(p / "state/models/demand/versions/1/model.skops"),
        Level.FAIL,
        "version 1, which serves, is damaged.*does not match its manifest",
    ),
    "snapshot": (
        "versions",
        lambda p: append(next((p / "state/snapshots/demand").glob("*/data.parquet"))),
        Level.WARN,
        "do not match their names",
    ),
    "link": ("versions", relink, Level.FAIL, "the link names version 2, the store says 1"),
    "old action": (
        "progress",
        lambda p: sql(
            p / "state/state.db",
            "insert into actions(model, kind, arguments, status, intended_at)"
            " values ('demand', 'train', '{}', 'started', 5)",
        ),
        Level.WARN,
        r"action \d+ \(train\) is open",
    ),
    "bad config": ("disk", lambda p: config(p, "target: y", "targt: y"), Level.FAIL, "targt.*check-config"),
    "no state": ("progress", lambda p: (p / "state/state.db").unlink(), Level.FAIL, "no state database"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_is_found(place: Path, sound: tuple[Path, float], fault: str) -> None:
    """Each fault, made for real, is found at its level, and what to do about it is said."""
    check, make, level, words = BROKEN[fault]
    if fault == "foreign owner" and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    make(place)
    said = bad(found(place, sound[1], check))
    assert any(one is level and re.search(words, text) for one, text in said), said


def test_times_out_of_step(place: Path, sound: tuple[Path, float]) -> None:
    """A clock behind what is stored, checks that stand still and an old backup are found by their times."""
    assert any("in the future" in said for _, said in bad(found(place, sound[1] - 10 * HOUR, "clock")))
    late = bad(found(place, sound[1] + 100 * HOUR, "progress", "backups"))
    assert any("the last checked window ended" in said for _, said in late)
    assert any("backup_failed" in said for _, said in late)


def test_the_daemon_is_asked(place: Path, sound: tuple[Path, float]) -> None:
    """No daemon, and one whose port does not answer, are told apart."""
    assert "no daemon runs" in bad(found(place, sound[1], "daemon"))[0][1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config(place, "127.0.0.1:0", f'"127.0.0.1:{port}"')
    with held(place / "state" / "driftd.lock", "driftd run"):
        assert f"127.0.0.1:{port} does not answer" in bad(found(place, sound[1], "daemon"))[0][1]


def test_a_full_disk(place: Path, sound: tuple[Path, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is told with what to do; the room itself is the outside world here."""
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert bad(found(place, sound[1], "disk"))[0][0] is Level.FAIL


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def driftd(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the place; its exit code and output."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["driftd", *arguments, "--config", str(place / "config.yaml")])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def test_the_command(place: Path, driftd: Run) -> None:
    """It prints every check with what to do, as words and as JSON, and ends with 1 when something fails."""
    code, out = driftd("doctor")
    assert code == 1
    assert "fail  daemon: daemon: no daemon runs on this state_dir" in out
    assert "-> systemctl start driftd" in out
    code, out = driftd("doctor", "--json")
    told = json.loads(out)
    assert code == 1
    assert {one["check"] for one in told["findings"]} == set(CHECKS)
    assert told["count"]["fail"] == sum(one["level"] == "fail" for one in told["findings"])

"""`driftd doctor`: every check is shown a sound installation, and one in which its thing is really broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from driftd.cli.main import main
from driftd.config.load import load
from driftd.config.schema import Http, Tls
from driftd.doctor.checks import CHECKS
from driftd.doctor.installation import Finding, FindingLevel, examine_all
from driftd.events import Event
from driftd.loop.maintenance import backup_plan
from driftd.observe.http import HttpThread
from driftd.records import DecisionFigures, Transition
from driftd.store.backups import make_backup
from driftd.store.integrity import mark_damaged
from driftd.store.ownership import hold_lock
from driftd.store.state.writer import StateStore
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


def bad(findings: list[Finding]) -> list[tuple[FindingLevel, str]]:
    """What is not as it should be; each says what to do."""
    assert all(item.todo for item in findings if item.level is not FindingLevel.OK)
    return [
        (item.level, f"{item.subject}: {item.said} -> {item.todo}")
        for item in findings
        if item.level is not FindingLevel.OK
    ]


NOTHING_JUDGED = """
with recursive n(i) as (select 0 union all select i + 1 from n where i < 11)
insert or replace into checks
select null, at, model, kind, window_index + i, window_start, window_end, 5, 'inconclusive',
       'only 5 rows; 30 are needed to say anything', version, figures, evidence
from n, (select * from checks where kind = 'window' order by window_index desc limit 1)
"""
NOT_HERE = {"clock", "libraries", "config", "daemon", "conditions"}  # of this machine, or of a daemon that answers


def test_a_sound_installation_has_no_failure(place: Path, sound: tuple[Path, float]) -> None:
    """With its daemon at work nothing fails but what this machine itself lacks."""
    with hold_lock(place / "state" / "driftd.lock", "driftd run"):
        findings = found(place, sound[1], *(name for name in CHECKS if name not in NOT_HERE))
    assert bad(findings) == []
    assert {item.check for item in findings} == set(CHECKS) - NOT_HERE


Break = Callable[[Path], object]


def sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def link(place: Path, version: int) -> None:
    models = place / "state" / "models" / MODEL
    (models / "current").unlink()
    (models / "current").symlink_to(f"versions/{version}")


def copied(place: Path, version: int) -> None:
    """Another version of the model on the disk."""
    models = place / "state" / "models" / MODEL
    shutil.copytree(models / "versions" / "1", models / "versions" / str(version))
    manifest = models / "versions" / str(version) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', f'"version": {version}'))


def relink(place: Path) -> None:
    copied(place, 2)
    link(place, 2)


def rubbish(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(8192) + content[4096 * 3 :])


def config(place: Path, old: str, new: str) -> None:
    path = place / "config.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


BROKEN: dict[str, tuple[str, Break, FindingLevel, str]] = {
    "foreign owner": (
        "files",
        lambda p: os.chown(p / "state/state.db", 12345, -1),
        FindingLevel.FAIL,
        "do not belong.*chown",
    ),
    "world-writable": (
        "files",
        lambda p: (p / "state/state.db").chmod(0o666),
        FindingLevel.FAIL,
        "by everybody.*chmod",
    ),
    "open folder": ("files", lambda p: (p / "state").chmod(0o755), FindingLevel.WARN, "look into it.*chmod"),
    "read-only": ("files", lambda p: (p / "state/state.db").chmod(0o440), FindingLevel.FAIL, "cannot be written"),
    "absent": ("files", lambda p: shutil.rmtree(p / "state"), FindingLevel.FAIL, "does not exist"),
    "broken state": (
        "databases",
        lambda p: rubbish(p / "state/state.db"),
        FindingLevel.FAIL,
        "is damaged.*driftd restore",
    ),
    "broken events": (
        "databases",
        lambda p: rubbish(p / "state/events/demand/events.db"),
        FindingLevel.FAIL,
        "is damaged.*restore.*--events demand",
    ),
    "marked events": (
        "databases",
        lambda p: mark_damaged(p / "state/events/demand/events.db", "malformed"),
        FindingLevel.FAIL,
        "damaged: malformed",
    ),
    "newer schema": (
        "databases",
        lambda p: sql(
            p / "state/state.db",
            "insert into _sqlite_migrations(migration_set, name, applied_at) values ('driftd.state', 'm999_x', '')",
        ),
        FindingLevel.FAIL,
        "newer driftd",
    ),
    "no backup": (
        "backups",
        lambda p: shutil.rmtree(p / "state/backups"),
        FindingLevel.WARN,
        "no backup.*driftd backup",
    ),
    "old events": (
        "backlog",
        lambda p: sql(p / "state/events/demand/events.db", "update blocks set received_at = 5.0"),
        FindingLevel.WARN,
        "unsealed.*upkeep",
    ),
    "no trainer": (
        "trainers",
        lambda p: config(p, "target: y", "target: y\n    trainer: nonsense:train"),
        FindingLevel.FAIL,
        "cannot be imported.*No module named.*PYTHONPATH",
    ),
    "no program": (
        "trainers",
        lambda p: config(p, "target: y", "target: y\n    trainer: {command: [nonsense]}"),
        FindingLevel.FAIL,
        "not found",
    ),
    "source gone": (
        "sources",
        lambda p: config(p, "target: y", "target: y\n    source: {kind: files, path: /nonexistent/x.csv, format: csv}"),
        FindingLevel.FAIL,
        "/nonexistent/x.csv does not exist.*mount it",
    ),
    "artefact": (
        "versions",
        lambda p: append(p / "state/models/demand/versions/1/model.skops"),
        FindingLevel.FAIL,
        "version 1, which serves, is damaged.*does not match its manifest",
    ),
    "snapshot": (
        "versions",
        lambda p: append(next((p / "state/snapshots/demand").glob("*/data.parquet"))),
        FindingLevel.WARN,
        "do not match their names",
    ),
    "link": ("versions", relink, FindingLevel.FAIL, "the link names version 2, the store says 1"),
    "old action": (
        "progress",
        lambda p: sql(
            p / "state/state.db",
            "insert into actions(model, kind, arguments, status, intended_at, started_at)"
            " values ('demand', 'train', '{}', 'started', 5, 6)",
        ),
        FindingLevel.WARN,
        r"action \d+ \(train\) is open",
    ),
    "bad config": ("disk", lambda p: config(p, "target: y", "targt: y"), FindingLevel.FAIL, "targt.*check-config"),
    "no token": (
        "secrets",
        lambda p: config(p, ":0}", ":0, token_file: /nonexistent/t}"),
        FindingLevel.FAIL,
        "no.*restart",
    ),
    "no certificate": (
        "secrets",
        lambda p: config(p, "models:", "serve: {tls: {certificate: /nonexistent/c, key: /nonexistent/k}}\nmodels:"),
        FindingLevel.FAIL,
        "serve.tls: .*/nonexistent/c cannot be read.*restart driftd-serve",
    ),
    "no address": (
        "secrets",
        lambda p: config(p, "models:", "notify: {team: {webhook_file: /nonexistent/url}}\nmodels:"),
        FindingLevel.FAIL,
        "notify.team.webhook_file: .*/nonexistent/url cannot be read.*Nothing is told to team.*notify-test team",
    ),
    "dangling link": (
        "versions",
        lambda p: link(p, 7),
        FindingLevel.FAIL,
        "current names versions/7, which is not there, the store says 1 -> sudo systemctl restart driftd",
    ),
    "version gone": (
        "versions",
        lambda p: shutil.rmtree(p / "state/models/demand/versions/1"),
        FindingLevel.FAIL,
        "which is not there; the store says 1, whose folder is gone -> put its folder back",
    ),
    "unreadable evidence": (
        "evidence",
        lambda p: sql(p / "state/state.db", "update monitors set monitor = zeroblob(40)"),
        FindingLevel.FAIL,
        "its stored evidence cannot be read.*driftd reset-evidence demand --why",
    ),
    "action put off": (
        "progress",
        lambda p: sql(
            p / "state/state.db",
            "insert into actions(model, kind, arguments, status, intended_at)"
            " values ('demand', 'train', '{}', 'intended', 5)",
        ),
        FindingLevel.WARN,
        r"action \d+ \(train\) was decided .* and is still put off",
    ),
    "no check yet": (
        "progress",
        lambda p: sql(p / "state/state.db", "delete from checks"),
        FindingLevel.WARN,
        "no window of it was checked yet",
    ),
    "nothing judged": (
        "progress",
        lambda p: sql(p / "state/state.db", NOTHING_JUDGED),
        FindingLevel.WARN,
        "none of its last 12 windows could be judged: only 5 rows.*set a longer window",
    ),
    "nobody to ask": ("conditions", lambda _: None, FindingLevel.WARN, "could not be looked at: .*system's choice"),
    "no state": (
        "databases",
        lambda p: (p / "state/state.db").unlink(),
        FindingLevel.FAIL,
        "does not exist.*start the daemon",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_is_found(place: Path, sound: tuple[Path, float], fault: str) -> None:
    """Each fault, made for real, is found at its level, and what to do about it is said."""
    check, make, level, words = BROKEN[fault]
    if fault == "foreign owner" and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    make(place)
    said = bad(found(place, sound[1], check))
    assert any(item is level and re.search(words, text) for item, text in said), said


def test_a_way_back_is_to_a_version_that_served_and_is_not_barred(place: Path, sound: tuple[Path, float]) -> None:
    """Neither a challenger that never served nor a version that was rolled back is advised, however whole it is."""
    for version in (2, 3, 4):
        copied(place, version)
    append(place / "state/models/demand/versions/1/model.skops")
    assert any("build it again: `driftd retrain demand" in said for _, said in bad(found(place, sound[1], "versions")))
    with closing(StateStore.open(place / "state" / "state.db")) as store:
        state = store.model(MODEL)
        assert state is not None
        for event, version in ((Event.PROMOTED, 2), (Event.PROMOTED, 3), (Event.ROLLED_BACK, 1)):
            after = replace(state, barred=(3,))
            output = Transition(after, "as it went", event, (), DecisionFigures(version=version))
            store.save_transition(state, output, at=sound[1], actor="driftd", config_hash="c0ffee")
    (said,) = [said for _, said in bad(found(place, sound[1], "versions"))]
    assert f"`driftd rollback demand --to 2 --why damaged --config {place / 'config.yaml'}`" in said


def test_a_bad_config_hides_nothing(place: Path, sound: tuple[Path, float]) -> None:
    """Of a file that cannot be used the config in force is examined; where none is known, what needs no config."""
    rubbish(place / "state/events/demand/events.db")
    applied = load(place / "config.yaml")
    config(place, "target: y", "targt: y")
    sql(place / "state" / "state.db", "delete from configs")
    findings = found(place, sound[1], *CHECKS)
    assert {item.check for item in findings} >= {"config", "files", "disk", "clock", "libraries", "databases"}
    assert "sources" not in {item.check for item in findings}
    assert f"goes by {place / 'state'} alone" in bad(findings)[0][1]
    with closing(StateStore.open(place / "state" / "state.db")) as store:
        store.save_config(applied.hash, at=sound[1], content=applied.model_dump(mode="json"))
    findings = found(place, sound[1], *CHECKS)
    assert {item.check for item in findings} == set(CHECKS) - {"secrets"}
    assert f"goes by the config in force ({applied.hash})" in bad(findings)[0][1]
    assert any("--events demand" in said for _, said in bad(findings))
    (place / "config.yaml").unlink()
    assert {"config", "disk"} <= {item.check for item in found(place, sound[1], *CHECKS)}


def test_a_lock_that_cannot_be_read_hides_nothing(place: Path, sound: tuple[Path, float]) -> None:
    """Where it cannot be told whether a daemon runs, that is one finding among all the others."""
    (place / "state" / "driftd.lock").unlink(missing_ok=True)
    (place / "state" / "driftd.lock").symlink_to("driftd.lock")  # as good as forbidden, for root too
    findings = found(place, sound[1], *CHECKS)
    assert {item.check for item in findings} == set(CHECKS)
    assert any("whether one runs cannot be told" in said and "driftd doctor" in said for _, said in bad(findings))


def test_a_daemon_is_asked_by_tls(place: Path, sound: tuple[Path, float]) -> None:
    """With its own certificate it is found healthy; with another one at its address that is said, not that it hangs."""
    for name in ("own", "other"):
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        pair = ["-keyout", str(place / f"{name}.key"), "-out", str(place / f"{name}.pem")]
        subprocess.run([*made, *pair], check=True, capture_output=True)
    tls = {name: Tls(certificate=place / f"{name}.pem", key=place / f"{name}.key") for name in ("own", "other")}

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(f"driftd_last_step_timestamp_seconds {sound[1]}\n")

    answering = HttpThread(
        Starlette(routes=[Route("/metrics", metrics)]), Http(listen="127.0.0.1:0", token_file=None, tls=tls["own"])
    )
    answering.start()
    listen = f'listen: "{answering.address}", tls: {{certificate: {place}/own.pem, key: {place}/own.key}}'
    config(place, "listen: 127.0.0.1:0", listen)
    try:
        with hold_lock(place / "state" / "driftd.lock", "driftd run"):
            assert bad(found(place, sound[1], "daemon")) == []
            config(place, "own.pem", "other.pem")
            (said,) = [said for _, said in bad(found(place, sound[1], "daemon"))]
            assert "answers at" in said
            assert "certificate that is not in order" in said
    finally:
        answering.stop()


def test_times_out_of_step(place: Path, sound: tuple[Path, float]) -> None:
    """A clock behind what is stored, checks that stand still and an old backup are found by their times."""
    assert any("in the future" in said for _, said in bad(found(place, sound[1] - 10 * HOUR, "clock")))
    late = bad(found(place, sound[1] + 100 * HOUR, "progress", "backups", "sources"))
    assert any("its newest prediction is 10" in said for _, said in late)
    assert any("the last checked window ended" in said for _, said in late)
    assert any("backup_failed" in said for _, said in late)


def test_the_daemon_is_asked(place: Path, sound: tuple[Path, float]) -> None:
    """No daemon, and one whose port does not answer, are told apart."""
    assert "no daemon runs" in bad(found(place, sound[1], "daemon"))[0][1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config(place, "127.0.0.1:0", f'"127.0.0.1:{port}"')
    with hold_lock(place / "state" / "driftd.lock", "driftd run"):
        assert f"127.0.0.1:{port} does not answer" in bad(found(place, sound[1], "daemon"))[0][1]


def test_a_full_disk(place: Path, sound: tuple[Path, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is told with what to do; the room itself is the outside world here."""
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert bad(found(place, sound[1], "disk"))[0][0] is FindingLevel.FAIL


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
    output = json.loads(out)
    assert code == 1
    assert {item["check"] for item in output["findings"]} == set(CHECKS)
    assert output["count"]["fail"] == sum(item["level"] == "fail" for item in output["findings"])

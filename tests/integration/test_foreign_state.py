"""Root at the command line of a service that runs as another user leaves nothing there that keeps it from work."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from driftd.loop.maintenance import backup_plan
from driftd.store.backups import make_backup
from driftd.store.integrity import mark_damaged
from driftd.store.ownership import command_for
from driftd.store.state.writer import StateStore
from limits import HANG
from loop_world import CONFIG, MODEL, World
from real_servers import make_state, run_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root works as others")]

OWNER = 12345
OPENED = """closed=$1 home=$2 aside=$3; shift 3
mount --bind "$home" "$aside"; mount -t tmpfs -o mode=755 none "$closed"
mkdir -p "$home"; mount --bind "$aside" "$home"
exec "$@"
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with some hours of life and a backup."""
    folder = tmp_path_factory.mktemp("sound")
    world = World.begin(folder)
    world.live(3)
    make_backup(
        backup_plan(world.daemon.assembly.config, folder / "config.yaml", world.places, world.clock.now(), reason="x")
    )
    world.close()
    return folder


@pytest.fixture
def place(sound: Path) -> Iterator[Path]:
    """A copy of it that belongs to another user, as under systemd; where that user can come to."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    shutil.copytree(sound / "state", folder / "state", symlinks=True)
    (folder / "config.yaml").write_text(CONFIG.format(state=folder / "state"))
    for path in (folder / "state", *(folder / "state").rglob("*")):
        os.chown(path, OWNER, OWNER, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o2770 if path.is_dir() else 0o660)
    yield folder
    shutil.rmtree(folder)


def as_user(user: int, *command: str, groups: str = "", cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    """Run a process as a user, who can come to this Python: where it is in root's home, that is open to the process."""
    who = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={groups}" if groups else "--clear-groups"]
    home = Path(sys.base_prefix)
    closed = next((item for item in reversed(home.parents) if not item.stat().st_mode & stat.S_IXOTH), None)
    with tempfile.TemporaryDirectory() as aside:
        opened = [] if closed is None else ["unshare", "--mount", "sh", "-ec", OPENED, "sh", closed, home, aside]
        return subprocess.run(
            [*opened, *who, *command],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item)},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG,
            cwd=cwd,
        )


def driftd(place: Path, *arguments: str, user: int = 0, groups: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command on the place, as root or as another user."""
    module = [sys.executable, "-m", "driftd.cli.main"]
    return as_user(user, *module, *arguments, "--config", str(place / "config.yaml"), groups=groups)


def foreign(place: Path) -> list[Path]:
    """What does not belong to the user of the services any more."""
    return [path for path in (place / "state").rglob("*") if path.lstat().st_uid != OWNER]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("backup",), 0),
        (("restore",), 0),
        (("restore", "--list"), 0),
        (("restore", "--events", MODEL), 0),
        (("restore", "--events", MODEL, "--empty"), 0),
        (("retrain", "--wait", "0"), 3),
        (("rollback", "--wait", "0"), 3),
        (("approve", MODEL, "2", "--wait", "0"), 3),
        (("reject", MODEL, "2", "--wait", "0"), 3),
        (("status",), 0),
        (("history",), 0),
        (("explain", "last"), 0),
        (("versions",), 0),
        (("backtest",), 0),
        (("doctor",), 1),
    ],
)
def test_what_root_makes_belongs_to_the_user_of_the_services(
    place: Path, arguments: tuple[str, ...], code: int
) -> None:
    """Whatever root runs with the services down, every file of the state is theirs, and they can write their own."""
    if arguments[0] == "backup":
        shutil.rmtree(place / "state" / "backups")
    run = driftd(place, *arguments)
    assert run.returncode == code, run.stdout + run.stderr
    assert foreign(place) == []
    databases = [place / "state" / "state.db", place / "state" / "events" / MODEL / "events.db"]
    assert all(path.stat().st_mode & 0o660 == 0o660 for path in databases)
    assert not [path for path in (place / "state").rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o007]
    again = driftd(place, "retrain", "--wait", "0", user=OWNER)
    assert again.returncode == 3, again.stderr


def test_a_source_of_files_is_looked_at_as_the_user_of_the_services(place: Path) -> None:
    """Doctor and backtest keep what they found in a folder of logs; that too belongs to the services."""
    (place / "log.csv").write_text("id,at,prediction\n1,2024-01-01T00:00:00Z,1.5\n")
    text = (place / "config.yaml").read_text()
    source = f"source: {{kind: files, path: {place / 'log.csv'}, format: csv}}"
    (place / "config.yaml").write_text(text.replace("target: y", f"target: y\n    {source}"))
    for command in ("doctor", "backtest"):
        driftd(place, command)
    assert (place / "state" / "events" / MODEL / "files.json").exists()
    assert foreign(place) == []


def test_the_state_of_root_itself_stays_roots(place: Path) -> None:
    """Where the daemon runs as root in a folder of another's (a container), root reads and asks as root."""
    for path in (place / "state").rglob("*"):
        os.chown(path, 0, 0, follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            path.chmod(0o640)
    assert driftd(place, "status").returncode == 0
    assert driftd(place, "retrain", "--wait", "0").returncode == 3


def test_another_user_is_refused_before_anything_is_made(place: Path) -> None:
    """Who is neither root nor the owner is told what to run; asking and reading are left to the modes of the files."""
    place.joinpath("state").chmod(0o777)
    for command in ("backup", "restore"):
        run = driftd(place, command, user=54321)
        assert run.returncode == 1
        assert f"sudo -u {OWNER} driftd" in run.stderr
    assert foreign(place) == []


def test_doctor_tells_a_stranger_whom_to_be(place: Path) -> None:
    """Who may not even look into the state gets every check's answer, and the command that may look."""
    (place / "state").chmod(0o2770)
    run = driftd(place, "doctor", user=54321)
    assert run.returncode == 1
    assert f"run as {OWNER}: sudo -u '#{OWNER}' driftd doctor --config {place / 'config.yaml'}" in run.stdout
    assert all(f"{check}:" in run.stdout for check in ("disk", "clock", "libraries", "daemon", "secrets", "versions"))
    assert "Traceback" not in run.stderr


def test_a_member_of_the_group_reads_and_asks(place: Path) -> None:
    """Operators of the group need no sudo for status and requests."""
    run = driftd(place, "retrain", "--wait", "0", user=54321, groups=str(OWNER))
    assert run.returncode == 3, run.stderr
    with closing(StateStore.open(place / "state" / "state.db")) as store:
        assert [item.kind for item in store.waiting_requests()] == ["retrain"]


def test_the_history_says_who_asked_not_as_whom(place: Path) -> None:
    """Root works as the user of the services, but it is root that the history names."""
    path = place / "state" / "state.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update checks set at = 5")
    driftd(place, "retrain", "--wait", "0")
    driftd(place, "prune", "--only", "checks", "--wait", "0")
    with closing(StateStore.open(path)) as store:
        asked = store.waiting_requests()
    assert [item.kind for item in asked] == ["retrain", "prune-checks"]
    assert all(item.who.startswith("root@") for item in asked)


def test_the_way_out_of_damage_is_a_command_that_works(place: Path) -> None:
    """Exit code 6, the damaged event store and doctor name a command for the user whose state it is."""
    said = f"sudo -u '#{OWNER}' driftd restore"
    mark_damaged(place / "state" / "events" / MODEL / "events.db", "malformed")
    found = driftd(place, "doctor").stdout
    assert f"{said} --events {MODEL} --config {place / 'config.yaml'}" in found, found
    mark_damaged(place / "state" / "state.db", "malformed")
    os.chown(place / "state" / "state.db.damaged", OWNER, OWNER)
    run = driftd(place, "run")
    assert run.returncode == 6
    assert f"{said} --config {place / 'config.yaml'}" in run.stderr
    assert command_for(place, "restore") == "driftd restore"  # root's own needs no sudo


def test_a_folder_that_is_closed_to_the_user_is_no_error(place: Path) -> None:
    """`sudo -u driftd driftd status` works in root's home, where that user cannot look for a config."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    probe = "from driftd.cli.terminal import default_config; print(default_config())"
    run = as_user(OWNER, sys.executable, "-c", probe, cwd=closed)
    assert run.stdout.strip() == "/etc/driftd/config.yaml", run.stderr


def test_init_leaves_nothing_open_to_everybody(tmp_path: Path) -> None:
    """What init makes has no right for others, and its config is for the group of the state."""
    rows = "ts,a,y\n" + "".join(
        f"2024-01-{day:02} {hour:02}:{m:02}:00,{(day * hour * m) % 7},{day % 3 + hour}\n"
        for day in range(1, 29)
        for hour in range(24)
        for m in (0, 15, 30, 45)
    )
    (tmp_path / "rows.csv").write_text(rows)
    folders = ("--state-dir", str(tmp_path / "state"), "--output", str(tmp_path / "made.yaml"))
    arguments = ("init", str(tmp_path / "rows.csv"), "--target", "y", *folders)
    run = as_user(0, sys.executable, "-m", "driftd.cli.main", *arguments)
    assert run.returncode == 0, run.stderr
    found = [tmp_path / "state", *(tmp_path / "state").rglob("*"), tmp_path / "made.yaml"]
    assert not [path for path in found if not path.is_symlink() and path.stat().st_mode & 0o007]
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "made.yaml").stat().st_mode) == 0o640


class Spy:
    """A pickle of a fitted regression that notes in a file who loads it."""

    def __init__(self, noted: Path) -> None:
        self.code = (
            f"[__import__('pathlib').Path({str(noted)!r}).open('a').write(str(__import__('os').geteuid()) + ' '), "
            "__import__('sklearn.linear_model', fromlist=['_']).LinearRegression()][1]"
        )

    def __reduce__(self) -> Any:
        fitted = LinearRegression().fit(pd.DataFrame({"a": [0.0, 1.0]}), [0.0, 1.0])
        return eval, (self.code,), fitted.__getstate__()


def test_a_pickle_is_never_loaded_as_root(place: Path) -> None:
    """Where root adopts a model for the services, its code runs as their user, and what is made is theirs."""
    (place / "noted.txt").touch()
    (place / "noted.txt").chmod(0o666)
    (place / "model.pkl").write_bytes(pickle.dumps(Spy(place / "noted.txt")))
    rows = pd.DataFrame({"a": np.linspace(0, 1, 400), "y": np.linspace(0, 1, 400) % 0.37})
    rows.to_csv(place / "rows.csv", index=False)
    for path in (place / "model.pkl", place / "rows.csv"):
        path.chmod(0o644)
    folders = ("--state-dir", str(place / "state"), "--output", str(place / "made.yaml"))
    arguments = ("init", str(place / "rows.csv"), "--target", "y", *folders, "--model", str(place / "model.pkl"))
    run = as_user(0, sys.executable, "-m", "driftd.cli.main", *arguments, "--allow-pickle")
    assert run.returncode == 0, run.stderr
    assert set((place / "noted.txt").read_text().split()) == {str(OWNER)}
    assert foreign(place) == []


def test_run_leaves_nothing_open_to_everybody(tmp_path: Path) -> None:
    """What the daemon makes at its first start has no right for others."""
    umask = os.umask(0o022)
    try:
        with run_server("run", make_state(tmp_path, version=False)):
            pass
    finally:
        os.umask(umask)
    found = [tmp_path / "state", *(tmp_path / "state").iterdir()]
    assert {"state.db", "driftd.lock"} <= {path.name for path in found}
    assert not [path for path in found if path.stat().st_mode & 0o007]

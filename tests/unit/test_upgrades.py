"""From every earlier schema to today's, and never from a later one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from driftd.paths import Places
from driftd.store.backups import list_backups
from driftd.store.events.writer import EventStore
from driftd.store.migrations import ensure_current, migrate
from driftd.store.schema_versions import KINDS, DatabaseError, pending_steps
from driftd.store.state.reader import StateAbsentError, StateReader
from driftd.store.state.request_queue import post_request
from driftd.store.state.writer import StateStore
from event_samples import SCHEMA
from limits import HANG
from schema_samples import database_at, rows_of

STEPS = [(kind, step) for kind in sorted(KINDS) for step in KINDS[kind].names]
OLDER = [(kind, step) for kind, step in STEPS if step != KINDS[kind].names[-1]]
MIGRATE = "import sys; from pathlib import Path; from driftd.store.migrations import ensure_current; "
MIGRATE += "ensure_current(Path(sys.argv[1]), sys.argv[2])"


def old_columns(after: dict[str, list[tuple]], before: dict[str, list[tuple]]) -> dict[str, list[tuple]]:  # type: ignore[type-arg]
    """The tables and columns that there were before: later steps only append columns."""
    widths = {table: len(rows[0]) if rows else None for table, rows in before.items()}
    return {table: [row[: widths[table]] for row in after[table]] for table in before}


def child(path: Path, kind: str) -> subprocess.Popen[bytes]:
    roots = os.pathsep.join(item for item in sys.path if item)
    return subprocess.Popen([sys.executable, "-c", MIGRATE, str(path), kind], env={**os.environ, "PYTHONPATH": roots})


@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_every_row_of_every_earlier_schema_survives(tmp_path: Path, kind: str, step: str) -> None:
    """A database of any step comes to today's schema with each row of each table as it was."""
    path = tmp_path / f"{kind}.db"
    before = database_at(path, kind, step)
    assert before
    migrate(path, kind)
    assert pending_steps(path, kind) == ()
    blank = tmp_path / "blank" / f"{kind}.db"
    migrate(blank, kind)
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(blank)) as fresh:
        after = rows_of(now)
        assert old_columns(after, before) == before
        assert now.execute("pragma integrity_check").fetchall() == [("ok",)]
        schema = "select type, name, sql from sqlite_master where name not like 'sqlite_%' order by name"
        assert now.execute(schema).fetchall() == fresh.execute(schema).fetchall()


@pytest.mark.parametrize(("kind", "step"), OLDER)
def test_a_backup_is_made_before(tmp_path: Path, kind: str, step: str) -> None:
    """The database as it was before its schema changed can be had back."""
    path = tmp_path / "state.db"
    before = database_at(path, kind, step)
    migrate(path, kind)
    ((folder, backup),) = list_backups([tmp_path / "backups"])
    assert backup.schema == step
    assert "before-" in backup.name
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        assert rows_of(connection) == before


@pytest.mark.slow
def test_two_at_once(tmp_path: Path) -> None:
    """Of two processes that find an old database, one migrates it; both end well, and no row is touched twice."""
    path = tmp_path / "state.db"
    before = database_at(path, "state", KINDS["state"].names[0])
    children = [child(path, "state") for _ in range(2)]
    assert [item.wait(HANG) for item in children] == [0, 0]
    with closing(sqlite3.connect(path)) as connection:
        after = rows_of(connection)
        assert old_columns(after, before) == before
        (steps,) = connection.execute("select count(*) from _sqlite_migrations").fetchone()
    assert steps == len(KINDS["state"].names)
    assert len(list_backups([tmp_path / "backups"])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("write", [3, 6, 10, 15])
def test_killed_in_the_middle(tmp_path: Path, write: int) -> None:
    """Killed at a write, the database has its old schema or whole steps of the new, and the next start ends it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    path = tmp_path / "state.db"
    before = database_at(path, "state", KINDS["state"].names[0])
    roots = os.pathsep.join(item for item in sys.path if item)
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-P", f"{path}-wal", "-e", "trace=pwrite64"]
    command += ["-e", f"inject=pwrite64:signal=KILL:when={write}"]
    command += [sys.executable, "-m", "driftd.store.migrations", str(path), "state"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": roots}, check=False, capture_output=True, timeout=HANG)
    names = KINDS["state"].names
    assert pending_steps(path, "state") in {names[place:] for place in range(1, len(names) + 1)}
    ensure_current(path, "state")
    with closing(sqlite3.connect(path)) as connection:
        after = rows_of(connection)
        assert old_columns(after, before) == before
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_newer_database_is_refused_by_everyone(tmp_path: Path, kind: str) -> None:
    """Daemon, server, application and command line leave a newer database alone, and say what to do."""
    places = Places(tmp_path)
    path = places.state_db if kind == "state" else places.events_db("demand")
    migrate(path, kind)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "insert into _sqlite_migrations(migration_set, name, applied_at) values (?, 'm999_later', '')",
            (KINDS[kind].set_name,),
        )
    content = path.read_bytes()
    users = {
        "state": [
            lambda: StateStore.open(path),
            lambda: StateReader.read_only(path),
            lambda: post_request(path, at=1.0, who="x", model="demand", kind="retrain", arguments={}),
        ],
        "events": [lambda: EventStore.open(path, SCHEMA, segments=places.segments("demand"))],
    }
    for use in users[kind]:
        with pytest.raises(DatabaseError, match=r"newer driftd.*Upgrade driftd"):
            use()
    assert path.read_bytes() == content


def test_an_older_database_is_not_misread(tmp_path: Path) -> None:
    """The command line does not read a database that the daemon has yet to migrate."""
    path = tmp_path / "state.db"
    database_at(path, "state", KINDS["state"].names[0])
    with pytest.raises(DatabaseError, match="the daemon migrates it when it starts"):
        StateReader.read_only(path)


def test_a_database_that_is_just_being_made_is_not_called_old(tmp_path: Path) -> None:
    """Whoever asks between the first touch of the file and its first step is told to ask again."""
    path = tmp_path / "state.db"
    path.touch()
    with pytest.raises(StateAbsentError, match="is just being made: ask again in a moment"):
        StateReader.read_only(path)

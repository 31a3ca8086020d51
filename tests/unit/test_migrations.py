"""Bringing databases to the schema of this program."""

from __future__ import annotations

import importlib
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from driftd.store.migrations import ensure_current, migrate
from driftd.store.schema_versions import KINDS, DatabaseError, pending_steps
from driftd.store.subprocesses import run_apart


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_names_are_those_of_the_steps(kind: str) -> None:
    """The list that small processes look at names exactly the steps that there are, in order."""
    module, _, attribute = KINDS[kind].steps.partition(":")
    steps = getattr(importlib.import_module(module), attribute)
    assert steps.name == KINDS[kind].set_name
    assert tuple(step.name for step in steps._migrations) == KINDS[kind].names


def test_from_blank_in_a_child(tmp_path: Path) -> None:
    """A small process makes a database without loading sqlite-utils or pandas itself."""
    path = tmp_path / "deep" / "events.db"
    program = (
        "import sys; from pathlib import Path; from driftd.store.migrations import ensure_current;"
        f"ensure_current(Path({str(path)!r}), 'events');"
        "print([name for name in ('sqlite_utils', 'pandas') if name in sys.modules])"
    )
    script = tmp_path / "small.py"
    script.write_text(program)
    sys.path.insert(0, str(tmp_path))
    try:
        assert run_apart("small", [], 60.0).strip() == "[]"
    finally:
        sys.path.remove(str(tmp_path))
    assert pending_steps(path, "events") == ()
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_applied_once(tmp_path: Path) -> None:
    """Several threads that come at once apply each step once."""
    path = tmp_path / "events.db"
    migrate(tmp_path / "warm.db", "events")
    threads = [threading.Thread(target=ensure_current, args=(path, "events")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from _sqlite_migrations").fetchone() == (len(KINDS["events"].names),)


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """A database with a step that this program does not know is left alone, and the error says what to do."""
    path = tmp_path / "events.db"
    migrate(path, "events")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "insert into _sqlite_migrations(migration_set, name, applied_at) values ('driftd.events', 'm999_later', '')"
        )
    with pytest.raises(DatabaseError, match=r"newer driftd.*m999_later.*Upgrade driftd"):
        ensure_current(path, "events")


def test_no_database(tmp_path: Path) -> None:
    """A file that is no database is named, not overwritten."""
    path = tmp_path / "events.db"
    path.write_bytes(b"this is text, long enough to be taken for a header of a file" * 20)
    with pytest.raises(DatabaseError, match=r"events\.db cannot be read as a database"):
        ensure_current(path, "events")

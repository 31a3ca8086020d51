"""Brings a database to the schema of this program, in a short child process, and keeps a copy from before."""

from __future__ import annotations

import fcntl
import importlib
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from driftd.fsutil import sync
from driftd.store.backups import BackupError, Plan, copy_database, make_backup
from driftd.store.descriptors import open_database
from driftd.store.schema_versions import KINDS, DatabaseError, pending_steps
from driftd.store.subprocesses import ChildError, run_apart


def keep_before(path: Path, kind: str, step: str) -> Path:
    """Copy an existing database before the migration `step`; returns where to.

    state.db becomes a whole backup beside the daily ones. An events database becomes one file beside itself, which the
    next migration replaces. Raises DatabaseError when the disk does not take it: then nothing is migrated.
    """
    try:
        return _state(path, step) if kind == "state" else _events(path, step)
    except (OSError, sqlite3.Error, BackupError) as error:
        size = path.stat().st_size
        raise DatabaseError(
            f"{path} is not migrated, because the backup before it failed ({error}); it needs {size:,} bytes there"
        ) from error


def _state(path: Path, step: str) -> Path:
    with closing(open_database(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        models = tuple(name for (name,) in connection.execute("select model from models order by model"))
    folder = path.parent / "backups"
    plan = Plan(path.parent, folder, {}, models, time.time(), f"before {step}", reason=f"before-{step}")
    return folder / make_backup(plan).name


def _events(path: Path, step: str) -> Path:
    kept = path.with_name(f"{path.name}.before-{step}")
    unfinished = path.with_name(f".{kept.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        copy_database(path, unfinished)
        sync(unfinished)
        for old in path.parent.glob(f"{path.name}.before-*"):
            old.unlink()
        unfinished.replace(kept)
    finally:
        unfinished.unlink(missing_ok=True)
    sync(path.parent)
    return kept


_CHILD_SECONDS = 1800.0  # a backup of the database comes before its migration
UNKEPT = "unkept"


def ensure_current(path: Path, kind: str, *, keep: bool = True) -> None:
    """Make or migrate the database at `path`; does nothing, cheaply, when it is current.

    With `keep` an existing database is backed up before its schema changes. Raises DatabaseError when it cannot be
    brought to this program's schema.
    """
    if not pending_steps(path, kind):
        return
    if "sqlite_utils" in sys.modules:  # this process has already paid for it
        migrate(path, kind, keep=keep)
        return
    try:
        run_apart("driftd.store.migrations", [str(path), kind, *([] if keep else [UNKEPT])], _CHILD_SECONDS)
    except ChildError as error:
        raise DatabaseError(f"{path} could not be migrated to this program's schema: {error}") from error


def migrate(path: Path, kind: str, *, keep: bool = True) -> None:
    """Apply the missing steps in this process; safe when several processes do so at once."""
    import sqlite_utils  # noqa: PLC0415 - heavy: see the module's first words

    module, _, attribute = KINDS[kind].steps.partition(":")
    steps: Any = getattr(importlib.import_module(module), attribute)
    with _alone(path), closing(open_database(path, timeout=30.0)) as connection:
        steps_left = pending_steps(path, kind)
        if not steps_left:
            return
        if not connection.execute("select 1 from sqlite_master limit 1").fetchone():
            connection.execute("pragma auto_vacuum = incremental")
        elif keep and len(steps_left) < len(KINDS[kind].names):
            keep_before(path, kind, steps_left[0])
        connection.execute("pragma journal_mode = wal")
        steps.apply(sqlite_utils.Database(connection, execute_plugins=False))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.touch()  # SQLite itself would make it 0644 at most: whether the group may write is for the umask to say
        yield


def main() -> None:
    """Run the steps for `PATH KIND [unkept]` of the command line."""
    sys.modules["pandas"] = None  # type: ignore[assignment]  # None blocks the import: sqlite-utils does without
    migrate(Path(sys.argv[1]), sys.argv[2], keep=UNKEPT not in sys.argv[3:])


if __name__ == "__main__":
    main()

"""What is kept of a database before its schema changes: the way back to the older program."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from driftd.store.backups import BackupError, Plan, copy_database, make_backup
from driftd.store.durable import sync
from driftd.store.kinds import DatabaseError


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
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        models = tuple(name for (name,) in connection.execute("select model from models order by model"))
    folder = path.parent / "backups"
    plan = Plan(path.parent, folder, None, models, time.time(), f"before {step}", reason=f"before-{step}")
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

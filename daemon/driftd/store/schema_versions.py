"""The kinds of databases, the steps of their schemas, and whether one lacks a step."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from driftd.errors import DriftdError
from driftd.store.descriptors import open_database, open_to_read


class DatabaseError(DriftdError):
    """A database that this program cannot use; the message says what to do."""


@dataclass(frozen=True, slots=True)
class DatabaseKind:
    """Where the steps of one kind of database are, and how they are called: the last is checked by a test."""

    steps: str  # "module:Migrations object"
    set_name: str
    names: tuple[str, ...]


KINDS = {
    "events": DatabaseKind(
        "driftd.store.schema:EVENTS_MIGRATIONS", "driftd.events", ("m001_predictions_and_feedback",)
    ),
    "state": DatabaseKind(
        "driftd.store.schema:STATE_MIGRATIONS",
        "driftd.state",
        (
            "m001_the_loop",
            "m002_configs",
            "m003_receivers",
            "m004_restores",
            "m005_alarms_as_levels",
            "m006_indexes_of_history",
            "m007_scores_in_codes",
            "m008_chain_of_lineage",
            "m009_keys_of_requests",
            "m010_stages_of_builds",
            "m011_public_views",
        ),
    ),
}


def pending_steps(path: Path, kind: str) -> tuple[str, ...]:
    """Which steps the database at `path` still lacks, in order.

    Raises DatabaseError when the database was written by a newer program, or is no database.
    """
    names = KINDS[kind].names
    applied = _applied_steps(path, KINDS[kind].set_name)
    unknown = applied - set(names)
    if unknown:
        raise DatabaseError(
            f"{path} was written by a newer driftd (it has the step {max(unknown)}; this program knows "
            f"up to {names[-1]}). Upgrade driftd, or restore the database from a backup of the older one."
        )
    return tuple(name for name in names if name not in applied)


def is_current(connection: sqlite3.Connection, kind: str) -> bool:
    """Whether an open database has all steps and no other, by one cheap question; False where it cannot be told."""
    try:
        return _steps_of(connection, KINDS[kind].set_name) == set(KINDS[kind].names)
    except sqlite3.Error:
        return False


def _steps_of(connection: sqlite3.Connection, set_name: str) -> set[str]:
    rows = connection.execute("select name from _sqlite_migrations where migration_set = ?", (set_name,))
    return {name for (name,) in rows}


def _open(path: Path) -> sqlite3.Connection:
    """A connection for a look, that puts a log of one who died in order where there is one."""
    has_log = path.with_name(f"{path.name}-wal").exists()
    return open_database(path, timeout=30.0) if has_log else open_to_read(path, timeout=30.0)


def _applied_steps(path: Path, set_name: str) -> set[str]:
    if not path.exists() or path.stat().st_size == 0:
        return set()
    try:
        with closing(_open(path)) as connection:
            if not connection.execute("select 1 from sqlite_master where name = '_sqlite_migrations'").fetchone():
                return set()
            return _steps_of(connection, set_name)
    except sqlite3.OperationalError as error:  # locked, or not to be opened just now: nothing is known of its content
        raise DatabaseError(f"{path} cannot be opened just now: {error}. It is tried again") from error
    except sqlite3.DatabaseError as error:
        raise DatabaseError(
            f"{path} cannot be read as a database: {error}. `driftd doctor` looks closer; `driftd restore` puts a "
            "backup in its place"
        ) from error

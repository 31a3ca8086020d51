"""Making a backup in a short child process: reading whole databases is not for the daemon's memory or its lock."""

from __future__ import annotations

import sqlite3
import sys

import msgspec

from driftd.store.apart import ChildError, run_apart
from driftd.store.backups import Backup, BackupError, Plan, make_backup
from driftd.store.kinds import DatabaseError

_LONGEST_SECONDS = 3600.0


class Outcome(msgspec.Struct, frozen=True):
    """What the child tells: the backup, or why there is none."""

    backup: Backup | None = None
    error: str = ""


def backup_apart(plan: Plan) -> Backup:
    """Make a backup in a child process, which this call waits for. Raises BackupError with one sentence."""
    order = msgspec.json.encode(plan, enc_hook=str).decode()
    try:
        told = run_apart("driftd.store.backup_apart", [order], _LONGEST_SECONDS)
    except ChildError as error:
        raise BackupError(f"the backup failed: {error}") from error
    outcome = msgspec.json.decode(told, type=Outcome)
    if outcome.backup is None:
        raise BackupError(outcome.error)
    return outcome.backup


def main() -> None:
    """Make the backup that the JSON on the command line orders, and print what came of it."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan, dec_hook=lambda kind, value: kind(value))
    try:
        outcome = Outcome(make_backup(plan))
    except (BackupError, DatabaseError, OSError, sqlite3.Error) as error:
        outcome = Outcome(error=f"no backup could be made in {plan.folder}: {error}")
    sys.stdout.write(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()

"""Bringing a database to the schema of this program, without loading the migration library into small processes.

sqlite-utils imports pandas (110 MB), so the daemon and the server only *look*, with plain sqlite3, whether a step is
missing; the steps themselves run in a short child process: `python -m driftd.store.migrate PATH KIND`.
"""

from __future__ import annotations

import fcntl
import importlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from driftd.store.apart import ChildError, run_apart
from driftd.store.before_migration import keep_before
from driftd.store.kinds import KINDS, DatabaseError, pending

_CHILD_SECONDS = 1800.0  # a backup of the database comes before its migration
UNKEPT = "unkept"


def ensure_current(path: Path, kind: str, *, keep: bool = True) -> None:
    """Make or migrate the database at `path`; does nothing, cheaply, when it is current.

    With `keep` an existing database is backed up before its schema changes. Raises DatabaseError when it cannot be
    brought to this program's schema.
    """
    if not pending(path, kind):
        return
    if "sqlite_utils" in sys.modules:  # this process has already paid for it
        migrate(path, kind, keep=keep)
        return
    try:
        run_apart("driftd.store.migrate", [str(path), kind, *([] if keep else [UNKEPT])], _CHILD_SECONDS)
    except ChildError as error:
        raise DatabaseError(f"{path} could not be migrated to this program's schema: {error}") from error


def migrate(path: Path, kind: str, *, keep: bool = True) -> None:
    """Apply the missing steps in this process; safe when several processes do so at once."""
    import sqlite_utils  # noqa: PLC0415 - heavy: see the module's first words

    module, _, attribute = KINDS[kind].steps.partition(":")
    steps: Any = getattr(importlib.import_module(module), attribute)
    with _alone(path), closing(sqlite3.connect(path, timeout=30.0)) as connection:
        steps_left = pending(path, kind)
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

"""What runs out on the host (files, memory, threads) is never taken for damage of the data."""

from __future__ import annotations

import errno
import gc
import os
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.errors import SHORTAGES, is_shortage
from driftd.sources.catalogue import digest_of
from driftd.sources.dialects import Dialect
from driftd.store.descriptors import WANTED, CountedConnection, describe_capacity, open_database, raise_limit
from driftd.store.integrity import examine, is_damage
from driftd.store.migrations import migrate
from driftd.store.schema_versions import DatabaseError, pending_steps
from limits import no_more_files


@pytest.mark.parametrize("code", sorted(SHORTAGES))
def test_an_error_is_a_shortage_by_its_number(code: int) -> None:
    """An OSError of any of these numbers is a shortage, also where another error was raised from it; none is damage."""
    error = OSError(code, os.strerror(code))
    outer = DatabaseError("x cannot be opened")
    outer.__cause__ = error
    assert is_shortage(error)
    assert is_shortage(outer)
    assert not is_damage(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("generator raised StopIteration"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError(), False),
    ],
)
def test_other_errors_are_told_apart(error: BaseException, expected: bool) -> None:
    """Memory and threads that end are shortages, a disk that fails or a file that is absent is not."""
    assert is_shortage(error) is expected


def test_a_database_that_cannot_be_opened_for_want_of_a_file_is_not_called_unreadable(tmp_path: Path) -> None:
    """Without a free descriptor SQLite says "unable to open": nobody is told to restore a backup for that."""
    path = tmp_path / "state.db"
    migrate(path, "state")
    with no_more_files(), pytest.raises(DatabaseError, match="just now") as caught:
        pending_steps(path, "state")
    assert "restore" not in str(caught.value)
    assert pending_steps(path, "state") == ()
    with no_more_files(), pytest.raises(sqlite3.OperationalError) as opened:
        sqlite3.connect(path).execute("select 1 from models")
    with no_more_files():
        assert is_shortage(opened.value)
    assert not is_shortage(opened.value)  # a path that cannot be opened although there are files is another matter


def test_a_file_that_cannot_be_opened_now_is_no_other_file(tmp_path: Path) -> None:
    """The digest by which a renamed log file is known is not made up when the file cannot be opened for a moment."""
    path = tmp_path / "log.csv"
    pd.DataFrame({"a": np.arange(5)}).to_csv(path, index=False)
    with no_more_files(), pytest.raises(OSError, match="Too many open files"):
        digest_of(str(path), 0, 4, Dialect())
    assert digest_of(str(path), 0, 4, Dialect())


def test_a_descriptor_for_raw_reading_is_closed_where_no_connection_could_lose_its_locks(tmp_path: Path) -> None:
    """Looking at a database leaves no descriptor behind, but for the time that this process has it open."""
    path = tmp_path / "events.db"
    migrate(path, "events")

    def files() -> int:
        found = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        return sum(path == entry.readlink() for entry in found if entry.exists())

    assert examine(path, seconds=1.0) is None
    assert files() == 0
    with closing(open_database(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("select count(*) from predictions").fetchone()
        alone = files()
        assert examine(path, seconds=1.0) is None
        assert files() > alone  # of SQLite too, which closes none of its own while a lock is held
    assert files() == 0


def test_a_forgotten_connection_is_counted_no_more(tmp_path: Path) -> None:
    """Where nobody closed a connection, its object does, and looking at the file leaves nothing behind again."""
    path = tmp_path / "events.db"
    migrate(path, "events")
    connection = open_database(path)
    connection.execute("select count(*) from predictions").fetchone()
    del connection
    gc.collect()
    assert examine(path, seconds=1.0) is None
    assert not [entry for entry in Path("/proc/self/fd").iterdir() if entry.exists() and path == entry.readlink()]


def test_a_connection_may_be_forgotten_while_another_is_opened(tmp_path: Path) -> None:
    """The collector of garbage closes a connection in a thread that is just opening one: it waits for nothing."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    for path in (first, second):
        migrate(path, "events")
    forgotten = [open_database(first)]

    class Amid:
        """A path at whose use the connection of another is forgotten."""

        def __str__(self) -> str:
            return str(second)

        def __fspath__(self) -> str:
            forgotten.clear()
            gc.collect()
            return str(second)

    with closing(CountedConnection(Amid())):
        assert forgotten == []
    assert {examine(path, seconds=1.0) for path in (first, second)} == {None}
    opened = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert not {first, second} & set(opened)


def test_a_host_tells_how_many_models_fit() -> None:
    """A handful fits on any host and a hundred million on none; the sentence says what ends first."""
    said, fits = describe_capacity(3)
    assert fits
    assert said.startswith("3 models; this host takes about ")
    assert "(by descriptors" in said or "(by memory" in said
    assert not describe_capacity(100_000_000)[1]


def test_every_connection_of_the_store_is_counted() -> None:
    """No module opens a database past the count of connections."""
    daemon = Path(__file__).resolve().parents[2] / "daemon" / "driftd"
    found = [path for path in daemon.rglob("*.py") if "sqlite3.connect(" in path.read_text("utf-8")]
    assert found == []


def test_a_process_takes_the_descriptors_that_it_may_have() -> None:
    """The soft limit is raised to the hard one, and never lowered."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert raise_limit() == min(WANTED, before[1])
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(WANTED, before[1]), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

"""What runs out on the host (files, memory, threads) is never taken for damage of the data."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftd.errors import SHORTAGES, is_shortage
from driftd.sources.catalogue import digest_of
from driftd.sources.dialects import Dialect
from driftd.store.integrity import is_damage
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

"""The base of driftd's exceptions, and the exit codes of its commands. Imports the standard library alone."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import ClassVar, Self

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_SQLITE_NO_MEMORY, _SQLITE_CANNOT_OPEN, _SQLITE_READING_NO_MEMORY = 7, 14, 3082


class ExitCode(IntEnum):
    """How a command of driftd ends; `meaning` is what `driftd --help` and docs/cli.md say of it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """A member of this value that carries its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILED = 1, "failed: the message says why (doctor: something fails)"
    USAGE = 2, "the command line or the config is wrong"
    UNANSWERED = 3, "asked, but no daemon has answered yet"
    ABSENT = 4, "there is no such thing (no state, model, version, alarm)"
    REFUSED = 5, "the daemon refused: the message says why"
    DAMAGED = 6, "a database is damaged and must be restored first: systemd does not start driftd again by itself"
    DIFFERENT = 7, "compared, and not the same"


class DriftdError(Exception):
    """An error whose message is a sentence for people: no traceback is needed to act on it.

    A command that it reaches the end of prints the message and ends with `exit_code`. An error that is raised without
    a message has the first sentence of its class's docstring for one.
    """

    exit_code: ClassVar[int] = ExitCode.FAILED

    @property
    def report(self) -> str:
        """What a command prints of the error before it ends."""
        return f"driftd: {self}"

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").partition("\n")[0]


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that files, memory or threads of the host ran out.

    Such an error says nothing of the data that were to be read: they are neither damaged nor looked at.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in SHORTAGES):
            return True
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return True
        code = getattr(error, "sqlite_errorcode", None) or 0
        if code in (_SQLITE_NO_MEMORY, _SQLITE_READING_NO_MEMORY):
            return True
        if code & 0xFF == _SQLITE_CANNOT_OPEN and _no_file_can_be_opened():
            return True
        error = error.__cause__
    return False


def raise_shortage(error: BaseException) -> None:
    """Raise an error again that is a shortage, for who goes on after any other."""
    if is_shortage(error):
        raise error


def _no_file_can_be_opened() -> bool:
    """SQLite says that a file cannot be opened, but not why: another file tells whether descriptors ran out."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in SHORTAGES
    return False
